"""Beam search against scoring every valid ID one by one, greedy decoding and Hugging Face."""

import functools

import jax
import numpy as np
import pytest

from gsid_jax import decoding
from gsid_jax.errors import UserError
from gsid_jax.leaf_marginals import grow
from gsid_jax.leaf_model import LeafModel, with_leaves
from gsid_jax.trie import Trie, build_trie
from tests.gsid_jax import small_gsid
from tests.gsid_jax.small_gsid import LEVELS, SIZE, TOKENS


@functools.cache
def compiled(beam, **options):
    """One program for all tries."""
    model, _ = small_gsid.build(**options)
    return jax.jit(lambda variables, tokens, trie: decoding.beam_search(
        model, variables["params"], {"codebook": variables["codebook"]}, tokens, beam, trie))


def padded_trie(ids):
    """The trie in arrays of one size, so that JAX compiles once; nothing points to the filling."""
    trie, _ = build_trie(np.asarray(ids, np.uint16))
    longest = SIZE ** LEVELS
    codes = [np.pad(c, (0, longest - len(c)), constant_values=99) for c in trie.codes]
    children = [np.pad(c, (0, longest + 1 - len(c))) for c in trie.children]
    return Trie(tuple(codes), tuple(children), (SIZE,) * LEVELS)


def search(beam, ids=None, **options):
    _, variables = small_gsid.build(**options)
    trie = None if ids is None else padded_trie(ids)
    return jax.tree_util.tree_map(np.asarray, compiled(beam, **options)(variables, TOKENS, trie))


def random_ids(seed, count):
    return np.unique(np.random.default_rng(seed).integers(0, SIZE, (count, LEVELS)), axis=0)


def check_exhaustive(seed, count, **options):
    ids, beam = random_ids(seed, count), 130
    beams = search(beam, ids, **options)
    scores = small_gsid.scores(**options)[(slice(None), *ids.T)]
    order = np.argsort(-scores, axis=1, kind="stable")
    n = len(ids)
    np.testing.assert_array_equal(beams.numbers[:, :n], order)
    np.testing.assert_array_equal(beams.codes[:, :n], ids[order])
    np.testing.assert_allclose(beams.log_prob[:, :n], np.take_along_axis(scores, order, 1),
                               atol=2e-5)
    np.testing.assert_allclose(beams.outside, 1 - np.exp(scores).sum(axis=1), atol=1e-5)
    assert (beams.numbers[:, n:] == -1).all() and (beams.codes[:, n:] == -1).all()
    assert (beams.log_prob[:, n:] == decoding.NEVER).all()
    assert all(np.isfinite(value).all() for value in beams)


@pytest.mark.parametrize("count", [1, 2, 9, 60, 400])
def test_a_wide_beam_scores_every_valid_id_of_random_tries(count):
    for seed in range(10):
        check_exhaustive(seed, count)


def test_the_same_with_scanned_layers_dot_product_lookup_and_pooled_output():
    check_exhaustive(3, 30, scan_layers=True, pooled_output=2.0, lookup="dot", temperature=2.0,
                     centring=0.0)


def test_a_narrow_beam_is_beam_search_level_by_level():
    ids, beam = random_ids(6, 60), 3
    joint = np.exp(small_gsid.scores())
    for query, found in enumerate(search(beam, ids).codes):
        kept = [()]
        for level in range(1, LEVELS + 1):
            children = {tuple(row[:level]) for row in ids.tolist()
                        if tuple(row[:level - 1]) in kept}
            kept = sorted(children, key=lambda prefix: -joint[query][prefix].sum())[:beam]
        assert [tuple(row) for row in found.tolist()] == kept


def test_without_a_trie_beam_one_is_greedy_and_nothing_is_outside():
    model, variables = small_gsid.build()
    codes, aux = jax.jit(lambda v, tokens: model.predict_batch_with_aux(
        v["params"], {"encoder_input_tokens": tokens},
        flax_mutables={"codebook": v["codebook"]}))(variables, TOKENS)
    beams = search(1)
    np.testing.assert_array_equal(beams.codes[:, 0], codes)
    np.testing.assert_allclose(beams.log_prob[:, 0], aux["log_prob"].sum(-1), atol=1e-5)
    unit = beams.d[:, 0] / np.linalg.norm(beams.d[:, 0], axis=-1, keepdims=True)
    np.testing.assert_allclose(unit, aux["embedding"], atol=1e-5)
    assert (beams.outside == 0).all() and (beams.numbers == -1).all()


def test_half_precision_keeps_log_probabilities_in_float32():
    _, variables = small_gsid.build(dtype="bfloat16")
    beams = jax.eval_shape(compiled(3, dtype="bfloat16"), variables, TOKENS,
                           padded_trie(random_ids(7, 40)))
    assert beams.log_prob.dtype == beams.d.dtype == beams.outside.dtype == np.float32


def test_leaf_marginals_as_lookup_score_as_the_model_does(tmp_path):
    ids = random_ids(8, 30)
    rng = np.random.default_rng(0)
    grow(ids, rng.normal(size=(len(ids), LEVELS, 16))).save(tmp_path / "leaves.npz")
    plain, variables = small_gsid.build()
    model = with_leaves(plain, str(tmp_path / "leaves.npz"), 0.1)
    assert isinstance(model, LeafModel)
    variables = model.variables(variables)
    mutables = {name: value for name, value in variables.items() if name != "params"}
    beams = jax.jit(lambda tokens, trie: decoding.beam_search(
        model, variables["params"], mutables, tokens, len(ids), trie))(TOKENS, padded_trie(ids))
    score = jax.jit(lambda tokens: model.score_batch(
        variables["params"], {"encoder_input_tokens": tokens, "codes": ids},
        flax_mutables=mutables))
    scores = np.stack([score(np.repeat(row[None], len(ids), axis=0)) for row in TOKENS])
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_allclose(beams.log_prob, np.take_along_axis(scores, order, 1), atol=1e-4)
    np.testing.assert_allclose(np.exp(beams.log_prob).sum(1), 1, atol=1e-4)  # nothing outside


def test_hugging_face_generates_the_same():
    pytest.importorskip("torch", reason="parity with Hugging Face needs torch")
    pytest.importorskip("transformers", reason="parity with Hugging Face needs transformers")
    from tools.bench import hf_beam_search as hf
    options = {"lookup": "cosine", "centring": 0.0}
    model, variables = small_gsid.build(**options)
    heads = []
    for level in range(1, LEVELS + 1):
        table = np.asarray(variables["codebook"][f"level_{level}"]["embedding"])
        table = table / np.linalg.norm(table, axis=1, keepdims=True)
        heads.append(table / np.sqrt(16) / 0.1)  # the final norm leaves d at length sqrt(D)
    peer = hf.equivalent_t5(model.module.config, variables["params"], heads, unused_tokens=3)
    ids, beam = random_ids(9, 60), 3
    codes, log_prob = hf.generate(peer, TOKENS, hf.allowed_tokens(ids, SIZE), beam, LEVELS)
    beams = search(beam, ids, **options)
    np.testing.assert_array_equal(beams.codes, codes)
    np.testing.assert_allclose(beams.log_prob, log_prob, atol=1e-4)


def test_a_beam_or_trie_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="beam 0; expected 1 to 100,000"):
        search(0)
    model, variables = small_gsid.build()
    trie, _ = build_trie(np.array([[0, 0], [0, 1]], np.uint16))
    with pytest.raises(UserError, match="the trie has 2 levels, the model 3"):
        decoding.beam_search(model, variables["params"], variables, TOKENS, 2, trie)
