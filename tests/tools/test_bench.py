"""Benchmarks at tiny shapes, and the counts they report."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax.errors import UserError
from tools.bench import (attention, batches, jax_side, memory, running, shapes,
                         step_profile, train_step)


def test_flops_of_loops_and_branches():
    def fn(x, w):
        x = jax.lax.scan(lambda x, w: (x @ w, None), x, w)[0]
        return jax.lax.cond(jnp.sum(x) > 0, lambda: x @ x.T, lambda: x @ x.T + (x @ x.T).T)

    x, w = jnp.ones((4, 8)), jnp.ones((3, 8, 8))
    assert jax_side.count_flops(jax.make_jaxpr(fn)(x, w).jaxpr) == 3 * 2 * 4 * 8 * 8 + 2 * 4 * 8 * 4


@pytest.mark.parametrize("found,text", [
    ({"total": 3 * 2**30}, "3.00"), ({"too_large": "no room"}, "too large"),
    ({"too_large": "memory required for HLO temporaries (1167.87G) exceeds"},
     "too large (1,167.9)")])
def test_memory_that_does_not_fit_is_said_with_what_it_would_need(found, text):
    assert memory.cell(found) == text


def test_batches_are_what_the_models_take():
    case = shapes.case(size="tiny", B=4, Q=2, L=8, Lq=4, t=3, K=8)
    batch = batches.random_batch(case)
    assert batch["query_soft"].shape == (4, 2, 2, 8)
    torch_batch = batches.torch_batch(case, batch)
    assert torch_batch["query_tokens"].shape == (8, 4)
    assert torch_batch["query_soft"].shape == (8, 2, 8)
    np.testing.assert_array_equal(torch_batch["item_codes"], batch["item_codes"])
    assert max(map(len, batches.titles(case, 20))) <= 8


def test_a_row_compares_and_counts():
    found = {"jax": {"seconds": 0.5, "cpu_seconds": 0.9, "flops": 1e9},
             "torch": {"seconds": 1.0, "cpu_seconds": 1.8}}
    row = train_step.row({"size": "small", "t": 1}, found, peak=1e10)
    assert row[1:] == ["500", "1,000", "2.00", "0.90", "1.80", "0.001", "2.0", "20%", "10%"]
    assert row[0] == "small, GSID step 1, 16 items x 64, 16 queries x 16, float32"


@pytest.mark.parametrize("values,message", [
    ({"size": "huge"}, "size is 'huge'; expected one of"), ({"t": 5}, "expected 0 <= t <= T")])
def test_impossible_cases(values, message):
    with pytest.raises(UserError, match=message):
        shapes.case(**values)


def test_a_measurement_that_fails_is_named():
    with pytest.raises(UserError, match="the measurement .* failed: .*size is 'huge'"):
        running.run({"framework": "jax", "what": "train", "case": {"size": "huge"}})


def test_a_measurement():
    result = running.run({"framework": "jax", "what": "matmul", "calls": 2, "matmul_size": 64})
    assert result["flops"] == 2 * 64**3 and len(result["all_seconds"]) == 2


def test_fused_attention_computes_what_the_network_does():
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v = (jax.random.normal(key, (2, 5, 3, 4)) for key in keys[:3])
    bias = jax.random.normal(keys[3], (1, 3, 5, 5)).at[..., 3:].set(-1e9)
    _, out, gradients = attention.run(attention.products, (q, k, v, bias), 1)
    _, own, own_gradients = attention.run(attention.fused("xla"), (q, k, v, bias), 1)
    np.testing.assert_allclose(own, out, rtol=1e-5, atol=1e-6)
    for a, b in zip(own_gradients, gradients):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_profile_counts_the_program_s_instructions_by_kind():
    def event(name, dur, tid=1, ph="X"):
        return {"name": name, "dur": dur, "tid": tid, "ph": ph}
    events = [event("ThunkExecutor::Execute", 9000), event("dot.12", 2000), event("dot.3", 1000),
              event("copy_bitcast_fusion.1", 500), event("while.2", 4000),
              event("$trainer.py:152 train_step", 9000), event("dot.5", 700, tid=2),
              event("wrapped_add", 250), event("thread_name", 0, ph="M")]
    total = step_profile.durations(events)
    assert total == {"dot": 3, "copy_bitcast_fusion": 0.5, "wrapped_add": 0.25}
    assert list(step_profile.by_kind(total).values()) == [3, 0.5, 0, 0.25]


def test_a_profile_of_a_step():
    total = step_profile.traced({"size": "tiny", "B": 8, "L": 8, "Lq": 8})
    assert step_profile.by_kind(total)["matrix products"] > 0
