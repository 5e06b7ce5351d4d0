"""A chat template, its special tokens and the end tokens, from a folder or a file to a run and back."""

import json

import chat_models
import folders_of_models as models
import numpy as np
import pytest
from opt_in import slow

import lm_keras
from lm_keras.answers.chat import Chat
from lm_keras.checkpoints import exchange, export
from lm_keras.checkpoints.gguf import reading, writing
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import CHATML, template_of
from lm_keras.data.conversations import with_template
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.text import train_tokenizer
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.training import conversion

TALK = [Message("user", "hello world"), Message("assistant", "the fox"), Message("user", "what is France")]
ENDS = {"llama3": ["<|end_of_text|>", "<|eot_id|>"], "qwen3": ["<|im_end|>", "<|endoftext|>"]}


def model_folder(path, name):
    """A network that looks random, with the tokenizer and the template of a style."""
    style = chat_models.STYLES[name]
    ids = {token["content"]: token["id"] for token in chat_models.tokenizer_of(style)["added_tokens"]}
    size = max(ids.values()) + 1
    rows = {key: models.numbers((size, models.D), n).astype(np.float32)
            for n, key in enumerate(("model.embed_tokens.weight", "lm_head.weight"))}  # fmt: skip
    config = {"vocab_size": size, "max_position_embeddings": 128}
    config |= {"eos_token_id": ids[style.end], "bos_token_id": None}
    folder = models.write(path, "llama", changed=rows, config=config)
    (folder / "tokenizer.json").unlink()
    chat_models.write_tokenizer(folder, name)
    ends = {"eos_token_id": [ids[end] for end in ENDS[name]]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return folder


def tokens_of(tokenizer):
    return template_of(tokenizer).encode(TALK, tokenizer, True).ids.tolist()


@pytest.mark.parametrize("name", ["llama3", *slow("qwen3")])
def test_from_a_folder_to_a_run_and_back_to_a_folder_and_a_file(name, tmp_path):
    folder = model_folder(tmp_path / "model", name)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm, run = lm_keras.load(tmp_path / "run"), RunFolder(tmp_path / "run")
    assert isinstance(lm.answer, Chat)
    card = (tmp_path / "run" / "README.md").read_text()
    assert "model converted with lm_keras" in card and "with `scripts/sample.py --chat`" in card
    assert " steps" not in card and "|" not in card
    ids = tokens_of(lm.tokenizer)
    ends = [lm.tokenizer.special_tokens[end] for end in ENDS[name]]
    assert run.end_tokens() == ends and lm.answer._ends == (ends[0], ends[1])
    answer = lm.chat(TALK, max_new_tokens=5, temperature=0)
    assert answer == "".join(lm.chat(TALK, stream=True, max_new_tokens=5, temperature=0))

    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    for file in ("chat_template.jinja", "generation_config.json", "tokenizer_config.json", "tokenizer.json"):
        assert (tmp_path / "back" / file).read_bytes() == (folder / file).read_bytes(), file
    assert tokens_of(exchange.read(tmp_path / "back").tokenizer) == ids

    conversion.gguf_from_run(str(tmp_path / "run"), "last", str(tmp_path / "m.gguf"), "f32")
    conversion.gguf_to_run(str(tmp_path / "m.gguf"), str(tmp_path / "again"))
    again = lm_keras.load(tmp_path / "again")
    assert again.tokenizer.chat_template == lm.tokenizer.chat_template
    assert tokens_of(again.tokenizer) == ids and set(again.answer._ends) == set(ends)
    assert again.chat(TALK, max_new_tokens=5, temperature=0) == answer


def test_chatml_and_its_tokens_go_out_with_a_model_that_had_none(tmp_path):
    folder = model_folder(tmp_path / "model", "llama3")
    (folder / "chat_template.jinja").unlink()
    (folder / "generation_config.json").unlink()
    imported = exchange.read(folder)
    tokenizer = with_template(imported.tokenizer)
    config = imported.config
    model = FAMILIES["gpt"](config, tokenizer.vocab_size)
    export.write(tmp_path / "out", model, config, tokenizer, imported.files)
    back = exchange.read(tmp_path / "out")
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == CHATML == back.tokenizer.chat_template
    end = tokenizer.special_tokens["<|im_end|>"]
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {
        "eos_token_id": [tokenizer.eod_id, end]
    }
    assert back.tokenizer.vocab_size == tokenizer.vocab_size
    assert tokens_of(back.tokenizer) == tokens_of(tokenizer)
    writing.write(tmp_path / "m.gguf", "f32", model, config, tokenizer, imported.files)
    read = reading.read(tmp_path / "m.gguf")
    assert tokens_of(read.tokenizer) == tokens_of(tokenizer)
    assert json.loads(read.files["generation_config.json"])["eos_token_id"] == [tokenizer.eod_id, end]


def test_tokens_that_only_the_network_has_keep_their_ids(tmp_path):
    """Of four tokens that the tokenizer does not name, between its own and those of the template."""
    content = json.dumps(chat_models.tokenizer_of(chat_models.STYLES["instruction"])).encode()
    plain = HuggingFaceTokenizer(content, HuggingFaceTokenizer.end_in(content))
    padded = with_template(HuggingFaceTokenizer(content, plain.eod_id, plain.vocab_size + 4))
    for name, written in padded.foreign_files.items():
        (tmp_path / name).write_bytes(written)
    back = HuggingFaceTokenizer((tmp_path / "tokenizer.json").read_bytes(), plain.eod_id)
    for name in ("<|im_start|>", "<|im_end|>"):
        assert back.special_tokens[name] == padded.special_tokens[name]


@pytest.mark.parametrize("kind", ["byte", "char", "word", "sentencepiece"])
def test_a_tokenizer_that_was_learnt_here_stays_here(kind, english, tmp_path):
    """The template and the end tokens go out to a folder without it; to a file only a sentencepiece model."""
    size = {"vocab_size": 300} if kind == "sentencepiece" else {}
    tokenizer = with_template(train_tokenizer(kind, [english, "user\nassistant\n"], **size))
    config = from_flat({"model": "gpt", "embedding_dim": 32, "sequence_length": 16})
    model = FAMILIES["gpt"](config, tokenizer.vocab_size)
    *_, line = export.write(tmp_path / "out", model, config, tokenizer)
    assert line.startswith(f"its {kind} tokenizer has no counterpart there and was not written")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"}
    file = tmp_path / "m.gguf"
    if kind == "sentencepiece":
        writing.write(file, "f32", model, config, tokenizer)
        assert tokens_of(reading.read(file).tokenizer) == tokens_of(tokenizer)
    else:
        with pytest.raises(InputError, match=f"its {kind} tokenizer has no counterpart in GGUF"):
            writing.write(file, "f32", model, config, tokenizer)
