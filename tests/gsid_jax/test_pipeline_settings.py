"""What the stages of a run are bound to."""

from gsid_jax.pipeline_settings import Pipeline


def test_the_fit_keeps_the_parameters_of_the_steps_but_not_their_values():
    run = Pipeline("r", 3, step_gin="s{t}.gin", pretrain_gin="p.gin", fit_gin="f.gin",
                   model_gin=["m.gin"], bindings=["BATCH_SIZE = 8"],
                   step_bindings=["TRAIN_STEPS = 5", "CodebookConfig.start_samples = 9"],
                   later_bindings=["TRAIN_STEPS = 6", "GSIDModel.tau = 0.1"],
                   fit_bindings=["TRAIN_STEPS = 7"], recipe_gin="x.gin",
                   assignment="retree", lookup="marginals")
    files, bindings = run.fit_stage()
    assert files == ["m.gin", "f.gin"]
    assert [b for b in bindings if b.startswith("TRAIN_STEPS")] == ["TRAIN_STEPS = 7"]
    for kept in ("CodebookConfig.start_samples = 9", "GSIDModel.tau = 0.1", "BATCH_SIZE = 8",
                 "include 'x.gin'", "initial/run_path.name = 'step_3'"):
        assert kept in bindings
