"""Counts of compiled programs, roofline by hand, and the real step compiled for 16 TPU chips."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from tools.launch_plan import chips, compiling, costs, hlo, roofline

ROOT = pathlib.Path(__file__).parents[2]


def compiled(fn, *shapes, **options):
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(fn, **options).lower(*args).compile()


def layers(scanned):
    def fn(x, weights):
        if scanned:
            return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]
        for n in range(weights.shape[0]):
            x = jnp.tanh(x @ weights[n])
        return x
    return compiled(fn, (64, 32), (6, 32, 32))


def test_a_loop_counts_as_often_as_it_runs():
    whole, rolled = (costs.cost(layers(scanned).as_text(), 8) for scanned in (False, True))
    assert whole.flops == rolled.flops == 6 * 2 * 64 * 32 * 32
    assert layers(True).cost_analysis()["flops"] < whole.flops  # XLA counts the body once
    # Of the stacked weights a turn reads its slice only.
    assert rolled.bytes < 2 * whole.bytes


def test_collectives_by_kind_and_group():
    mesh = Partitioner(2).mesh
    program = compiled(lambda x, w: x @ w, (64, 32), (32, 16), in_shardings=(
        NamedSharding(mesh, P("data", "model")), NamedSharding(mesh, P("model"))),
        out_shardings=NamedSharding(mesh, P("data")))
    cost = costs.cost(program.as_text(), 8)
    assert cost.flops == 2 * 16 * 16 * 16  # a chip's part of 2 x 64 x 32 x 16
    assert cost.listed() == [costs.Collective("all-reduce", 2, 1.0, 16 * 16 * 4)]


TPU_TEXT = """HloModule m, is_scheduled=true

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[]{:T(128)}, f32[8]{0:T(256)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = f32[8]{0:T(256)} get-tuple-element(%p), index=1
  %r = f32[8]{0:T(256)} all-reduce(%x), channel_id=3, replica_groups=mesh['a'=4,'b'=2] {'a'}, to_apply=%add
  ROOT %t = (s32[]{:T(128)}, f32[8]{0:T(256)}) tuple(%i, %r)
}

%cond (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[8]{0:T(256)}) parameter(0)
  %n = s32[]{:T(128)} constant(12)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %n), direction=LT
}

