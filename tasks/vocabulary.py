"""The SentencePiece vocabulary of the tasks and the special tokens in its extra ids.

Special tokens are extra ids chosen by number, so that any model file will do. SeqIO and T5 count
them from the end: <extra_id_k> has id vocab_size - 1 - k.
"""

import contextlib

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import location

tf = quiet.tensorflow()
import sentencepiece  # pylint: disable=wrong-import-position
import seqio  # pylint: disable=wrong-import-position
from etils import epath  # pylint: disable=wrong-import-position

SPAN_MASKS = (0, 1, 2)  # hide the first, second and third span of a cloze
QUERY_GENERATION = 3  # task tokens: the first id of a pre-training input
ITEM_CLOZE = 4
SUFFIX_COMPLETION = 5
SEPARATOR = 6  # between the query and the prefix of a suffix completion
SPECIAL_TOKENS = 7


def extra_id(vocabulary: seqio.Vocabulary, k: int) -> int:
    """Returns the id of <extra_id_k>."""
    return vocabulary.vocab_size - 1 - k


def load(path: str, extra_ids: int) -> seqio.SentencePieceVocabulary:
    """Loads a SentencePiece model file with ``extra_ids`` ids added behind its own.

    Models whose last pieces are the extra ids themselves, as mT5's, are loaded with none.
    Raises UserError if the file is missing or unreadable, if its pad, eos or unk id are not those
    T5 uses (0, 1, 2), or if the extra ids do not suffice for the special tokens.
    """
    if extra_ids and extra_ids < SPECIAL_TOKENS:
        raise UserError(f"extra_ids is {extra_ids}; the tasks use {SPECIAL_TOKENS} special tokens: "
                        "raise tasks.location.data_location.extra_ids")
    if not epath.Path(path).exists():
        raise UserError(f"vocabulary file {path} does not exist; train one with tools/train_vocab, "
                        "or correct tasks.location.data_location.vocabulary")
    vocabulary = seqio.SentencePieceVocabulary(str(path), extra_ids=extra_ids)
    try:
        tokenizer = vocabulary.tokenizer
    except Exception as error:
        raise UserError(f"vocabulary file {path} is not a SentencePiece model ({error}); give a "
                        ".model file in tasks.location.data_location.vocabulary") from error
    found = (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id())
    if found != (0, 1, 2):
        raise UserError(f"vocabulary file {path} has (pad, eos, unk) ids {found}; expected "
                        "(0, 1, 2): train it with tools/train_vocab or with those ids")
    if not extra_ids and own_extra_ids(tokenizer) < SPECIAL_TOKENS:
        raise UserError(f"extra_ids is 0, but the last pieces of vocabulary file {path} are not "
                        f"<extra_id_{SPECIAL_TOKENS - 1}> to <extra_id_0>; the tasks use "
                        f"{SPECIAL_TOKENS} special tokens: raise "
                        "tasks.location.data_location.extra_ids")
    return vocabulary


def extra_ids_for(path: str, rows: int) -> int:
    """Ids to add behind a model file's pieces so that the last row of an embedding is their last.

    0 for a model that has the extra ids among its own pieces. Raises UserError if the file cannot
    be used, or the embedding has no rows for the special tokens.
    """
    tokenizer = sentencepiece.SentencePieceProcessor()
    with contextlib.suppress(OSError, RuntimeError), quiet.silenced_stderr():
        tokenizer.Load(str(path))
    pieces = tokenizer.get_piece_size()
    own = own_extra_ids(tokenizer) >= SPECIAL_TOKENS
    extra_ids = 0 if own else max(rows - pieces, SPECIAL_TOKENS)
    load(str(path), extra_ids)  # refuses what cannot be used
    if pieces + extra_ids > rows:
        raise UserError(f"vocabulary file {path} has {pieces} pieces, the embedding {rows} rows; "
                        f"expected at least {SPECIAL_TOKENS} rows more than pieces, for the special"
                        " tokens: give the vocabulary that the weights were trained with")
    return extra_ids


def own_extra_ids(tokenizer) -> int:
    """How many extra ids a SentencePiece model has among its own pieces, counted from its end."""
    size, k = tokenizer.get_piece_size(), 0
    while k < size and tokenizer.id_to_piece(size - 1 - k).lstrip("\u2581") == f"<extra_id_{k}>":
        k += 1
    return k


class LocatedVocabulary(seqio.Vocabulary):
    """The vocabulary of ``tasks.location.current()``, loaded when it is first used."""

    def __init__(self):
        super().__init__()
        self._loaded = {}

    def loaded(self) -> seqio.SentencePieceVocabulary:
        """Returns the SentencePieceVocabulary behind this one; UserError if none can be loaded."""
        key = (location.required("vocabulary", "vocabulary"), location.current().extra_ids)
        if key not in self._loaded:
            self._loaded[key] = load(*key)
        return self._loaded[key]

    def __getstate__(self):
        return {**self.__dict__, "_loaded": {}}  # gin copies arguments; models cannot be pickled

    @property
    def bos_id(self):
        return None

    @property
    def eos_id(self):
        return self.loaded().eos_id

    @property
    def unk_id(self):
        return self.loaded().unk_id

    @property
    def extra_ids(self):
        return location.current().extra_ids

    @property
    def vocab_size(self):
        return self.loaded().vocab_size

    @property
    def tokenizer(self):
        return self.loaded().tokenizer

    @property
    def tf_tokenizer(self):
        return self.loaded().tf_tokenizer

    @property
    def _base_vocab_size(self):
        return self.loaded().vocab_size  # SentencePieceVocabulary counts the extra ids in

    def _encode(self, s):
        return self.loaded().encode(s)

    def _decode(self, ids):
        return self.loaded().decode(ids)

    def _encode_tf(self, s):
        return self.loaded().encode_tf(s)

    def _decode_tf(self, ids):
        return self.loaded().decode_tf(ids)

    def __eq__(self, other):
        if isinstance(other, LocatedVocabulary):
            return True
        return self.loaded() == other

    def __hash__(self):
        return hash(LocatedVocabulary)

    def __str__(self):
        place = location.current()
        return f"LocatedVocabulary(file={place.vocabulary}, extra_ids={place.extra_ids})"


VOCABULARY = LocatedVocabulary()
