"""gin text of a T5Config: a model file as those in gin_configs/models, and a start for a pipeline."""

import json

from gsid_jax.network import T5Config


def model(config: T5Config, extra_ids: int, source: str) -> str:
    """The text of model.gin."""
    return f"""# The sizes of {source}, written by tools.import_hf_t5.
#
#   --gin_file=THIS --gin_file=gin_configs/runs/pretrain.gin

include 'gin_configs/models/base.gin'

VOCAB_SIZE = {config.vocab_size}
EXTRA_IDS = {extra_ids}
NUM_LEVELS = {config.num_levels}
CODEBOOK_SIZE = {config.codebook_size}
DTYPE = 'float32'  # 'bfloat16' on accelerators

network.T5Config:
  emb_dim = {config.emb_dim}
  num_heads = {config.num_heads}
  head_dim = {config.head_dim}
  mlp_dim = {config.mlp_dim}
  mlp_activations = {config.mlp_activations!r}
  num_encoder_layers = {config.num_encoder_layers}
  num_decoder_layers = {config.num_decoder_layers}
  relative_buckets = {config.relative_buckets}
  relative_max_distance = {config.relative_max_distance}
  logits_via_embedding = {config.logits_via_embedding}
  scale_logits = {config.scale_logits}
"""


def pipeline(output: str, num_levels: int, extra_ids: int) -> str:
    """The text of pipeline.gin, which starts the whole chain from the imported weights."""
    start = json.dumps(f"INITIAL_CHECKPOINT_PATH = '{output}'")
    return f"""# The whole chain, starting from the weights in this directory.
#
#   python -m gsid_jax.pipeline --gin_file=THIS --gin.RUN_DIR="'runs/mine'" \\
#     --gin.ITEMS="'items.jsonl'" --gin.INTERACTIONS="'interactions.jsonl'"

include 'gin_configs/runs/pipeline.gin'

NUM_LEVELS = {num_levels}
VOCABULARY_MODEL = '{output}/sentencepiece.model'

pipeline.Pipeline:
  model_gin = ['{output}/model.gin']
  extra_ids = {extra_ids}
  pretrain_bindings = ['TRAIN_STEPS = 20000', {start}]
"""
