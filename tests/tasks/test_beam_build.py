"""The build on Beam and on one machine: byte for byte the same records from the same input."""

import json

import numpy as np
import pytest

from gsid_jax.errors import UserError
from tasks import beam_build, beam_reading
from tests.tasks import raw_catalogue
from tools.build_dataset import build_dataset

pytest.importorskip("apache_beam")


def files(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*")
            if path.is_file()}


def awkward_records() -> dict[str, list[dict]]:
    """The small catalogue with users, times, duplicates, robots and records to reject."""
    rows, random = raw_catalogue.records(), np.random.default_rng(0)
    for place, row in enumerate(rows["interactions"]):
        row |= {"user_id": f"u{place % 40}", "timestamp": 1_700_000_000 + 1000 * place}
    rows["interactions"] += [dict(rows["interactions"][0], user_id="robot") for _ in range(9)]
    rows["interactions"] += [{"query": "ghost", "item_id": "nobody", "click": 1},
                             {"query": " ", "item_id": "i1", "click": 1},
                             {"query": "apple", "item_id": "i1", "click": 0},
                             {"query": "viewed only", "item_id": "i9", "action": "click",
                              "count": 3}]
    rows["items"] += [dict(rows["items"][5], title="another"), dict(rows["items"][1], item_id="d")]
    random.shuffle(rows["interactions"])
    return rows


@pytest.mark.parametrize("kinds, settings", [
    (("items", "interactions"), {"max_user_events": 8, "deduplicate": "text", "lower": True,
                                 "min_pair_weight": 2.0, "max_queries": 2}),
    (tuple(raw_catalogue.records()), {"click_weight": 0.3, "contact_weight": 0.0}),
])
def test_beam_and_one_machine_write_the_same_bytes(tmp_path, monkeypatch, kinds, settings):
    monkeypatch.setattr(beam_reading, "BLOCK_BYTES", 3000)  # many blocks
    if "max_queries" in settings:
        monkeypatch.setattr(beam_build, "RANGE_RECORDS", 25)  # several workers write
    sources = raw_catalogue.write(tmp_path / "raw", *kinds, **awkward_records())
    settings |= {"skip_invalid": True}
    alone = build_dataset(**sources, output_dir=tmp_path / "alone", **settings)
    beam = build_dataset(**sources, output_dir=tmp_path / "beam", beam_runner="DirectRunner",
                         **settings)
    assert beam == alone
    found, expected = files(tmp_path / "beam"), files(tmp_path / "alone")
    assert found.keys() == expected.keys()
    rejects = [[json.loads(line) for line in made.pop("rejects.jsonl").splitlines()]
               for made in (found, expected)]
    assert [(row["file"], row["line"], row["reason"]) for row in rejects[0]] == [
        (row["file"], row["line"], row["reason"]) for row in rejects[1]]
    for name in expected:
        assert found[name] == expected[name], name


def test_beam_parts_by_time_as_one_machine_does(tmp_path):
    rows = [row for row in awkward_records()["interactions"] if "timestamp" in row]
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", interactions=rows)
    settings = {"split": "time", "test_from": "1700130000", "validation_from": "1700100000"}
    for name, more in (("alone", {}), ("beam", {"beam_runner": "DirectRunner"})):
        build_dataset(**sources, output_dir=tmp_path / name, **settings, **more)
    assert files(tmp_path / "beam") == files(tmp_path / "alone")


def test_what_beam_cannot_do_is_refused(tmp_path):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions")
    for more, message in (({"deduplicate": "minhash", "beam_runner": "DirectRunner"},
                           "minhash', which compares items on one machine"),
                          ({"beam_runner": "NoSuchRunner"}, "Beam runner 'NoSuchRunner' cannot")):
        with pytest.raises(UserError, match=message):
            build_dataset(**sources, output_dir=tmp_path / "data", **more)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
