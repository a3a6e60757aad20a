"""Import and export: exact both ways, every tensor accounted for, and what is refused."""

import json
import shutil

import gin
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentencepiece import SentencePieceProcessor

from gsid_jax import checkpoint_files, launch, trained_model
from gsid_jax.codebook import CodebookConfig
from gsid_jax.errors import UserError
from gsid_jax.gsid_model import CodebookHead
from tasks import location
from tests.tools.hf_t5 import folders
from tools import export_hf_t5, import_hf_t5
from tools.hf_t5 import gsid_file

CONFIG = CodebookConfig(start_samples=16, prefix_buckets=8, centring=0.4)


@pytest.fixture(autouse=True)
def clean_gin():
    yield
    location.reset()
    with gin.unlock_config():
        gin.clear_config()


@pytest.fixture(scope="module")
def english():
    return folders.vocabulary(folders.EN, 100)


def source(tmp_path, family="t5_1_1", version=4, vocabulary=None, **changes):
    """A folder whose vocabulary has 128 rows."""
    changes = {"vocab_size": 128} | changes
    return folders.write(tmp_path / "hf", folders.config_of(family, version, **changes),
                         folders.tensors_of(family, **changes), vocabulary)


@pytest.mark.parametrize("family, version", [
    ("t5_1_0", 4), ("t5_1_0", 5), ("t5_1_1", 4), ("t5_1_1", 5), ("mt5", 4), ("mt5", 5)])
def test_round_trip_is_exact(tmp_path, family, version, english):
    folder = source(tmp_path, family, version, english)
    lines = import_hf_t5.import_hf_t5(folder, tmp_path / "ours", num_levels=3, codebook_size=4)
    before = load_file(folder / "model.safetensors")
    assert f"{len(before)} tensors of {len(before)} taken" in lines[0]
    assert any("bos [8] is row 0 of shared.weight" in line for line in lines)
    assert any("fresh, normal with deviation 0.05, seed 0: code_embedders_0 to 1" in line
               for line in lines)
    model = trained_model.load((), tmp_path / "ours")
    network = model.model.module.config
    assert network.logits_via_embedding == network.scaled_logits == (family == "t5_1_0")
    assert network.mlp_activations == (("relu",) if family == "t5_1_0" else ("gelu", "linear"))
    assert network.num_decoder_layers == 1 and network.num_levels == 3
    # model.gin alone makes the same network.
    launch.parse_gin([str(tmp_path / "ours" / "model.gin"), "gin_configs/runs/pretrain.gin"],
                     ["TRAIN_STEPS = 200", "RUN_DIR = 'x'", *trained_model.BINDINGS])
    built = trained_model.configuration()[0].module.config
    assert built == network

    export_hf_t5.export_hf_t5(tmp_path / "ours", tmp_path / "back")
    after = load_file(tmp_path / "back" / "model.safetensors")
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config["tie_word_embeddings"] is (family == "t5_1_0")
    assert config["scale_decoder_outputs"] is (family == "t5_1_0")


def test_a_pipeline_starts_from_it(tmp_path, english):
    import_hf_t5.import_hf_t5(source(tmp_path, vocabulary=english), tmp_path / "ours", 3, 4)
    launch.parse_gin([str(tmp_path / "ours" / "pipeline.gin")], ["RUN_DIR = 'runs/x'"])
    from gsid_jax import gin_setup
    pipeline = gin_setup.pipeline()
    assert pipeline.model_gin == [str(tmp_path / "ours" / "model.gin")]
    assert f'INITIAL_CHECKPOINT_PATH = "{tmp_path / "ours"}"' in pipeline.pretrain_bindings
    pieces = SentencePieceProcessor(model_proto=english).get_piece_size()
    assert pipeline.levels == 3
    assert pipeline.extra_ids + pieces == 128  # what the pipeline makes VOCAB_SIZE of


