import numpy as np
import pytest

from lm_keras.errors import InputError
from lm_keras.text import ByteTokenizer, train_tokenizer


def test_ids_are_bytes_after_the_end_of_document():
    tokenizer = ByteTokenizer("none")
    assert (tokenizer.vocab_size, tokenizer.unknown_id, tokenizer.lossless) == (257, None, True)
    assert tokenizer.encode("aä\n") == [98, 196, 165, 11]
    assert tokenizer.decode([98, 196, 165, 11]) == "aä\n"
    assert [tokenizer.label(i) for i in (0, 11, 33, 98, 196)] == ["<eod>", "\\n", "␣", "a", "<0xC3>"]


def test_no_text_is_needed():
    def texts():
        raise AssertionError("the corpus was read")
        yield

    tokenizer = train_tokenizer("byte", texts(), vocab_size=None, normalization="nfc")
    assert tokenizer.encode("e\u0301") == [0xC3 + 1, 0xA9 + 1]
    assert train_tokenizer("byte", texts(), vocab_size=257, normalization="none").vocab_size == 257
    with pytest.raises(InputError) as caught:
        train_tokenizer("byte", texts(), vocab_size=256, normalization="none")
    assert (
        str(caught.value)
        == "vocab_size is 256, but the byte tokenizer always has 257 tokens (<eod> and the bytes); leave"
        " vocab_size out"
    )


def test_half_characters():
    tokenizer = ByteTokenizer("none")
    ids = tokenizer.encode("月👍")
    assert tokenizer.decode(ids[:-1]) == "月\ufffd"
    decoder = tokenizer.decoder()
    assert [decoder.push([token]) for token in ids] == ["", "", "月", "", "", "", "👍"]
    assert decoder.push(ids[:2]) == ""
    assert decoder.finish() == "\ufffd"


def test_arrays_generators_and_end_of_document():
    tokenizer = ByteTokenizer("none")
    ids = tokenizer.encode_array("ab\n")
    for given in (ids, iter(ids), ids.astype(np.uint16), [0, *ids, 0]):
        assert tokenizer.decode(given) == "ab\n"
    assert tokenizer.decode([]) == ""
