"""Listings that read the same: by their text, or nearly, by MinHash.

Each duplicate points to the first item like it, which takes over what users did with it.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

SHINGLE = 5  # characters
BANDS, BAND_ROWS = 20, 4  # candidates share a band: 0.9 alike, all but 1 in 10^9 are found
CHUNK = 2048  # texts hashed at once
PRIME = np.uint64((1 << 61) - 1)
_SPACES = re.compile(r"\s+")


def text_key(text: str) -> bytes:
    """What equal listings have in common: the hash of the text, but for letter case."""
    return hashlib.blake2b(text.casefold().encode(), digest_size=16).digest()


def equal_texts(texts: Iterable[str]) -> np.ndarray:
    """Index of the first item with the same text; int64 [N], its own index for most."""
    first: dict[bytes, int] = {}
    return np.fromiter((first.setdefault(text_key(text), index)
                        for index, text in enumerate(texts)), np.int64)


def similar_texts(texts: Sequence[str], threshold: float) -> np.ndarray:
    """Index of the first item whose text is nearly the same; int64 [N].

    Candidates share a band of their MinHash signatures; each is compared, by the Jaccard similarity
    of its shingles, with the first item of the band. Exact duplicates are found first.
    """
    origin = equal_texts(texts)
    rest = np.flatnonzero(origin == np.arange(len(texts)))
    signatures = _signatures([texts[index] for index in rest])
    for band in range(BANDS):
        rows = np.ascontiguousarray(signatures[:, band * BAND_ROWS:(band + 1) * BAND_ROWS])
        _, first, inverse = np.unique(rows.view([("", rows.dtype)] * BAND_ROWS).ravel(),
                                      return_index=True, return_inverse=True)
        leader = first[inverse]
        for place in np.flatnonzero(leader != np.arange(len(rest))).tolist():
            item, other = rest[place], rest[leader[place]]
            if origin[item] == item and jaccard(texts[item], texts[other]) >= threshold:
                origin[item] = other
    return _roots(origin)


def shingles(text: str) -> set[str]:
    """The 5-character pieces of a text, but for case and spaces."""
    text = _SPACES.sub(" ", text.casefold())
    return {text[start:start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(one: str, other: str) -> float:
    """Share of the shingles of two texts that both have."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def _signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash signatures, uint32 [n, BANDS * BAND_ROWS]."""
    random = np.random.default_rng(0)
    factor = random.integers(1, 1 << 31, BANDS * BAND_ROWS, np.uint64)
    shift = random.integers(0, 1 << 61, BANDS * BAND_ROWS, np.uint64)
    found = np.zeros((len(texts), BANDS * BAND_ROWS), np.uint32)
    for start in range(0, len(texts), CHUNK):
        pieces = [np.fromiter((zlib.crc32(piece.encode()) for piece in shingles(text)), np.uint64)
                  for text in texts[start:start + CHUNK]]
        starts = np.cumsum([0, *map(len, pieces[:-1])])
        hashes = np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)
        for column in range(BANDS * BAND_ROWS):
            mixed = ((hashes * factor[column] + shift[column]) % PRIME).astype(np.uint32)
            found[start:start + CHUNK, column] = np.minimum.reduceat(mixed, starts)
    return found


def _roots(origin: np.ndarray) -> np.ndarray:
    """Follows each item to the one it stands for in the end; ``origin`` points backwards."""
    while True:
        further = origin[origin]
        if (further == origin).all():
            return origin
        origin = further