def test_shards_and_torch_files_hold_the_same(tmp_path):
    folder = source(tmp_path)
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(whole)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: whole[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    import_hf_t5.import_hf_t5(folder, tmp_path / "ours")
    params = checkpoint_files.load_variables(str(tmp_path / "ours"))["params"]
    np.testing.assert_array_equal(params["decoder"]["layers_0"]["mlp"]["wi_1"]["kernel"],
                                  whole["decoder.block.0.layer.2.DenseReluDense.wi_1.weight"].T)
    (folder / "b.safetensors").unlink()
    with pytest.raises(UserError, match="b.safetensors is missing, which .*index.json says holds"):
        import_hf_t5.import_hf_t5(folder, tmp_path / "again")


def test_a_vocabulary_is_padded_and_the_rows_named(tmp_path, english):
    folder = source(tmp_path, vocabulary=english, vocab_size=110)
    lines = import_hf_t5.import_hf_t5(folder, tmp_path / "ours")
    text = "\n".join(lines)
    assert "token_embedder/embedding of the ids 110 to 127, which pad the vocabulary to 128" in text
    assert "logits_dense/kernel of the ids 110 to 127" in text
    assert "the special tokens of our tasks are the ids 121 to 127" in text
    params = checkpoint_files.load_variables(str(tmp_path / "ours"))["params"]
    table = params["token_embedder"]["embedding"]
    np.testing.assert_array_equal(table[:110], load_file(folder / "model.safetensors")[
        "shared.weight"])
    assert table.shape == (128, 8) and 0.2 < table[110:].std() < 0.8


def test_aliases_and_leftovers_are_named(tmp_path):
    folder = source(tmp_path, "t5_1_0")
    tensors = load_file(folder / "model.safetensors")
    left = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    save_file(tensors | {
        "encoder.embed_tokens.weight": tensors["shared.weight"],
        "lm_head.weight": tensors["shared.weight"], left: np.zeros((32, 2), np.float32)},
        folder / "model.safetensors")
    text = "\n".join(import_hf_t5.import_hf_t5(folder, tmp_path / "ours"))
    assert "encoder.embed_tokens.weight is shared.weight again" in text
    assert "lm_head.weight is shared.weight again: the head is tied" in text
    assert f"{left} [32, 2] is left out" in text


BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
WI = "decoder.block.0.layer.2.DenseReluDense.wi_0.weight"


@pytest.mark.parametrize("config, tensors, text", [
    ({"model_type": "bert", "architectures": ["BertModel"]}, {},
     r"of a model of type 'bert' \(BertModel\); expected 't5' or 'mt5'"),
    ({}, {WI: None}, rf"{WI} is missing; config.json asks for shape \(12, 8\)"),
    ({}, {"pooler.weight": np.zeros((3, 5), np.float32)},
     r"pooler.weight of shape \(3, 5\) is there, but a T5 of this config.json has none"),
    ({}, {WI: np.zeros((10, 8), np.float32)},
     rf"{WI} has shape \(10, 8\), config.json asks for \(12, 8\)"),
    ({"num_heads": 4}, {}, rf"{BIAS} has shape \(32, 2\), config.json asks for \(32, 4\)"),
    ({"d_model": None}, {}, "config.json lacks d_model; expected the sizes"),
    ({"feed_forward_proj": "gelu"}, {}, "feed_forward_proj is 'gelu'; expected one of relu"),
    ({"layer_norm_epsilon": 1e-5}, {}, "layer_norm_epsilon is 1e-05; expected 1e-06"),
    ({}, {"decoder.embed_tokens.weight": np.zeros((128, 8), np.float32)},
     r"decoder.embed_tokens.weight of shape \(128, 8\) differs from shared.weight"),
    ({}, {"lm_head.weight": None},
     r"lm_head.weight is missing; config.json asks for shape \(128, 8\)"),
])
def test_what_does_not_fit_is_named(tmp_path, config, tensors, text, capsys):
    folder = source(tmp_path)
    saved = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(saved))
    weights = load_file(folder / "model.safetensors") | tensors
    save_file({name: value for name, value in weights.items() if value is not None},
              folder / "model.safetensors")
    assert import_hf_t5.main([f"--source={folder}", f"--output={tmp_path / 'ours'}"]) == 1
    import re
    assert re.search(text, capsys.readouterr().err)
    assert not list(tmp_path.glob("ours*"))


