"""SeqIO tasks and mixtures of the package; importing it registers them.

| name | what |
|---|---|
| gsid_query_generation, gsid_item_cloze, gsid_suffix_completion | pre-training objectives |
| gsid_pretrain | the three mixed 1:1:1; gsid_pretrain_without_NAME: two of them |
| gsid_query_item | an item with several of its queries, and its prefix from step 2 on |
| gsid_items, gsid_queries | everything in order, for inference |
| gsid_tokens | the records of gsid_query_item, tokenised; for caching |
| gsid_code_accuracy | queries and their items in turns, for T5X's evaluator |

Where the data lies is bound later: see ``tasks.location``.
"""

from gsid_jax import quiet

quiet.tensorflow()
with quiet.silenced_stderr():
    import seqio as _seqio  # its imports print, too

from tasks import inference, loading, pretraining, query_item, token_cache

for _room in (pretraining, query_item, inference, token_cache):
    _room.register()
