"""A GGUF file read as the Hugging Face folder of the same model would be. Nothing there is run."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.exchange import Imported
from lm_keras.checkpoints.foreign import files as other_files
from lm_keras.checkpoints.foreign.keys import read_values, shown
from lm_keras.checkpoints.foreign.tensors import FoundOutput
from lm_keras.checkpoints.gguf import package, tokens
from lm_keras.checkpoints.gguf.content import Content, architecture_of, open_file
from lm_keras.checkpoints.gguf.names import ROPE_FREQUENCIES, Architecture
from lm_keras.checkpoints.gguf.settings import config_of
from lm_keras.errors import InputError
from lm_keras.text.chat_files import template_named
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import size_in
from lm_keras.text.sentencepiece_model import SentencePieceModel

FLOATS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q6_K")
"""Types of numbers that are read, as float32."""


class Weight(NamedTuple):
    """A weight of a file; it does what a `lm_keras.checkpoints.foreign.tensors.Tensor` does.

    Attributes:
        path: of the file.
        tensor: as the package has it.
        name: in a folder.
        architecture: of the file.
        heads: of `q` and `k`.
    """

    path: Path
    tensor: Any
    name: str
    architecture: Architecture
    heads: dict[str, int]

    def read(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the numbers as float32, as a folder has them.

        Raises:
            InputError: it has another shape, a type that is not read here, or numbers that are not finite.
        """
        expected = shape[::-1] if self.architecture.transposed.fullmatch(self.name) else shape
        there = self.tensor.shape.tolist()[::-1]
        if there != list(expected):
            raise self._wrong(f"the shape {there}, expected {list(expected)}")
        kind = self.tensor.tensor_type
        if kind.name not in FLOATS:
            raise self._wrong(f"numbers of type {kind.name}, expected one of {', '.join(FLOATS)}")
        value = package.imported().quants.dequantize(self.tensor.data, kind).reshape(expected)
        if not np.isfinite(value).all():
            raise self._wrong("numbers that are not finite")
        return self.architecture.to_folder(self.name, value, self.heads)

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.path}: the tensor {self.tensor.name!r} has {what}")


@dataclasses.dataclass(frozen=True)
class ImportedFile(Imported):
    """A model of a GGUF file; its path is the file.

    Attributes:
        content: of the file.
    """

    content: Content | None = None

    @property
    def most_weights(self) -> int:
        """Return how many numbers the file has."""
        return sum(int(tensor.n_elements) for tensor in self.content.tensors.values())

    @contextlib.contextmanager
    def tensors(self) -> Iterator[dict[str, Weight]]:
        """Yield the weights by their names in a folder, without prefix."""
        architecture, model = architecture_of(self.content), self.config.model
        heads, found = {"q": model.num_heads, "k": model.kv_heads}, {}
        for name, tensor in self.content.tensors.items():
            if name != ROPE_FREQUENCIES:
                theirs = architecture.name_there(name)
                found[theirs] = Weight(self.path, tensor, theirs, architecture, heads)
        yield found

    def files_left_out(self) -> list[str]:
        """Return nothing: a file has no others."""
        return []


def read(path: Path) -> ImportedFile:
    """Read what a file holds, but for the weights.

    Raises:
        InputError: the file cannot be read or is damaged, or the model is one that does not exist here.
    """
    content = open_file(path)
    architecture = architecture_of(content)
    kind = foreign.KINDS[architecture.model_type]
    config = config_of(content, architecture)
    try:
        vocab_size = size_in(config)
        settings = kind.settings(read_values(config, kind.keys))
    except InputError as error:
        raise InputError(f"{path}: {str(error).replace('config.json has', 'it has')}") from None
    tokenizer, own = _tokenizer(content, vocab_size)
    config |= {"bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.eod_id}
    files = {other_files.CONFIG: config, other_files.TOKENIZER_CONFIG: own}
    turn_end = content.setting("tokenizer.ggml.eot_token_id", (int,))
    if turn_end is not None and turn_end != tokenizer.eod_id:
        files[other_files.GENERATION_CONFIG] = {"eos_token_id": [tokenizer.eod_id, turn_end]}
    texts = {name: json.dumps(value, indent=1, ensure_ascii=False) + "\n" for name, value in files.items()}
    output = FoundOutput(settings["tie_embeddings"], {})
    return ImportedFile(path, settings, tokenizer, kind, vocab_size, output, texts, content=content)


def _tokenizer(
    content: Content, vocab_size: int
) -> tuple[HuggingFaceTokenizer | SentencePieceModel, dict[str, Any]]:
    """Return the tokenizer, and the tokenizer_config.json of the same model.

    Raises:
        InputError: it is of another kind, or damaged.
    """
    of = "tokenizer.ggml."
    model = content.setting(f"{of}model", (str,))
    if model not in ("gpt2", "llama"):
        raise InputError(
            f"{content.path} has a tokenizer of the kind {shown(model)}; known are gpt2 and llama"
        )
    texts = content.items(f"{of}tokens", str) or []
    types = content.items(f"{of}token_type", int) or [tokens.NORMAL] * len(texts)
    scores, merges = content.items(f"{of}scores", float), content.items(f"{of}merges", str)
    if not texts or len(texts) > vocab_size:
        raise InputError(f"{content.path} has {len(texts):,} tokens, and a network for {vocab_size:,}")
    for name, found in (("token_type", types), ("scores", scores)):
        if found is not None and len(found) != len(texts):
            raise InputError(f"{content.path} has {len(texts):,} tokens, and {len(found):,} of '{of}{name}'")
    eod_id, begin_id = (content.setting(f"{of}{name}_token_id", (int,)) for name in ("eos", "bos"))
    for number in (eod_id, begin_id):
        if number is not None and not 0 <= number < len(texts):
            raise InputError(f"{content.path} has {number} for the token that begins or ends a text")
    if eod_id is None:
        raise InputError(f"{content.path} has no '{of}eos_token_id': nothing tells which token ends a text")
    prefix = content.setting(f"{of}add_space_prefix", (bool,), model == "llama")
    pre = content.setting(f"{of}pre", (str,), "default")
    # What llama.cpp does where a file does not say it.
    begins = content.setting(f"{of}add_bos_token", (bool,), model == "llama" or pre == "llama-bpe")
    vocabulary = tokens.TokenTable(model, pre, texts, types, scores, merges, prefix)
    own = {"add_bos_token": begins, "eos_token": texts[eod_id]}
    if begin_id is not None:
        own["bos_token"] = texts[begin_id]
    template = content.setting("tokenizer.chat_template", (str,))
    if template is not None:
        own["chat_template"] = template
    try:
        if model == "gpt2":
            tokenizer = tokens.byte_level(vocabulary, eod_id, vocab_size)
            own["tokenizer_class"] = "PreTrainedTokenizerFast"
        else:
            tokenizer = tokens.sentencepiece(vocabulary, eod_id, begin_id, vocab_size)
            own["tokenizer_class"] = "LlamaTokenizer"
    except InputError as error:
        raise InputError(f"{content.path}: {error}") from None
    tokenizer = tokenizer.beginning_with(begin_id) if begins else tokenizer
    return tokenizer.with_chat_template(*template_named(own)), own
