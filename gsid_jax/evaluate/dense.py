"""Dense encoders as methods: vectors in files, or a local Hugging Face folder (the BGE role)."""

import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.method import Method
from gsid_jax.manifest import write_json
from gsid_jax.progress import Progress

POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean",
            "pooling_mode_lasttoken": "last", "pooling_mode_max_tokens": "max"}


def from_files(name: str, catalogue: Catalogue, items: str, queries: str, item_ids: str = "",
               query_texts: str = "") -> Method:
    """Reads vectors: ``.npy`` float [rows, D] each, row = item_index and query_index.

    item_ids, query_texts: text files, one id or query a line, if the rows are in another order;
    every item must be there, and every held-out query. UserError for unknown or repeated ids,
    wrong counts or widths, and NaN.
    """
    item_vectors = _ordered(pathlib.Path(items), pathlib.Path(item_ids) if item_ids else None,
                            catalogue.item_id.to_pylist(), None, "item id", None)
    needed = np.zeros(len(catalogue.query), bool)
    needed[catalogue.q2i.index] = True
    query_vectors = _ordered(pathlib.Path(queries),
                             pathlib.Path(query_texts) if query_texts else None,
                             catalogue.query.to_pylist(), item_vectors.shape[1], "query", needed)
    return Method(name, item_vectors=item_vectors, query_vectors=query_vectors)


def _ordered(path: pathlib.Path, ids_path: pathlib.Path | None, expected: Sequence[str],
             width: int | None, noun: str, needed: np.ndarray | None) -> np.ndarray:
    if ids_path is None:
        return columns.vectors(path, len(expected), width)
    if not ids_path.is_file():
        raise UserError(f"no file {ids_path}; expected one {noun} a line, in the order of {path}")
    ids = ids_path.read_text(encoding="utf-8").splitlines()
    vectors = columns.vectors(path, len(ids), width, rows_are=f"the lines of {ids_path}")
    row = {each: number for number, each in enumerate(ids)}
    if len(row) != len(ids):
        seen: set[str] = set()
        twice = next(each for each in ids if each in seen or seen.add(each))
        raise UserError(f"{ids_path} has the {noun} {twice!r} more than once; expected each once: "
                        "remove the repetitions")
    unknown = [each for each in ids if each not in set(expected)]
    if unknown:
        raise UserError(f"{ids_path} has {len(unknown)} unknown lines, the first is {unknown[0]!r}"
                        f"; expected a {noun} of the dataset in each: these vectors belong to "
                        "another dataset")
    ordered = np.zeros((len(expected), vectors.shape[1]), np.float32)
    for number, each in enumerate(expected):
        if each in row:
            ordered[number] = vectors[row[each]]
        elif needed is None or needed[number]:
            raise UserError(f"{ids_path} has no line for the {noun} {each!r}; expected every "
                            f"{'held-out query' if needed is not None else 'item'} of the dataset")
    return ordered


def from_folder(name: str, catalogue: Catalogue, folder: str, cache: pathlib.Path,
                query_prompt: str = "", document_prompt: str = "", pooling: str = "",
                max_length: int = 128, batch_size: int = 64) -> Method:
    """Encodes items and held-out queries with a Hugging Face or sentence-transformers folder.

    pooling: 'cls', 'mean', 'max' or 'last'; '' takes what ``1_Pooling/config.json`` says, else
    mean. Vectors are normalised. Queries that are not held out get zeros. Results are kept under
    ``cache`` and reused for the same folder, settings and texts.
    """
    root = pathlib.Path(folder)
    if not (root / "config.json").is_file():
        raise UserError(f"no config.json in {folder!r}; expected a local Hugging Face or "
                        "sentence-transformers folder: correct the path (nothing is downloaded)")
    if pooling and pooling not in POOLINGS.values():
        raise UserError(f"pooling: got {pooling!r}, expected one of {sorted(POOLINGS.values())}")
    pooling = pooling or _pooling(root)
    asked = catalogue.query.take(catalogue.q2i.index).to_pylist()
    work = {"items": [document_prompt + text for text in catalogue.text.to_pylist()],
            "queries": [query_prompt + text for text in asked]}
    key = {"folder": str(root.resolve()), "config": (root / "config.json").read_text("utf-8"),
           "pooling": pooling, "max_length": max_length,
           **{part: _digest(texts) for part, texts in work.items()}}
    place = cache / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    if not (place / "settings.json").exists():
        encode = _encoder(root, pooling, max_length, batch_size)
        place.mkdir(parents=True, exist_ok=True)
        for part, texts in work.items():
            np.save(place / f"{part}.npy", encode(texts, f"{name}: {part}"))
        write_json(place / "settings.json", key)
    items = columns.vectors(place / "items.npy", len(work["items"]))
    queries = np.zeros((len(catalogue.query), items.shape[1]), np.float32)
    queries[catalogue.q2i.index] = columns.vectors(place / "queries.npy", len(asked),
                                                   items.shape[1])
    return Method(name, item_vectors=items, query_vectors=queries)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _pooling(root: pathlib.Path) -> str:
    path = root / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = json.loads(path.read_text(encoding="utf-8"))
    chosen = [pooling for key, pooling in POOLINGS.items() if config.get(key)]
    if len(chosen) != 1:
        raise UserError(f"{path} asks for {chosen or 'no known pooling'}; expected exactly one of "
                        f"{sorted(POOLINGS.values())}: set the pooling yourself")
    return chosen[0]


def _encoder(root: pathlib.Path, pooling: str, max_length: int, batch_size: int):
    """A function (texts, label) -> unit vectors float32 [n, D]; loads torch and transformers."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError(f"encoding with {root} needs torch and transformers, which are not "
                        "installed; expected pip install torch transformers, or embeddings made "
                        "elsewhere (EmbeddingFiles)") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(root, local_files_only=True)
        model = transformers.AutoModel.from_pretrained(root, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{root} cannot be loaded ({str(error).splitlines()[0]}); expected a whole "
                        "model with its tokenizer") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()

    @torch.inference_mode()
    def encode(texts: Sequence[str], label: str) -> np.ndarray:
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors, progress = None, Progress(label, len(texts))
        for start in range(0, len(order), batch_size):
            rows = order[start:start + batch_size]
            batch = tokenizer([texts[row] for row in rows], padding=True, truncation=True,
                              max_length=max_length, return_tensors="pt").to(device)
            hidden = _pool(model(**batch).last_hidden_state, batch["attention_mask"], pooling)
            hidden = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(texts), hidden.shape[1]), np.float32)
            vectors[rows] = hidden
            progress.update(len(rows))
        return vectors

    return encode


def _pool(hidden, mask, pooling: str):
    """One vector a text from torch [B, L, D] and mask [B, L]."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(weight == 0, -1e9).max(dim=1).values
    if pooling == "last":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return hidden[range(len(hidden)), last]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
