"""BM25, the lexical baseline (paper 3.2), alone or added to a dense method's cosine.

bm25s does the scoring. It reads the items' whole text, of which a model reads only the first
tokens: where they differ, BM25 knows more.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.judge import DEPTH
from gsid_jax.evaluate.method import Method
from gsid_jax.evaluate.retrieval import Best

TOKENIZERS = ("auto", "words", "jieba", "bigrams")
HAN = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]")
WORD = re.compile(r"\w+")
HAN_SHARE = 0.1  # of the characters of a sample: above it 'auto' takes jieba
SAMPLE = 1000
BLOCK = 64  # triggers scored before their best are picked


def tokenizer(name: str, texts: Sequence[str]) -> tuple[str, Any]:
    """(name, function text -> words). 'auto' looks at the first texts: jieba for Chinese.

    words: lower-case runs of letters and digits. bigrams: the same, with runs of Chinese
    characters as overlapping pairs.
    """
    if name not in TOKENIZERS:
        raise UserError(f"BM25.tokenizer: got {name!r}, expected one of {TOKENIZERS}")
    if name == "auto":
        sample = "".join(texts[:SAMPLE])
        name = "jieba" if len(HAN.findall(sample)) > HAN_SHARE * len(sample) else "words"
    if name == "jieba":
        return name, _jieba()
    return name, {"words": _words, "bigrams": _bigrams}[name]


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _bigrams(text: str) -> list[str]:
    found = []
    for word in _words(text):
        parts = re.findall(r"[\u3400-\u9fff\u3040-\u30ff]+|[^\u3400-\u9fff\u3040-\u30ff]+", word)
        for part in parts:
            if HAN.match(part) and len(part) > 1:
                found += [part[i:i + 2] for i in range(len(part) - 1)]
            else:
                found.append(part)
    return found


def _jieba():
    try:
        import jieba
    except ImportError as error:
        raise UserError("BM25 of Chinese text needs jieba, which is not installed; expected the "
                        "evaluation extra: pip install 'gsid_jax[eval]', or set BM25.tokenizer = "
                        "'bigrams'") from error
    jieba.setLogLevel(logging.WARNING)
    return lambda text: [word for word in jieba.lcut(text.lower()) if WORD.match(word)]


class Index:
    """Items' texts indexed for BM25."""

    def __init__(self, texts: Sequence[str], tokenizer_name: str = "auto", k1: float = 1.5,
                 b: float = 0.75):
        try:
            import bm25s
        except ImportError as error:
            raise UserError("BM25 needs bm25s, which is not installed; expected the evaluation "
                            "extra: pip install 'gsid_jax[eval]'") from error
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it sets DEBUG
        self.tokenizer_name, self._split = tokenizer(tokenizer_name, texts)
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        words = [self._split(text) for text in texts]
        if not any(words):
            raise UserError(f"none of {len(words):,} texts has a word; expected letters or digits: "
                            "choose another BM25.tokenizer")
        self._index.index(words, show_progress=False)
        self._size = len(words)

    def scores(self, text: str) -> np.ndarray:
        """BM25 of every item for one query, float32 [N]; 0 where no word is shared."""
        known = [word for word in self._split(text) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._size, np.float32)
        return np.asarray(self._index.get_scores(known), np.float32)


def method(name: str, catalogue: Catalogue, tokenizer_name: str = "auto", k1: float = 1.5,
           b: float = 0.75, dense: Method | None = None, dense_weight: float = 0.0) -> Method:
    """Ranks with BM25, plus ``dense_weight`` times the cosine of a dense method if one is given.

    Without it, only items that share a word with the trigger are ranked.
    """
    texts = catalogue.text.to_pylist()
    index = Index(texts, tokenizer_name, k1, b)
    rankings: Mapping[str, np.ndarray] = {}
    for task in ("q2i", "i2i"):
        triggers = catalogue.triggers(task)
        if triggers is None:
            continue
        asked = catalogue.query.take(triggers.index).to_pylist() if task == "q2i" else [
            texts[item] for item in triggers.index.tolist()]
        vectors = None
        if dense is not None:
            side = dense.query_vectors if task == "q2i" else dense.item_vectors
            vectors = np.asarray(side[triggers.index], np.float32)
        ranked = []
        for start in range(0, len(asked), BLOCK):
            stop = min(start + BLOCK, len(asked))
            score = np.stack([index.scores(text) for text in asked[start:stop]])
            allowed = score > 0
            if vectors is not None:
                score = score + np.float32(dense_weight) * _cosine(vectors[start:stop],
                                                                   dense.item_vectors)
                allowed = np.ones_like(allowed)
            barred = triggers.excluded.slice(start, stop)
            allowed[barred.rows, barred.values] = False
            best = Best(stop - start, DEPTH, catalogue.tie_rank)
            rows, items = np.nonzero(allowed)
            best.add(rows, items, score[rows, items])
            ranked.append(best.ranking()[0])
        rankings[task] = np.concatenate(ranked)
    return Method(name, rankings=rankings)


def _cosine(trigger_RxD: np.ndarray, pool_NxD: np.ndarray) -> np.ndarray:
    pool = np.asarray(pool_NxD, np.float32)
    pool = pool / np.maximum(np.linalg.norm(pool, axis=1, keepdims=True), 1e-9)
    norm = np.maximum(np.linalg.norm(trigger_RxD, axis=1, keepdims=True), 1e-9)
    return (trigger_RxD / norm) @ pool.T
