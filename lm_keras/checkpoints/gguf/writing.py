"""A network written as a GGUF file, which llama.cpp and programs with it inside run."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.export import tensors_of
from lm_keras.checkpoints.foreign import files as other_files
from lm_keras.checkpoints.gguf import package, tokens
from lm_keras.checkpoints.gguf.names import ARCHITECTURES, ROPE_FREQUENCIES, WRITTEN_AS, Architecture
from lm_keras.config import Config
from lm_keras.disk.files import writing_atomically
from lm_keras.errors import InputError
from lm_keras.rotary_scaling import parse
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.tokenizer import Tokenizer

FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}
"""`general.file_type` by `--gguf_type`."""

Q8_0_NUMBERS = 32
"""Numbers of a row that share a scale in q8_0."""

LARGEST_F16 = 65504


def write(
    path: Path,
    gguf_type: str,
    model: keras.Model,
    config: Config,
    tokenizer: Tokenizer,
    files: dict[str, str] | None = None,
) -> list[str]:
    """Write a network as a GGUF file.

    Args:
        path: it may not exist yet.
        gguf_type: of the numbers in matrices: `f32`, `f16`, or `q8_0`, 8 bits and a scale of 32 numbers.
        model: the network.
        config: the settings of its run.
        tokenizer: its tokenizer.
        files: those that the run kept of the folder that it began with.

    Returns:
        What a user should know of it, in lines.

    Raises:
        InputError: the file exists or cannot be written, or llama.cpp lacks such a network or tokenizer.
    """
    gguf, files = package.imported(), files or {}
    original = other_files.object_in(files.get(other_files.CONFIG, "{}"))
    model_type, kind = foreign.kind_for(config, original.get("model_type"))
    if model_type not in WRITTEN_AS:
        raise InputError(f"--to_gguf writes {', '.join(WRITTEN_AS)}, and this network is a {model_type}")
    if path.exists():
        raise InputError(f"{path} exists already; choose another file, or delete that one")
    name = WRITTEN_AS[model_type]
    vocabulary = tokens.vocabulary_of(tokenizer, model.vocab_size)
    lines = list(vocabulary.remarks)
    with writing_atomically(path) as file:
        # The package opens files by name.
        writer = gguf.GGUFWriter(os.fspath(file.name), name)
        _add_settings(writer, ARCHITECTURES[name], name, kind.config(config, model.vocab_size, tokenizer))
        _add_rotary(writer, config, name)
        writer.add_file_type(FILE_TYPES[gguf_type])
        if gguf_type == "q8_0":
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_tokenizer(writer, vocabulary, tokenizer, files)
        heads = {"q": config.model.num_heads, "k": config.model.kv_heads}
        short = [
            _add_tensor(writer, gguf, gguf_type, ARCHITECTURES[name], kind.short(full), value, heads)
            for full, value in tensors_of(model, kind, config).items()
        ]
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    if others := sum(short):
        lines.append(
            f"matrices in f16 instead of q8_0, because {Q8_0_NUMBERS} does not divide the length of their"
            f" rows: {others}"
        )
    return [f"{model_type} with {model.count_params():,} parameters, {gguf_type}, in {path}", *lines]


def _add_settings(writer: Any, architecture: Architecture, name: str, config: dict[str, Any]) -> None:
    for ours, theirs in architecture.keys.items():
        value = config.get(theirs)
        if ours.endswith("epsilon") or ours == "rope.freq_base":
            writer.add_float32(f"{name}.{ours}", float(value))
        elif value is not None:
            writer.add_uint32(f"{name}.{ours}", value)
    if "head_dim" in config:
        writer.add_value_length(config["head_dim"])
    if architecture.model_type != "gpt2":
        width = config["hidden_size"] // config["num_attention_heads"]
        writer.add_rope_dimension_count(config.get("head_dim", width))


def _add_rotary(writer: Any, config: Config, name: str) -> None:
    """Add the scaling of rotary positions."""
    model = config.model
    if model.rotary_scaling is None:
        return
    kind, settings = parse(model.rotary_scaling)
    if kind == "llama3":
        divisors = 1 / np.array(parse(model.rotary_scaling).multipliers(model.head_width, model.rotary_base))
        writer.add_tensor(ROPE_FREQUENCIES, divisors.astype(np.float32))
        return
    if "attention_factor" in settings:
        raise InputError(f"--rotary_scaling={model.rotary_scaling}: GGUF has no attention_factor of yarn's")
    writer.add_string(f"{name}.rope.scaling.type", kind)
    writer.add_float32(f"{name}.rope.scaling.factor", settings["factor"])
    if kind == "yarn":
        writer.add_uint32(
            f"{name}.rope.scaling.original_context_length", int(settings["original_context_length"])
        )
        for setting in ("beta_fast", "beta_slow"):
            if setting in settings:
                writer.add_float32(f"{name}.rope.scaling.yarn_{setting}", settings[setting])


def _add_tokenizer(
    writer: Any, vocabulary: tokens.TokenTable, tokenizer: Tokenizer, files: dict[str, str]
) -> None:
    beside = other_files.object_in(files.get(other_files.TOKENIZER_CONFIG, "{}"))
    begins = beside.get("add_bos_token")
    if not isinstance(begins, bool):
        puts_first = getattr(tokenizer, "first_name", None) is not None
        begins = puts_first or not isinstance(tokenizer, HuggingFaceTokenizer)
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.texts)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges is not None:
        writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(tokenizer.begin_id)
    writer.add_eos_token_id(tokenizer.eod_id)
    if tokens.UNKNOWN in vocabulary.types:
        writer.add_unk_token_id(vocabulary.types.index(tokens.UNKNOWN))
    writer.add_add_bos_token(begins)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if vocabulary.model == "t5":
        writer.add_remove_extra_whitespaces(False)
    if ends := other_files.all_ends(files, tokenizer):
        writer.add_eot_token_id(ends[0])
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def _add_tensor(
    writer: Any,
    gguf: Any,
    gguf_type: str,
    architecture: Architecture,
    name: str,
    value: np.ndarray,
    heads: dict[str, int],
) -> bool:
    """Add a weight; return whether it is a matrix that q8_0 cannot hold."""
    there = architecture.name_in_file(name)
    value = np.ascontiguousarray(architecture.to_file(name, value, heads), np.float32)
    if value.ndim < 2 or there == "position_embd.weight" or gguf_type == "f32":
        writer.add_tensor(there, value)
        return False
    short = gguf_type == "q8_0" and value.shape[-1] % Q8_0_NUMBERS != 0
    if gguf_type == "f16" or short:
        if np.abs(value).max() > LARGEST_F16:
            raise InputError(
                f"{there} has numbers beyond {LARGEST_F16}, which f16 cannot hold; take --gguf_type=f32"
            )
        writer.add_tensor(there, value.astype(np.float16))
        return short
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(there, gguf.quants.quantize(value, kind), raw_dtype=kind)
    return False
