"""Random full batches of a Case, for either framework."""

import numpy as np

from tools.bench.shapes import Case

KNOWN_QUERIES = 32


def random_batch(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """A full batch without padding."""
    rng = np.random.default_rng(seed)
    vocabulary = case.network["vocab_size"]

    def tokens(*shape):
        return rng.integers(2, vocabulary, shape).astype(np.int32)

    if case.t == 0:
        targets = tokens(case.B, case.M)
        return {"encoder_input_tokens": tokens(case.B, case.L),
                "decoder_input_tokens": np.roll(targets, 1, axis=1),
                "decoder_target_tokens": targets,
                "decoder_loss_weights": np.ones((case.B, case.M), np.int32)}
    ids = np.arange(1, case.B * case.Q + 1, dtype=np.int32).reshape(case.B, case.Q)
    known = np.zeros((case.B, KNOWN_QUERIES), np.int32)
    known[:, :case.Q] = ids[:, :KNOWN_QUERIES]
    batch = {"item_tokens": tokens(case.B, case.L),
             "item_ids": np.arange(1, case.B + 1, dtype=np.int32),
             "query_tokens": tokens(case.B, case.Q, case.Lq), "query_ids": ids,
             "query_weights": np.ones((case.B, case.Q), np.float32), "item_query_ids": known}
    if case.t > 1:
        levels = case.t - 1
        soft = lambda *shape: rng.dirichlet(np.ones(case.K), shape).astype(np.float32)  # noqa: E731
        batch |= {
            "item_codes": rng.integers(0, case.K, (case.B, levels)).astype(np.int32),
            "query_codes": rng.integers(0, case.K, (case.B, case.Q, levels)).astype(np.int32),
            "item_soft": soft(case.B, levels), "query_soft": soft(case.B, case.Q, levels)}
    return batch


def torch_batch(case: Case, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same batch for `torch_side`."""
    if case.t == 0:
        return batch
    flat = case.B * case.Q
    made = {"item_tokens": batch["item_tokens"],
            "query_tokens": batch["query_tokens"].reshape(flat, case.Lq),
            "item_codes": batch.get("item_codes", np.zeros((case.B, 0), np.int32))}
    if case.t > 1:
        made |= {"item_soft": batch["item_soft"],
                 "query_soft": batch["query_soft"].reshape(flat, case.t - 1, case.K)}
    return made


def titles(case: Case, count: int, seed: int = 0) -> list[list[int]]:
    """Token lists with the lengths of titles: log-normal, the median a quarter of the longest."""
    rng = np.random.default_rng(seed)
    used = np.clip(rng.lognormal(np.log(case.L / 4), 0.5, count), 2, case.L).astype(int)
    return [rng.integers(2, case.network["vocab_size"], n).tolist() for n in used]
