"""GPT-2's two files of a tokenizer: vocab.json and merges.txt."""

import json

import tokenizers

from lm_keras.errors import InputError
from lm_keras.text import library
from lm_keras.text.huggingface import END_NAMES, HuggingFaceTokenizer


def of_two_files(
    vocab: bytes,
    merges: bytes,
    eod_id: int | None,
    vocab_size: int | None = None,
    end: str | None = None,
    prefix: bool = False,
) -> HuggingFaceTokenizer:
    """Make a tokenizer of GPT-2's two files.

    Args:
        vocab: the content of `vocab.json`.
        merges: the content of `merges.txt`.
        eod_id: the token that ends a document; None where a name tells it.
        vocab_size: number of ids, if the network has more.
        end: the name of that token; None for the first one there is of the usual names.
        prefix: whether a text begins with a blank that is not in it.

    Raises:
        InputError: they are damaged, or nothing tells which token ends a document.
    """
    try:
        ids = json.loads(vocab)
        lines = merges.decode("utf-8").split("\n")
        pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
        model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=pairs))
    except BaseException as error:  # The library's own panics are not Exceptions.
        raise library.refused(error, "vocab.json and merges.txt are damaged or no byte-level BPE: ") from None
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    model.decoder = tokenizers.decoders.ByteLevel()
    if any(name.endswith("</w>") for name in ids):
        raise InputError(
            "vocab.json has tokens that end words with '</w>', as those of CLIP and the first GPT, and is"
            " not a byte-level BPE; save the tokenizer with its tokenizer.json"
        )
    ends = [name for name in dict.fromkeys((end, *END_NAMES)) if name in ids]
    model.add_special_tokens(ends)
    if eod_id is None and not ends:
        raise InputError(
            f"vocab.json has none of {', '.join(END_NAMES)}; write eos_token_id into config.json"
        )
    return HuggingFaceTokenizer(
        model.to_str().encode(), ids[ends[0]] if eod_id is None else eod_id, vocab_size
    )
