"""Small Hugging Face T5 folders of every family, written without torch or transformers."""

import io
import json
import pathlib

import numpy as np
from safetensors.numpy import save_file
import sentencepiece

from gsid_jax.network import T5Config
from tools.hf_t5 import parameters

SIZES = {"vocab_size": 64, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 2,
         "num_decoder_layers": 1, "num_heads": 2, "dropout_rate": 0.1, "eos_token_id": 1,
         "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32,
         "relative_attention_max_distance": 128, "is_encoder_decoder": True, "pad_token_id": 0,
         "decoder_start_token_id": 0}
# As transformers 4 writes them.
FAMILIES = {
    "t5_1_0": {"model_type": "t5", "feed_forward_proj": "relu"},
    "t5_1_1": {"model_type": "t5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "mt5": {"model_type": "mt5", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
# What transformers 5 writes instead: always tied, and the scaling told apart (not for mT5).
VERSION_5 = {
    "t5_1_0": {"tie_word_embeddings": True, "scale_decoder_outputs": True},
    "t5_1_1": {"tie_word_embeddings": True, "scale_decoder_outputs": False},
    "mt5": {"tie_word_embeddings": True},
}
EN = ["Apple iPhone 12 Pro Max 256GB, like new!", "naïve café, déjà vu: don't",
      "Sony α7 III camera, ½ price  (mint)", "used LEGO Star Wars 75192, 7,541 pieces",
      "Ｆｕｌｌ ｗｉｄｔｈ １２３ text"]
ZH = ["二手苹果iPhone 12 128G 黑色 九成新", "全新未拆封 华为Mate40 Pro，支持验货",
      "索尼微单相机α7M3 配件齐全！", "宜家 台灯 ２０２３款 包邮", "乐高75192千年隼 积木 收藏品"]


def config_of(family: str, version: int = 4, **changes) -> dict:
    """config.json of a family as transformers `version` writes it."""
    config = SIZES | FAMILIES[family] | {"transformers_version": f"{version}.0.0"}
    return config | (VERSION_5[family] if version == 5 else {}) | changes


def tensors_of(family: str, seed: int = 0, **changes) -> dict[str, np.ndarray]:
    """Random weights, exact in float16, large enough that nothing in the network is idle."""
    config = config_of(family, **changes)
    network = T5Config(
        vocab_size=config["vocab_size"], emb_dim=config["d_model"], num_heads=config["num_heads"],
        head_dim=config["d_kv"], mlp_dim=config["d_ff"], num_encoder_layers=config["num_layers"],
        num_decoder_layers=config["num_decoder_layers"],
        mlp_activations=("relu",) if family == "t5_1_0" else ("gelu", "linear"),
        logits_via_embedding=family == "t5_1_0")
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in sorted(parameters.shapes(network).items()):
        values = rng.standard_normal(shape) * 0.4
        if "layer_norm" in name:
            values = 1 + 0.25 * values
        tensors[name] = values.astype(np.float16).astype(np.float32)
    return tensors


def write(folder: pathlib.Path, config: dict, tensors: dict[str, np.ndarray],
          vocabulary: bytes | None = None) -> pathlib.Path:
    """Writes a folder with one safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    if vocabulary is not None:
        (folder / "spiece.model").write_bytes(vocabulary)
    return folder


def corpus(lines: list[str]) -> list[str]:
    """More text of the same kind, to train a vocabulary on."""
    return [f"{a} {b[k:]} {k}" for a in lines for b in lines for k in range(0, len(b), 3)]


def vocabulary(lines: list[str], size: int, own_extra_ids: int = 0, **options) -> bytes:
    """A SentencePiece model with T5's special ids; extra ids as its last pieces if asked for."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(lines)), model_writer=model, model_type="unigram",
        vocab_size=size, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False,
        minloglevel=2, num_threads=1, **options)
    if not own_extra_ids:
        return model.getvalue()
    from sentencepiece import sentencepiece_model_pb2
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    for k in reversed(range(own_extra_ids)):
        proto.pieces.add(piece=f"\u2581<extra_id_{k}>", score=0.0,
                         type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED)
    return proto.SerializeToString()
