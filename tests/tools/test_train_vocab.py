"""The vocabulary: T5's special ids, determinism, and no look at held-out queries."""

import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from gsid_jax.errors import UserError
from tools import train_vocab as tool

TEXTS = [f"{brand} {thing} {number}" for number in range(20)
         for brand in ("apple", "sony", "canon", "jvc", "zanussi quick", "microsoft xbox")
         for thing in ("phone", "camera", "brick", "dishwasher", "lawn mower", "table lamp")]
SIZE = 50


@pytest.fixture
def data_dir(tmp_path):
    """A dataset as far as the vocabulary reads it."""
    directory = tmp_path / "data"
    directory.mkdir()
    pq.write_table(pa.table({"text": TEXTS}), directory / "items.parquet")
    pq.write_table(pa.table({"query": ["red phone", "quizzical zymurgy", "blue brick"],
                             "split": ["train", "test", "train"]}), directory / "queries.parquet")
    (directory / "dataset.json").write_text('{"fingerprint": "f1"}')
    return directory


def other_model(**ids) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=SIZE, hard_vocab_limit=False,
        minloglevel=2, **ids)
    return model.getvalue()


def test_a_trained_vocabulary_has_the_ids_of_t5(data_dir, tmp_path):
    record = tool.train_vocab(data_dir, tmp_path / "vocab", vocab_size=SIZE)
    model = tmp_path / "vocab" / "sentencepiece.model"
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert (tokenizer.pad_id(), tokenizer.eos_id(), tokenizer.unk_id(), tokenizer.bos_id()) == (
        0, 1, 2, -1)
    assert record["size"] == tokenizer.get_piece_size() == SIZE
    assert record["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert json.loads((tmp_path / "vocab" / "vocab.json").read_text()) == record
    assert tokenizer.decode(tokenizer.encode("red sony phone 12")) == "red sony phone 12"


def test_held_out_queries_are_not_read(data_dir, tmp_path):
    assert list(tool._sample(data_dir, 10**6, seed=0)) == [*TEXTS, "red phone", "blue brick"]
    sample = list(tool._sample(data_dir, 30, seed=0))
    assert len(sample) == 30 and "quizzical zymurgy" not in sample
    assert sample == list(tool._sample(data_dir, 30, seed=0))
    assert sample != list(tool._sample(data_dir, 30, seed=1))
    assert sample == [text for text in dict.fromkeys([*TEXTS, "red phone", "blue brick"])
                      if text in sample]


def test_the_same_data_gives_the_same_bytes_and_is_trained_once(data_dir, tmp_path, monkeypatch):
    record = tool.train_vocab(data_dir, tmp_path / "a", vocab_size=SIZE)
    assert tool.train_vocab(data_dir, tmp_path / "b", vocab_size=SIZE) == record
    monkeypatch.setattr(tool, "_train", lambda *_: pytest.fail("trained again"))
    assert tool.train_vocab(data_dir, tmp_path / "a", vocab_size=SIZE) == record
    with pytest.raises(UserError, match="made differently: asked_size was 50 and is now 65; "
                       "expected the same: choose another --output"):
        tool.train_vocab(data_dir, tmp_path / "a", vocab_size=65)
    (tmp_path / "a" / "sentencepiece.model").write_bytes(b"other")
    with pytest.raises(UserError, match="sentencepiece.model does not match"):
        tool.train_vocab(data_dir, tmp_path / "a", vocab_size=SIZE)


def test_sizes_the_data_cannot_fill_or_hold(data_dir, tmp_path, capfd):
    record = tool.train_vocab(data_dir, tmp_path / "large", vocab_size=5000)
    assert SIZE < record["size"] < 500
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err == (f"vocabulary of {record['size']} pieces: the data holds no more, although"
                          " --vocab_size=5000 was asked for (722 texts)\n")
    with pytest.raises(UserError, match=r"bad vocab_size: got 32, expected at least \d+ for the "
                       "distinct characters of 722 texts: raise --vocab_size"):
        tool.train_vocab(data_dir, tmp_path / "small", vocab_size=32)
    with pytest.raises(UserError, match="bad argument: got vocab_size=3"):
        tool.train_vocab(data_dir, tmp_path / "small", vocab_size=3)
    with pytest.raises(UserError, match="dataset.json is missing; expected a finished dataset"):
        tool.train_vocab(tmp_path, tmp_path / "small")


def test_a_given_model_is_checked_and_copied(tmp_path):
    file = tmp_path / "given.model"
    file.write_bytes(other_model(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    record = tool.use_vocab(file, tmp_path / "vocab")
    assert (tmp_path / "vocab" / "sentencepiece.model").read_bytes() == file.read_bytes()
    assert record["source"]["kind"] == "given" and record["source"]["file"] == "given.model"
    assert tool.use_vocab(file, tmp_path / "vocab") == record
    file.write_bytes(other_model())
    with pytest.raises(UserError, match=r"has special ids {'pad': -1, 'eos': 2, 'unk': 0}; expected"
                       r" {'pad': 0, 'eos': 1, 'unk': 2}"):
        tool.use_vocab(file, tmp_path / "vocab")
    file.write_bytes(b"no model")
    with pytest.raises(UserError, match="given.model is not a SentencePiece model"):
        tool.use_vocab(file, tmp_path / "vocab")
    with pytest.raises(UserError, match="none.model does not exist"):
        tool.use_vocab(tmp_path / "none.model", tmp_path / "vocab")


def test_the_command_trains_or_takes_over(data_dir, tmp_path, capsys):
    assert tool.main([f"--data_dir={data_dir}", f"--output={tmp_path / 'a'}",
                      f"--vocab_size={SIZE}"]) == 0
    assert "sentencepiece.model: 50 pieces, sha256" in capsys.readouterr().out
    assert tool.main([f"--model={tmp_path / 'a' / 'sentencepiece.model'}",
                      f"--output={tmp_path / 'b'}"]) == 0
    assert tool.main([f"--model={tmp_path}/none", f"--output={tmp_path / 'b'}"]) == 1
    assert capsys.readouterr().err.startswith("error: vocabulary file")
