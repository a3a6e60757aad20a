"""One progressive step: what it updates, what it leaves alone, and on how many devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gsid_jax import launch, trained_model
from gsid_jax.errors import UserError
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.health import CollapseError, CollapseGuard

from . import batches
from .batches import K, gsid_batch, gsid_model


def start(model, seed=0):
    variables = model.get_initial_variables(jax.random.key(seed))
    return variables["params"], {"codebook": variables["codebook"]}


def run(model, batch_of, steps, rate=3e-3, seed=0):
    """Trains and returns params, mutables and the metrics of every step as floats."""
    params, mutables = start(model, seed)
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, mutables, state, batch, key):
        (_, (metrics, mutables)), grads = jax.value_and_grad(model.loss_fn, has_aux=True)(
            params, batch, key, mutables)
        with jax.numpy_dtype_promotion("standard"):  # optax itself mixes dtypes
            updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), mutables, state, metrics

    reports = []
    for i in range(steps):
        params, mutables, state, metrics = step(params, mutables, state, batch_of(i),
                                                jax.random.key(i))
        reports.append({k: float(v.compute()) for k, v in metrics.items()})
    return params, mutables, reports


@pytest.mark.parametrize("level", [1, 2, 3])
def test_only_the_codebook_in_training_changes_and_the_others_not_by_a_bit(level):
    model = gsid_model(level)
    _, before = start(model)
    _, after, _ = run(model, lambda i: gsid_batch(level, seed=i), 3)
    for t in range(1, batches.T + 1):
        name = f"level_{t}"
        same = jax.tree.map(lambda a, b: bool((a == b).all()), before["codebook"][name],
                            after["codebook"][name])
        assert all(jax.tree.leaves(same)) == (t != level)
        assert not same["embedding"] if t == level else same["embedding"]


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("balance", ["entropy", "sinkhorn"])
def test_eight_devices_give_the_codebook_loss_and_gradients_of_one(level, balance):
    """Tolerance: sums over the batch are reordered, a few float32 roundings (2e-4 relative)."""
    model = gsid_model(level, balance=balance)
    params, mutables = start(model)
    batch = gsid_batch(level)
    step = jax.value_and_grad(model.loss_fn, has_aux=True)
    (loss, (_, one)), gradients = jax.jit(step)(params, batch, jax.random.key(0), mutables)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    assert mesh.size == 8
    split = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    whole = NamedSharding(mesh, PartitionSpec())
    (loss8, (_, eight)), gradients8 = jax.jit(step)(
        jax.device_put(params, whole), split, jax.random.key(0), jax.device_put(mutables, whole))
    np.testing.assert_allclose(loss, loss8, rtol=1e-5)
    for a, b in ((one, eight), (gradients, gradients8)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), a, b)


def test_contrastive_phase_counts_in_the_codebook_collection():
    model = gsid_model(1, contrastive_only_steps=2)
    _, mutables, reports = run(model, lambda i: gsid_batch(seed=i), 4)
    assert [r["contrastive_only"] for r in reports] == [1.0, 1.0, 0.0, 0.0]
    assert reports[0]["loss"] == pytest.approx(reports[0]["contrastive"], rel=1e-5)
    assert reports[2]["loss"] > reports[2]["contrastive"]
    assert mutables["codebook"]["level_1"]["steps"] == 4


def test_first_phase_of_later_steps_retains_codes_only_if_asked():
    batch = gsid_batch(2)
    for retain in (True, False):
        model = gsid_model(2, contrastive_only_steps=5, retain_in_first_phase=retain)
        params, mutables = start(model)
        loss, (metrics, _) = model.loss_fn(params, batch, None, mutables)
        rest = float(loss) - float(metrics["contrastive"].compute())
        assert (rest > 0.1) == retain


def test_commitment_and_distillation_by_hand():
    """M4 sums over levels and both sides; M9 is zero when the stored distribution is the model's."""
    model = gsid_model(2)
    params, mutables = start(model)
    batch = gsid_batch(2)
    aux = model.predict_batch_with_aux(params, {"encoder_input_tokens": batch["item_tokens"]},
                                       flax_mutables=mutables)[1]
    queries = batch["query_tokens"].reshape(32, -1)
    query_aux = model.predict_batch_with_aux(params, {"encoder_input_tokens": queries},
                                             flax_mutables=mutables)[1]
    batch["item_soft"] = aux["soft"][:, :1]
    batch["query_soft"] = query_aux["soft"][:, :1].reshape(16, 2, 1, K)
    metrics = model.loss_fn(params, batch, None, mutables)[1][0]
    assert metrics["distillation"].compute() == pytest.approx(0.0, abs=1e-4)
    code = batch["item_codes"][:, 0]
    item = -jnp.log(jnp.take_along_axis(aux["soft"][:, 0], code[:, None], axis=1)).mean()
    query = -jnp.log(jnp.take_along_axis(query_aux["soft"][:, 0], jnp.repeat(code, 2)[:, None],
                                         axis=1)).mean()
    assert metrics["commitment"].compute() == pytest.approx(float(item + query), rel=1e-4)


