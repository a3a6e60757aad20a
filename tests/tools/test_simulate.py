"""The simulated marketplace: files, rates, truth, hold-out, determinism, memory and errors."""

import collections
import filecmp
import json
import os
import tracemalloc
import unicodedata

import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools import simulate
from tools.marketplace import behaviour, sequences, world

FILES = ("items.jsonl", "interactions.jsonl", "sequences.jsonl", "q2i_test.jsonl",
         "i2i_test.jsonl", "truth/items.jsonl", "simulation.json")
SIZES = {"en": 6000, "zh": 4000}


def read(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module", params=sorted(SIZES))
def market(request, tmp_path_factory):
    """(language, directory, every file's records)."""
    directory = tmp_path_factory.mktemp("market") / request.param
    simulate.simulate(str(directory), SIZES[request.param], 0, request.param)
    records = {name: read(directory, name) for name in FILES if name.endswith("jsonl")}
    return request.param, directory, records


def test_writes_every_file_and_counts_them(market):
    language, directory, records = market
    made = json.loads((directory / "simulation.json").read_text())
    assert made["language"] == language and made["seed"] == 0
    assert made["num_items"] == SIZES[language] == len(records["items.jsonl"])
    for name in ("items", "interactions", "sequences", "q2i_test", "i2i_test"):
        assert made["sizes"][name] == len(records[f"{name}.jsonl"])
    ids = [item["item_id"] for item in records["items.jsonl"]]
    assert ids == [item["item_id"] for item in records["truth/items.jsonl"]]
    assert len(set(ids)) == len(ids)


def test_tree_is_deep_wide_and_all_of_it_is_used(market):
    language, _, records = market
    leaves = world.parse_leaves(simulate.LANGUAGES[language])
    children = collections.defaultdict(set)
    for leaf in leaves:
        for depth in range(4):
            children[leaf.path[:depth]].add(leaf.path[depth])
    width = [min(len(names) for path, names in children.items() if len(path) == depth)
             for depth in range(4)]
    assert width[0] >= 8 and width[1] >= 4 and width[2] >= 4 and width[3] >= 3
    for depth in range(4):
        names = [path[depth] for path in {leaf.path[:depth + 1] for leaf in leaves}]
        assert len(set(names)) == len(names)
    used = {tuple(item["category"]) for item in records["truth/items.jsonl"]}
    assert len(used) > 0.98 * len(leaves)
    roots = collections.Counter(item["category"][0] for item in records["truth/items.jsonl"])
    assert max(roots.values()) < 4 * min(roots.values())


def test_catalogues_of_both_languages_are_complete():
    for language in simulate.LANGUAGES.values():
        leaves = world.parse_leaves(language)
        assert {key for leaf in leaves for key in leaf.attributes} == set(language.attributes)
        assert {line.brand for leaf in leaves for line in leaf.lines} >= set(language.brand_aliases)
        for leaf in leaves:
            assert len(leaf.terms) >= 2 and len(leaf.words) >= 2 and len(leaf.lines) >= 4
            assert len(leaf.attributes) == 2 and all(leaf.terms + leaf.words)
        for model_format in {leaf.model_format for leaf in leaves}:
            names = [world.designator(language, model_format, k, 5) for k in range(4000)]
            assert len(set(names)) == len(names)


def test_spus_are_unique_within_a_group_and_zipf_within_a_leaf():
    made = world.World(simulate.LANGUAGES["en"], 200_000, 0)
    names = collections.Counter()
    for index in range(made.num_spus):
        spu = made.spu(index)
        names[spu.leaf.group, spu.line, spu.designator] += 1
    assert max(names.values()) == 1
    spus = made.item_spus(np.arange(200_000))
    rank = spus - made.leaf_start[made.spu_leaf[spus]]
    share = np.bincount(rank)
    assert share[0] / share[1] == pytest.approx(2.0, rel=0.1)
    assert share[0] / share[3] == pytest.approx(4.0, rel=0.1)


def test_listings_look_like_private_sellers(market):
    language, _, records = market
    items = records["items.jsonl"]
    truth = {item["item_id"]: item for item in records["truth/items.jsonl"]}
    form = np.mean([bool(item["category"] and item["attributes"]) for item in items])
    assert 0.20 < form < 0.28
    chosen = [item for item in items if item["category"]]
    wrong = np.mean([item["category"] != truth[item["item_id"]]["category"] for item in chosen])
    assert 0.01 < wrong < 0.06
    assert all(set(item) <= {"item_id", "title", "description", "category", "attributes"}
               for item in items)
    titles = [item["title"] for item in items]
    assert all(title and title == title.strip() for title in titles)
    branded = 0
    for item in items:
        brand = truth[item["item_id"]]["spu"].split(": ", 1)[1].split(" ")[0].lower()
        branded += brand in item["title"].lower()
    assert 0.25 < branded / len(items) < 0.75
    described = np.mean(["description" in item for item in items])
    assert 0.6 < described < 0.8
    if language == "en":
        words = [len((item["title"] + " " + item.get("description", "")).split()) for item in items]
        assert 8 < np.mean(words) < 20 and np.quantile(words, 0.9) < 30
    else:
        assert np.mean([" " in title for title in titles]) < 0.6
        assert np.mean([title[0] in "出转闲自个低急搬回清便全正" for title in titles]) > 0.2


def test_interactions_have_counts_and_noise(market):
    language, _, records = market
    pairs = records["interactions.jsonl"]
    known = {item["item_id"] for item in records["items.jsonl"]}
    assert 2.5 < len(pairs) / len(known) < 6
    keys = {(pair["query"], pair["item_id"]) for pair in pairs}
    assert len(keys) == len(pairs)
    for pair in pairs:
        assert pair["item_id"] in known and pair["click"] >= 1
        assert pair["contact"] >= 0 and pair["purchase"] in range(pair["contact"] + 1)
        query = pair["query"]
        assert query == " ".join(unicodedata.normalize("NFKC", query).split())
    contacts = sum(pair["contact"] for pair in pairs)
    assert 0.05 < contacts / sum(pair["click"] for pair in pairs) < 0.4
    truth = {item["item_id"]: item["category"] for item in records["truth/items.jsonl"]}
    by_query = collections.defaultdict(list)
    for pair in pairs:
        by_query[pair["query"]].append(truth[pair["item_id"]][0])
    common = [roots for roots in by_query.values() if len(roots) >= 5]
    strays = np.mean([1 - collections.Counter(roots).most_common(1)[0][1] / len(roots)
                      for roots in common])
    assert 0.002 < strays < 0.06
    sizes = sorted((len(roots) for roots in by_query.values()), reverse=True)
    assert sizes[0] >= 10 and sizes[len(sizes) // 2] <= 3


def test_hold_out_does_not_leak(market):
    _, _, records = market
    pairs = {(pair["query"], pair["item_id"]) for pair in records["interactions.jsonl"]}
    queries = {query for query, _ in pairs}
    seen = {item for _, item in pairs}
    known = {item["item_id"] for item in records["items.jsonl"]}
    unseen = known - seen
    assert 0.015 < len(unseen) / len(known) < 0.04
    test = records["q2i_test.jsonl"]
    assert 0.08 < len(test) / len(known) < 0.2
    assert len({trigger["query"] for trigger in test}) == len(test)
    for trigger in test:
        assert 1 <= len(trigger["item_ids"]) <= 5 and set(trigger["item_ids"]) <= known
        assert not any((trigger["query"], item) in pairs for item in trigger["item_ids"])
    assert sum(trigger["query"] not in queries for trigger in test) > 0.4 * len(test)
    assert sum(trigger["query"] in queries for trigger in test) > 0.1 * len(test)
    assert any(set(trigger["item_ids"]) & unseen for trigger in test)

    together = set()
    for record in records["sequences.jsonl"]:
        items = record["items"]
        assert len(items) >= 2 and len(set(items)) == len(items) and not set(items) & unseen
        together |= {(a, b) for a in items for b in items}
    similar = records["i2i_test.jsonl"]
    assert 0.03 < len(similar) / len(known) < 0.12
    assert any(trigger["item_id"] in unseen for trigger in similar)
    for trigger in similar:
        assert 1 <= len(trigger["item_ids"]) <= 5 and set(trigger["item_ids"]) <= known
        assert trigger["item_id"] not in trigger["item_ids"]
        assert not any((trigger["item_id"], item) in together for item in trigger["item_ids"])


def test_relevance_follows_the_truth(market):
    _, _, records = market
    truth = {item["item_id"]: item for item in records["truth/items.jsonl"]}
    several = [[truth[item]["category"] for item in trigger["item_ids"]]
               for trigger in records["q2i_test.jsonl"] if len(trigger["item_ids"]) > 1]
    same_root = np.mean([len({path[0] for path in paths}) == 1 for paths in several])
    same_leaf = np.mean([len({tuple(path) for path in paths}) == 1 for paths in several])
    assert same_root > 0.97 and same_leaf > 0.75
    same_spu = [truth[trigger["item_id"]]["spu"] == truth[item]["spu"]
                for trigger in records["i2i_test.jsonl"] for item in trigger["item_ids"]]
    assert np.mean(same_spu) > 0.6


def tokens(text):
    """Words of Latin script; characters and their pairs of the rest."""
    found = []
    for word in text.lower().split():
        found += [word] if word.isascii() else list(word) + [
            word[i:i + 2] for i in range(len(word) - 1)]
    return found


def test_bm25_is_good_but_beatable(market):
    _, _, records = market
    items = records["items.jsonl"]
    places = {item["item_id"]: place for place, item in enumerate(items)}
    docs = [collections.Counter(tokens(item["title"] + " " + item.get("description", "")))
            for item in items]
    length = np.array([sum(doc.values()) for doc in docs])
    postings = collections.defaultdict(list)
    for place, doc in enumerate(docs):
        for word, count in doc.items():
            postings[word].append((place, count))
    trained = collections.defaultdict(list)
    for pair in records["interactions.jsonl"]:
        trained[pair["query"]].append(places[pair["item_id"]])
    recall = []
    for trigger in records["q2i_test.jsonl"][::2]:
        score = np.zeros(len(items))
        for word in tokens(trigger["query"]):
            if word in postings:
                place, count = np.array(postings[word]).T
                weight = np.log(1 + (len(items) - len(place) + 0.5) / (len(place) + 0.5))
                norm = 0.3 + 0.9 * length[place] / length.mean()
                score[place] += weight * 2.2 * count / (count + norm)
        score[trained[trigger["query"]]] = -1.0
        best = set(np.argsort(-score, kind="stable")[:10].tolist())
        relevant = {places[item] for item in trigger["item_ids"]}
        recall.append(len(best & relevant) / len(relevant))
    assert 0.3 < np.mean(recall) < 0.65


def assert_same_bytes(left, right):
    for name in FILES:
        assert filecmp.cmp(left / name, right / name, shallow=False), name


def test_same_seed_same_bytes_for_any_chunk_size(tmp_path):
    for name, chunk in (("a", 4096), ("b", 777), ("c", 20_000)):
        simulate.simulate(str(tmp_path / name), 20_000, 3, "en", chunk_items=chunk)
    assert_same_bytes(tmp_path / "a", tmp_path / "b")
    assert_same_bytes(tmp_path / "a", tmp_path / "c")


def test_other_seed_other_items(tmp_path):
    simulate.simulate(str(tmp_path / "a"), 2000, 1, "zh")
    simulate.simulate(str(tmp_path / "b"), 2000, 2, "zh")
    titles = [[item["title"] for item in read(tmp_path / name, "items.jsonl")] for name in "ab"]
    assert np.mean([x == y for x, y in zip(*titles)]) < 0.01


def test_memory_grows_by_few_bytes_an_item(tmp_path, monkeypatch):
    monkeypatch.setattr(behaviour, "FULL_TEST_ITEMS", 2000)
    monkeypatch.setattr(sequences, "FULL_TRIGGER_ITEMS", 2000)
    peaks = []
    for size in (4000, 14_000):
        tracemalloc.start()
        simulate.simulate(str(tmp_path / str(size)), size, 0, "en", chunk_items=256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 10_000 < 200


@pytest.mark.parametrize("arguments, message", [
    ({"num_items": 1999}, "too few items: got num_items=1999, expected at least 2000"),
    ({"language": "fr"}, "unknown language: got 'fr', expected one of en, zh"),
    ({"seed": -1}, "bad seed: got -1, expected 0 to"),
])
def test_refuses_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        simulate.simulate(str(tmp_path / "out"), **arguments)
    assert not os.listdir(tmp_path)


def test_refuses_a_directory_in_use(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    assert simulate.main([f"--output_dir={tmp_path}", "--num_items=2000"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: output_dir is in use") and "Choose another" in error
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_leaves_nothing_behind_when_interrupted(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.simulate(str(tmp_path / "out"), 2000, progress=interrupt)
    assert not os.listdir(tmp_path)


def test_command_replaces_an_empty_directory_and_stale_remains(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out.incomplete").mkdir()
    (tmp_path / "out.incomplete" / "old").write_text("")
    command = [f"--output_dir={tmp_path / 'out'}", "--num_items=2000", "--language=zh"]
    assert simulate.main(command) == 0
    assert "items 2,000" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["out"] and not (tmp_path / "out" / "old").exists()
