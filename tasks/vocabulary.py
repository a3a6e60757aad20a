"""The SentencePiece vocabulary of the tasks and the special tokens in its extra ids.

Special tokens are extra ids chosen by number, so that any model file will do. SeqIO and T5 count
them from the end: <extra_id_k> has id vocab_size - 1 - k.
"""

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import location

tf = quiet.tensorflow()
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

    Raises UserError if the file is missing or unreadable, if its pad, eos or unk id are not those
    T5 uses (0, 1, 2), or if the extra ids do not suffice for the special tokens.
    """
    if extra_ids < SPECIAL_TOKENS:
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
    return vocabulary


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