@pytest.mark.parametrize("options", [
    {"balance": "conditional_entropy"}, {"balance": "none"}, {"query_prefix": "own"},
    {"alignment_direction": "p||q", "alignment_stop_gradient": True}, {"ema_queries": True},
    {"alignment_direction": "hard"}, {"codebook": {"lookup": "dot"}},
    {"codebook": {"start": "batch", "centring": 0.7}}])
def test_every_option_trains_with_finite_numbers(options):
    _, mutables, reports = run(gsid_model(2, **options), lambda i: gsid_batch(2, seed=i), 3)
    assert all(np.isfinite(list(r.values())).all() for r in reports)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(mutables))


def test_prediction_is_greedy_and_a_forced_prefix_is_kept():
    model = gsid_model(3)
    params, mutables = start(model)
    tokens = gsid_batch()["item_tokens"]
    predict = jax.jit(model.predict_batch_with_aux)
    codes, aux = predict(params, {"encoder_input_tokens": tokens}, None, mutables)
    assert codes.shape == (16, 3) and aux["soft"].shape == (16, 3, K)
    np.testing.assert_array_equal(codes, aux["greedy_codes"])
    np.testing.assert_array_equal(codes, jnp.argmax(aux["soft"], axis=-1))
    np.testing.assert_allclose(jnp.linalg.norm(aux["embedding"], axis=-1), 1.0, rtol=1e-5)
    forced = (codes[:, :2] + 1) % K
    kept, kept_aux = predict(params, {"encoder_input_tokens": tokens, "codes": forced}, None,
                             mutables)
    np.testing.assert_array_equal(kept[:, :2], forced)
    np.testing.assert_array_equal(kept_aux["greedy_codes"], codes)
    score = model.score_batch(params, {"encoder_input_tokens": tokens, "codes": kept},
                              flax_mutables=mutables)
    np.testing.assert_allclose(score, kept_aux["log_prob"].sum(axis=-1), rtol=1e-4)


def test_evaluation_leaves_the_codebook_alone():
    model = gsid_model(1)
    params, mutables = start(model)
    loss, metrics = model.eval_fn(params, gsid_batch(), mutables)
    assert float(loss) == pytest.approx(float(metrics["loss"].compute()))


def literal_model():
    """The GSIDModel that gin_configs/experiments/paper_literal.gin describes, small."""
    sizes = ("CODEBOOK_SIZE = 8", "VOCAB_SIZE = 60", "network.T5Config.emb_dim = 16",
             "network.T5Config.num_encoder_layers = 1", "CONTRASTIVE_ONLY_STEPS = 5",
             "TRAIN_STEPS = 60", "RUN_DIR = 'unused'", "DROPOUT_RATE = 0.0")
    launch.parse_gin(["gin_configs/models/tiny.gin", "gin_configs/runs/gsid_step_1.gin",
                      "gin_configs/experiments/paper_literal.gin"],
                     [*trained_model.BINDINGS, *sizes])
    return trained_model.configuration()[0]


def test_the_papers_literal_recipe_collapses_and_is_caught():
    """N(0,1) codebook, raw dot product, EMA, KL, no balance (method.md, Collapse)."""
    def train(model, guard):
        reports = run(model, lambda i: gsid_batch(items=64, seed=i), 60)[2]
        for step, report in enumerate(reports):
            guard.check(step, report)
        return reports[-1]

    with pytest.raises(CollapseError, match="level 1 have collapsed.*GSIDModel.balance"):
        train(literal_model(), CollapseGuard(codebook_size=K))
    assert train(gsid_model(1), CollapseGuard(K))["perplexity"] > 0.6 * K


@pytest.mark.parametrize("option, text", [
    ({"level": 9}, r"GSIDModel.level: got 9, expected one of \(1, 2, 3\)"),
    ({"balance": "magic"}, "GSIDModel.balance: got 'magic'"),
    ({"query_prefix": "both"}, "GSIDModel.query_prefix"),
    ({"alignment_direction": "x"}, "GSIDModel.alignment_direction"),
])
def test_bad_options_are_named(option, text):
    with pytest.raises(UserError, match=text):
        GSIDModel(batches.network(), **option)