ENTRY %main (a: bf16[16,128,768], w: bf16[768,2048]) -> bf16[16,128,2048] {
  %a = bf16[16,128,768]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %w = bf16[1,768,2048]{2,1,0:T(8,128)(2,1)} parameter(1)
  %s = (s32[]{:T(128)}, f32[8]{0:T(256)}) custom-call(), custom_call_target="start"
  %loop = (s32[]{:T(128)}, f32[8]{0:T(256)}) while(%s), condition=%cond, body=%body
  ROOT %c = bf16[16,128,2048]{2,1,0:T(8,128)(2,1)} convolution(%a, %w), window={size=1}, dim_labels=0bf_0io->0bf
}
"""


def test_what_tpu_programs_print():
    cost = costs.cost(TPU_TEXT, 8)
    assert cost.flops == 2 * 16 * 128 * 768 * 2048
    assert cost.listed() == [costs.Collective("all-reduce", 4, 12.0, 12 * 32)]
    # The first operand lies in the chip's own memory (S(1)); the loop carries no HBM traffic.
    assert cost.bytes == 2 * (768 * 2048 + 16 * 128 * 2048) + 4 + 32


def test_batched_products_written_as_windows():
    text = TPU_TEXT.replace(
        "convolution(%a, %w), window={size=1}, dim_labels=0bf_0io->0bf",
        "convolution(%q, %k), window={size=16x12 stride=15x11 lhs_dilate=16x12}, "
        "dim_labels=0b1f_0o1i->01bf").replace("ROOT %c = bf16[16,128,2048]{2,1,0:T(8,128)(2,1)}", (
            "%q = bf16[16,128,12,64]{3,2,1,0} custom-call(), custom_call_target=\"q\"\n"
            "  %k = bf16[16,128,12,64]{3,2,1,0} custom-call(), custom_call_target=\"k\"\n"
            "  ROOT %c = bf16[16,12,128,128]{3,2,1,0}"))
    assert costs.cost(text, 8).flops == 2 * 16 * 12 * 128 * 128 * 64


def test_roofline_by_hand():
    place = chips.topology("v5e:4x4")
    one = lambda kind, group, size: roofline.exchange(  # noqa: E731
        place, costs.Collective(kind, group, 1.0, size))
    # A slice of 4x4 closes no ring: half of 90 GB/s on each of its two axes.
    assert one("all-reduce", 16, 9e9) == pytest.approx(2 * 15 / 16 * 9e9 / 9e10)
    assert one("all-gather", 4, 9e9) == pytest.approx(3 / 4 * 9e9 / 4.5e10)
    assert one("reduce-scatter", 4, 9e9) == pytest.approx(3 / 4 * 4 * 9e9 / 4.5e10)
    seconds = roofline.seconds(place, 197e12, 4.05e11, [])
    assert (seconds.compute, seconds.memory, seconds.serial) == (1.0, 0.5, 1.0)
    gpus = chips.topology("h100:32")
    assert roofline.exchange(gpus, costs.Collective("all-gather", 8, 1.0, 8e9)) == pytest.approx(
        7 / 8 * 8e9 / 4.5e11)
    assert roofline.exchange(gpus, costs.Collective("all-gather", 32, 1.0, 8e9)) == pytest.approx(
        7 / 8 * 8e9 / 4.5e11 + 1e9 * 3 / 4 / 5e10)
    assert gpus.compiled_name == "v5p:2x4x4"


@pytest.mark.parametrize("text,message", [
    ("v7:4x4", "expected CHIP:SHAPE with a chip of v4, v5e, v5p, v6e, h100, h200"),
    ("v5e:4x4x4", "v5e has 2 dimensions; expected such as v5e:4x4"),
    ("h100:8x4", "h100 has 1 dimension; expected such as h100:4")])
def test_topologies_that_are_none(text, message):
    with pytest.raises(UserError, match=message):
        chips.topology(text)


def test_gpus_that_no_slice_stands_in_for():
    with pytest.raises(UserError, match="a plan for 24 GPUs is not possible; expected a power of"):
        chips.topology("h100:24").compiled_name


def test_loops_without_a_bound_count_once():
    module = hlo.parse(TPU_TEXT.replace("constant(12)", "parameter(1)"))
    loop = module.computations["main"].instructions["loop"]
    assert hlo.trip_count(module, loop) == 1


def test_meshes_divide_hosts_and_batch():
    config = compiling.Configuration(None, 8, {}, 2, True, None)
    place = chips.topology("v5e:4x4")
    assert [str(m) for m in compiling.meshes(config, place, every=True)] == [
        "8x2", "8x2 FSDP", "4x4", "4x4 FSDP"]
    assert [str(m) for m in compiling.meshes(config, place, every=False)] == ["8x2 FSDP"]
    with pytest.raises(UserError, match="no mesh of 16 chips divides BATCH_SIZE=8 with "
                       "NUM_PARTITIONS=1; .* a multiple of 16"):
        compiling.meshes(compiling.Configuration(None, 8, {}, 1, True, None), place, every=False)


NEEDS_LIBTPU = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None,
                                  reason="libtpu is not installed")


def planned(tmp_path, model, level, topology, *bindings):
    """What the command writes for a step on its configuration's mesh."""
    output = tmp_path / "plan.json"
    done = subprocess.run(
        [sys.executable, "-m", "tools.plan_launch", f"--gin_file=gin_configs/models/{model}.gin",
         f"--gin_file=gin_configs/runs/gsid_step_{level}.gin", "--gin.RUN_DIR='unused'",
         "--gin.SCAN_LAYERS=True", *(f"--gin.{binding}" for binding in bindings),
         f"--topology={topology}", "--meshes=config", f"--json={output}"],
        cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


@NEEDS_LIBTPU
@pytest.mark.parametrize("level", [1, 4])
def test_mengzi_base_is_planned_for_sixteen_chips(level, tmp_path):
    plan = planned(tmp_path, "mengzi_base", level, "v5e:4x4")
    (program,) = plan["programs"]
    assert plan["best"] == program["mesh"] == "16x1" and program["fits"]
    # 3 x the forward pass: 16 items of 64 tokens and 32 queries of 32 a chip, D 768, F 2048.
    rows = [(16, 64), (32, 32)]
    forward = sum(n * 12 * 2 * (length * (4 + 2) * 768**2 + level * 6 * 768**2
                                + (length + level) * 3 * 768 * 2048
                                + 2 * 768 * (length**2 + level * length + level**2))
                  for n, length in rows)
    assert program["flops"] == pytest.approx(3 * forward, rel=0.02)
    assert program["xla_counts_loops_once"]["flops"] < program["flops"] / 5
    kinds = {collective["kind"] for collective in program["collectives"]}
    assert "all-reduce" in kinds
    assert program["memory"]["parameters"] == pytest.approx(248e6 * 4, rel=0.02)


@NEEDS_LIBTPU
@pytest.mark.parametrize("topology", ["v4:2x2x2", "v6e:2x2", "h100:8"])
def test_every_kind_of_chip_is_planned(topology, tmp_path):
    (program,) = planned(tmp_path, "tiny", 1, topology, "BATCH_SIZE=128")["programs"]
    assert program["fits"] and program["flops"] > 0
