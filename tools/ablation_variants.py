"""What the ablations change against the default, one setting at a time.

A variant is a list of gin bindings of the pipeline. Most are of the training; the last group only
changes the final stage, and its runs take everything else over from the default's.
"""

from collections.abc import Mapping, Sequence

DEFAULT = "default"
VARIANTS: Mapping[str, Sequence[str]] = {
    DEFAULT: (),
    # whole recipes
    "paper's literal recipe": (
        "Pipeline.recipe_gin='gin_configs/experiments/paper_literal.gin'",),
    "GenRet's recipe": ("Pipeline.recipe_gin='gin_configs/experiments/genret.gin'",),
    # pre-training (2.2.1)
    "without pre-training": ("Pipeline.pretrain_gin=''",),
    "pre-training without query generation": (
        "PRETRAIN_MIXTURE='gsid_pretrain_without_query_generation'",),
    "pre-training without item cloze": ("PRETRAIN_MIXTURE='gsid_pretrain_without_item_cloze'",),
    "pre-training without suffix completion": (
        "PRETRAIN_MIXTURE='gsid_pretrain_without_suffix_completion'",),
    # network (2.1)
    "pooled output": ("network.T5Config.pooled_output=8.0",),
    "pooled output, contrastive weight 4": (
        "network.T5Config.pooled_output=8.0", "GSIDModel.contrastive_weight=4.0"),
    # sampling (2.2.3)
    "one query an item": ("QUERIES_PER_ITEM=1",),
    "random batches": (  # a step's file is in the order of prefixes: shuffled whole
        "tasks.grouping.prefix_groups.enabled=False", "tasks.grouping.shuffling.block_records=100000"),
    # losses (2.2.2)
    "hard cross-entropy instead of KL": ("GSIDModel.alignment_direction='hard'",),
    "without alignment (M3)": ("GSIDModel.alignment_weight=0.0",),
    "without commitment (M4)": ("GSIDModel.commitment_weight=0.0",),
    "without commitment and distillation (M4 and M9)": (
        "GSIDModel.commitment_weight=0.0", "GSIDModel.distillation_weight=0.0"),
    "without balance (M6)": ("GSIDModel.balance='none'",),
    "balance weight 1 at every step": ("GSIDModel.balance_weight=1.0",),
    "without argmax cross-entropy (M7)": ("GSIDModel.argmax_ce_weight=0.0",),
    "without centring (M8)": ("CodebookConfig.centring=0.0",),
    "without distillation (M9)": ("GSIDModel.distillation_weight=0.0",),
    # codebooks (2.1)
    "raw dot product instead of cosine": (
        "CodebookConfig.lookup='dot'", "CodebookConfig.temperature=1.0"),
    "K = 64": ("CODEBOOK_SIZE=64", "Pipeline.soft_codes=64"),
    "K = 128": ("CODEBOOK_SIZE=128", "Pipeline.soft_codes=64"),
    "K = 256": ("CODEBOOK_SIZE=256", "Pipeline.soft_codes=64"),
    "T = 3": ("NUM_LEVELS=3",),
    "T = 4": ("NUM_LEVELS=4",),
    # the final stage (M10)
    "leaf marginals (M10 b)": ("LOOKUP='marginals'",),
    "query-aware IDs and leaf marginals (M10 a and b)": (
        "ASSIGNMENT='query_aware'", "LOOKUP='marginals'"),
    "new tree with short fit (M10 c)": (
        "ASSIGNMENT='retree'", "LOOKUP='marginals'"),
}
