"""BM25 by hand, tokenisers, exclusions and ties."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest

from gsid_jax.errors import UserError
from gsid_jax.evaluate import bm25
from gsid_jax.evaluate.catalogue import load_catalogue
from gsid_jax.evaluate.judge import judge
from gsid_jax.evaluate.method import load_run

TEXTS = ["red apple phone", "red lamp", "apple apple pie with cream", "blue lamp"]


def by_hand(query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25: idf log(1 + (N - n + .5) / (n + .5)), no (k1 + 1) in the numerator."""
    documents = [text.split() for text in TEXTS]
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        score = 0.0
        for term in query.split():
            n, f = sum(term in each for each in documents), words.count(term)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            score += idf * f / (f + k1 * (1 - b + b * len(words) / mean))
        scores.append(score)
    return scores


def test_scores_by_hand():
    index = bm25.Index(TEXTS)
    np.testing.assert_allclose(index.scores("Red APPLE"), by_hand("red apple"), rtol=1e-5)
    assert not index.scores("nothing known").any()


def test_tokenizers():
    assert bm25.tokenizer("auto", TEXTS)[0] == "words"
    assert bm25.tokenizer("auto", ["二手苹果手机"])[0] == "jieba"
    assert bm25.tokenizer("bigrams", [])[1]("苹果12手机a") == ["苹果", "12", "手机", "a"]
    assert "手机" in bm25.tokenizer("jieba", [])[1]("二手苹果手机！")
    with pytest.raises(UserError, match="got 'x', expected one of"):
        bm25.tokenizer("x", [])
    with pytest.raises(UserError, match="none of 2 texts has a word"):
        bm25.Index(["!", "?"])


def test_ranking_excludes_breaks_ties_by_id_and_adds_a_cosine(run):
    catalogue = load_catalogue(run.path / "data")
    dense = load_run(run.path, catalogue)
    count = len(catalogue.item_id)
    words = ["phone", "lamp"] * (count // 2)
    catalogue = dataclasses.replace(
        catalogue, text=pa.chunked_array([words]),
        query=pa.chunked_array([["Phone"] * len(catalogue.query)]),
        tie_rank=np.arange(count)[::-1].copy())
    ranked = bm25.method("BM25", catalogue).rankings
    assert ranked["q2i"].shape == (len(catalogue.q2i.index), 100)
    assert ranked["q2i"][0].tolist() == list(range(count - 2, count - 202, -2))
    trigger = catalogue.i2i.index[0]
    assert trigger not in ranked["i2i"][0] and set(ranked["i2i"][0] % 2) == {trigger % 2}
    fused = bm25.method("both", catalogue, dense=dense, dense_weight=1e6).rankings["q2i"]
    alone = judge(catalogue, dense).metrics["q2i"]
    assert judge(catalogue, bm25.method("both", catalogue, dense=dense,
                                        dense_weight=1e6)).metrics["q2i"]["recall@1"] > (
        0.5 * alone["recall@1"])
    assert len(set(fused[0])) == 100
