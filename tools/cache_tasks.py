"""Tokenises the records of gsid_query_item once, through SeqIO and Beam, for training to read.

    python -m tools.cache_tasks --data_dir=RUN/data --vocabulary=RUN/vocab/sentencepiece.model \\
        [--step_dir=RUN/step_1/assignment] [--beam_runner=DirectRunner]

writes ``gsid_tokens`` beside the dataset: in the data directory for step 1, in the assignment
directory for the step after it. Training reads it with
``--gin.tasks.location.data_location.cached_tokens=True`` and gets the same batches. Pre-training
masks and cuts texts anew in every epoch, so its texts are tokenised as they are read.
"""

import argparse
import json
import pathlib
import sys
import time

from gsid_jax.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", required=True, help="the dataset")
    parser.add_argument("--vocabulary", required=True, help="SentencePiece model")
    parser.add_argument("--step_dir", default="", help="assignment directory of the step before")
    parser.add_argument("--extra_ids", type=int, default=16, help="ids added behind the model's own")
    parser.add_argument("--beam_runner", default="DirectRunner")
    parser.add_argument("--beam_options", default="", help="Beam's own options")
    args = parser.parse_args(argv)
    started = time.time()
    import tasks  # registers them  # pylint: disable=unused-import
    from tasks import directory_lock, location, token_cache
    directory = pathlib.Path(args.step_dir or args.data_dir)
    try:
        with location.use(data_dir=args.data_dir, vocabulary=args.vocabulary,
                          extra_ids=args.extra_ids, step_dir=args.step_dir):
            with directory_lock.locked(directory / token_cache.NAME):
                counts = token_cache.write(args.beam_runner, args.beam_options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{directory / token_cache.NAME}: {json.dumps(counts)} after "
          f"{time.time() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
