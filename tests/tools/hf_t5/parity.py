"""The fixture of the parity test: what `transformers` computes from the folders of `folders.py`.

    python -m tests.tools.hf_t5.parity

writes parity.npz beside this file; needs torch and transformers.
"""

import pathlib

import numpy as np

from tests.tools.hf_t5 import folders

FIXTURE = pathlib.Path(__file__).with_name("parity.npz")
EVERY = 12  # positions kept


def inputs() -> dict[str, np.ndarray]:
    """Tokens long enough for every bucket of relative positions, with padding; int64 [2, n]."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(3, 64, (2, 168))
    tokens[1, 90:] = 0
    targets = rng.integers(3, 64, (2, 150))
    targets[1, 130:] = 0
    return {"tokens": tokens, "targets": targets}


def expected(folder: pathlib.Path, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Encoder states, logits and loss by transformers, float32, without dropout."""
    import torch
    from transformers import AutoModelForSeq2SeqLM
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokens, targets = (torch.tensor(data[name]) for name in ("tokens", "targets"))
    with torch.no_grad():
        out = model(input_ids=tokens, attention_mask=(tokens > 0).long(),
                    labels=targets.masked_fill(targets == 0, -100))
    return {"encoded": out.encoder_last_hidden_state.numpy(), "logits": out.logits.numpy(),
            "loss": out.loss.numpy()}


def main() -> None:
    """Writes the fixture."""
    import tempfile
    kept = {}
    for family in folders.FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            weights = folders.tensors_of(family)
            folder = folders.write(pathlib.Path(name), folders.config_of(family), weights)
            found = expected(folder, inputs())
        kept |= {f"{family}/w/{name}": value.astype(np.float16) for name, value in weights.items()}
        kept |= {f"{family}/encoded": found["encoded"][:, ::EVERY],
                 f"{family}/logits": found["logits"][:, ::EVERY], f"{family}/loss": found["loss"]}
    np.savez_compressed(FIXTURE, **kept)


if __name__ == "__main__":
    main()