def test_folders_that_are_none(tmp_path, english):
    def refused(folder, text, **options):
        with pytest.raises(UserError, match=text):
            import_hf_t5.import_hf_t5(folder, tmp_path / "ours", **options)

    refused(tmp_path / "nowhere", "is not a directory")
    folder = source(tmp_path)
    (folder / "model.safetensors").rename(folder / "weights")
    refused(folder, "holds no weights: it holds config.json, weights; expected one of")
    (folder / "model.safetensors").write_bytes(b"no")
    refused(folder, "model.safetensors cannot be read as safetensors")
    (folder / "config.json").unlink()
    refused(folder, "has no config.json: it holds model.safetensors, weights")
    shutil.rmtree(folder)
    small = source(tmp_path, vocabulary=folders.vocabulary(folders.ZH + folders.EN, 125))
    refused(small, "has 125 pieces, the embedding 128 rows; expected at least 7 rows more")
    (tmp_path / "bad.model").write_bytes(b"no model")
    refused(small, "is not a SentencePiece model", vocabulary=tmp_path / "bad.model")
    refused(small, "vocabulary file .*none.model does not exist",
            vocabulary=tmp_path / "none.model")
    (tmp_path / "ours").mkdir()
    refused(small, "exists already; expected a new directory")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, english):
    """A GSID model of two levels with lived-in codebooks: what it is, MODEL_DIR, folder, lines."""
    root, rng = tmp_path_factory.mktemp("gsid"), np.random.default_rng(0)
    folder = source(root, vocabulary=english)
    head = CodebookHead(CONFIG, 2, 4, 8)
    collection = jax.jit(head.init)(jax.random.key(0), np.zeros((1, 2, 8), np.float32),
                                    np.zeros((1, 2), np.int32))["codebook"]
    codebook = jax.tree.map(
        lambda x: np.asarray(rng.random(x.shape) + np.asarray(x)).astype(x.dtype), collection)
    bos, pad, codes = (rng.random(shape, np.float32) for shape in ((8,), (8,), (4, 8)))
    extras = gsid_file.Extras(bos, [codes], codebook, CONFIG, 2, 4, pad, pooled_output=2.0)
    gsid_file.write(folder / gsid_file.FILE, extras)
    import_hf_t5.import_hf_t5(folder, root / "ours")
    lines = export_hf_t5.export_hf_t5(root / "ours", root / "back")
    return extras, root / "ours", root / "back", lines


def test_gsid_goes_out_and_comes_back(exported, tmp_path):
    extras, ours, back, lines = exported
    assert "2 codebooks, 1 tables of code embeddings and bos" in lines[0]
    assert "row 0 of the embedding is bos" in lines[1]
    tables = load_file(back / "model.safetensors")["shared.weight"]
    np.testing.assert_array_equal(tables[0], extras.bos)
    before = trained_model.load((), ours)
    assert before.model.level == 2 and before.model.codebook == CONFIG
    params = before.variables["params"]
    np.testing.assert_array_equal(params["token_embedder"]["embedding"][0], extras.pad_embedding)
    for name, value in checkpoint_files.by_name(extras.codebook).items():
        np.testing.assert_array_equal(
            checkpoint_files.by_name(before.variables["codebook"])[name], value, err_msg=name)
    import_hf_t5.import_hf_t5(back, tmp_path / "again")
    assert trained_model.load((), tmp_path / "again").hash == before.hash
    with pytest.raises(UserError, match="exists already; expected a new directory"):
        export_hf_t5.export_hf_t5(ours, back)


def test_the_layout_of_gsid_safetensors(exported):
    extras, _, back, _ = exported
    tensors = load_file(back / gsid_file.FILE)
    assert {name: value.shape for name, value in tensors.items()
            if not name.startswith("state.")} == {
        "bos": (8,), "code_embeddings.1": (4, 8), "codebook.1": (4, 8), "codebook.2": (4, 8),
        "centring.2": (1, 4, 8), "pad_embedding": (8,)}
    level = extras.codebook["level_2"]
    np.testing.assert_allclose(tensors["centring.2"],
                               level["prefix_sum"] / level["prefix_count"][..., None], rtol=1e-6)
    assert gsid_file.read(back).codebook_config == CONFIG


def test_pytorch_alone_makes_the_same_ids(exported):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tools.hf_t5.semantic_ids import SemanticIDs
    loaded = trained_model.load((), exported[1])
    tokens = np.random.default_rng(1).integers(3, 128, (16, 12))
    tokens[5:, 7:] = 0
    codes, _ = jax.jit(loaded.model.predict_batch_with_aux)(
        loaded.variables["params"], {"encoder_input_tokens": tokens}, None,
        {"codebook": loaded.variables["codebook"]})
    assert len(np.unique(codes, axis=0)) > 1
    np.testing.assert_array_equal(SemanticIDs(str(exported[2]))(torch.tensor(tokens)).numpy(),
                                  codes)


def test_the_commands(exported, tmp_path, capsys):
    assert export_hf_t5.main([f"--source={exported[1]}", f"--output={tmp_path / 'one'}"]) == 0
    assert "2 codebooks" in capsys.readouterr().out
    assert export_hf_t5.main([f"--source={tmp_path}", f"--output={tmp_path / 'two'}"]) == 1
    assert "no checkpoint at" in capsys.readouterr().err
    broken = tmp_path / "broken"
    shutil.copytree(exported[2], broken)
    (broken / gsid_file.FILE).write_bytes(b"no")
    assert import_hf_t5.main([f"--source={broken}", f"--output={tmp_path / 'three'}"]) == 1
    assert "gsid.safetensors cannot be read" in capsys.readouterr().err
