"""gsid.safetensors: what a GSID model has beyond a T5, beside the Hugging Face weights.

Layout (float32 unless said otherwise; T levels, K codes a level, D width, t counted from 1):

| tensor | shape | what |
|---|---|---|
| bos | [D] | decoder input at position 0 |
| code_embeddings.{t} | [K, D] | decoder input at position t: the embedded code z_t, t = 1..T-1 |
| codebook.{t} | [K, D] | E_t, what the output d_t is looked up in, t = 1..T |
| centring.{t} | [t-1, K, D] | A_t of M8: row j, z_j is what is taken off d_t, t = 2..T |
| pad_embedding | [D] | row 0 of the embedding, where the folder's own holds `bos` instead |
| state.level_{t}.{name} | | the codebook collection as training keeps it, to train on |

The header's metadata, all strings: `format` ("gsid 1"), `num_levels` (T), `codebook_size` (K),
`level` (levels trained; 0 for none) and `codebook`, the CodebookConfig as JSON: its `lookup`,
`temperature` and `centring` are what inference needs; `pooled_output`, a number (absent: 0):

    x = d_t + pooled_output * mean of the encoder states; if lookup is "cosine": x = x / |x|
    for t > 1: x = x - centring * sum_j A_t[j, z_j], and x / |x| again if "cosine"
    log P(z_t) = log_softmax(x @ E_t' / temperature), E_t' with unit rows if "cosine"
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gsid_jax.codebook import CodebookConfig
from gsid_jax.errors import UserError
from tools.hf_t5 import weights

FILE = "gsid.safetensors"
FORMAT = "gsid 1"


@dataclasses.dataclass(frozen=True)
class Extras:
    """GSID's own parameters and codebooks."""

    bos: np.ndarray  # [D]
    code_embeddings: list[np.ndarray]  # T - 1 of [K, D]
    codebook: dict[str, Any]  # the collection, {} before step 1
    codebook_config: CodebookConfig
    level: int  # 0 before step 1
    codebook_size: int
    pad_embedding: np.ndarray | None = None  # [D], where bos has taken its row
    pooled_output: float = 0.0

    @property
    def num_levels(self) -> int:
        return len(self.code_embeddings) + 1


def write(path: pathlib.Path, extras: Extras) -> None:
    """Writes gsid.safetensors."""
    tensors = {"bos": extras.bos}
    tensors |= {f"code_embeddings.{t}": table
                for t, table in enumerate(extras.code_embeddings, 1)}
    if extras.pad_embedding is not None:
        tensors["pad_embedding"] = extras.pad_embedding
    for name, level in extras.codebook.items():
        t = int(name.removeprefix("level_"))
        tensors[f"codebook.{t}"] = level["embedding"]
        if t > 1:
            tensors[f"centring.{t}"] = _means(level)
        tensors |= {f"state.{name}.{variable}": value for variable, value in level.items()}
    metadata = {"format": FORMAT, "num_levels": str(extras.num_levels),
                "codebook_size": str(extras.codebook_size), "level": str(extras.level),
                "pooled_output": str(extras.pooled_output),
                "codebook": json.dumps(dataclasses.asdict(extras.codebook_config))}
    weights.safetensors_numpy().save_file(
        {name: np.array(value, order="C") for name, value in tensors.items()}, path, metadata)


def _means(level: Mapping[str, np.ndarray]) -> np.ndarray:
    """A_t of M8, as codebook.Codebook.prefix_means."""
    count = np.asarray(level["prefix_count"])[..., None]
    means = np.asarray(level["prefix_sum"]) / np.maximum(count, np.float32(1e-6))
    return np.where(count > 1e-6, means, np.float32(0))


def read(folder: str | os.PathLike) -> Extras | None:
    """What gsid.safetensors of a folder holds, None if there is none.

    Raises UserError if it cannot be read or lacks a tensor.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        return None
    weights.safetensors_numpy()
    import safetensors
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}, "
                            "as tools.export_hf_t5 writes it: export the model again")
        codebook: dict[str, Any] = {}
        for name, value in tensors.items():
            if name.startswith("state."):
                _, level, variable = name.split(".")
                codebook.setdefault(level, {})[variable] = value
        return Extras(
            bos=tensors["bos"], code_embeddings=[
                tensors[f"code_embeddings.{t}"] for t in range(1, int(metadata["num_levels"]))],
            codebook=codebook, codebook_config=CodebookConfig(**json.loads(metadata["codebook"])),
            level=int(metadata["level"]), codebook_size=int(metadata["codebook_size"]),
            pad_embedding=tensors.get("pad_embedding"),
            pooled_output=float(metadata.get("pooled_output", 0)))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error}); expected what "
                        "tools.export_hf_t5 writes: export the model again, or remove the file to "
                        "import the T5 alone") from error
