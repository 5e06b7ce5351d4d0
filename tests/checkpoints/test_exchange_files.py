"""Outputs that are none of the embedding, files that come back, and what is no model."""

import json

import folders_of_models as models
import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.foreign import files
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.training import conversion

SETTINGS = {
    "tokenizer_config.json": '{"pad_token": "!", "chat_template": "{{ x }}", "model_max_length": 16}',
    "special_tokens_map.json": '{"pad_token": "!"}',
    "added_tokens.json": '{"!": 1}',
    "chat_template.jinja": "{% for m in messages %}\u00e9{{ m }}{% endfor %}\r\n",
    "chat_template.json": '{"chat_template": "{{ y }}"}',
    "additional_chat_templates/tools.jinja": "{{ tools }}",
    "generation_config.json": '{"eos_token_id": [0, 7], "temperature": 0.6, "do_sample": true}',
}


def folder_with_settings(path, kind="gpt2", **more):
    folder = models.write(path, kind, **more)
    for name, content in SETTINGS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode())
    return folder


def logits(folder):
    return exchange.read(folder).build()(np.array(models.IDS)).numpy()[:, -2:]


@pytest.mark.parametrize("name", models.OUTPUTS)
def test_an_output_that_is_none_of_the_embedding(name, tmp_path, capfd):
    """The golden numbers were made by folders_of_models.py; the run and what is written of it have
    the same.
    """
    kind, changed, config = models.OUTPUTS[name]
    golden = np.array(json.loads(models.GOLDEN.read_text())[name])
    folder = models.write(tmp_path / "model", kind, changed, config)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    said, lm = capfd.readouterr().err, lm_keras.load(tmp_path / "run")
    assert np.abs(lm.logits(models.IDS)[:, -2:] - golden).max() < 1e-4
    asked = config.get("tie_word_embeddings", True)
    both = "lm_head.weight" in changed and "model.embed_tokens.weight" not in changed
    differs = asked and (both or "cls.predictions.decoder.weight" in changed)
    assert ("differs from" in said and "--tie_embeddings=false" in said) == differs
    assert ("left out, since cls.predictions.decoder.bias is added in its place" in said) == (
        "cls.predictions.decoder.bias" in changed
    )
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    assert np.abs(logits(tmp_path / "back") - golden).max() < 1e-4
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert written.get("tie_word_embeddings", True) == (asked and not differs)
    # The control: without it the logits are others.
    plain = {name: value for name, value in changed.items() if value is None}
    if not plain and asked:
        assert np.abs(logits(models.write(tmp_path / "plain", kind, {}, config)) - golden).max() > 0.1


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_two_names_of_the_same_output_are_one(kind, tmp_path):
    """A matrix of other numbers in the last place is found, too."""
    whole = models.tensors(kind)
    name = {"gpt2": "transformer.wte.weight", "bert": "bert.embeddings.word_embeddings.weight"}[kind]
    other = {"gpt2": "lm_head.weight", "bert": "cls.predictions.decoder.weight"}[kind]
    imported = exchange.read(models.write(tmp_path / "same", kind, {other: whole[name]}))
    assert imported.settings["tie_embeddings"] and not imported.remarks_for(imported.config)
    nearly = whole[name].copy()
    nearly[-1, -1] += 1e-3
    imported = exchange.read(models.write(tmp_path / "nearly", kind, {other: nearly}))
    assert not imported.settings["tie_embeddings"] and len(imported.remarks_for(imported.config)) == 1


def test_an_output_that_is_missing_is_named(tmp_path):
    for kind, name in (("gpt2", "lm_head.weight"), ("bert", "cls.predictions.decoder.bias")):
        folder = models.write(tmp_path / kind, kind, config={"tie_word_embeddings": False})
        with pytest.raises(InputError, match=f"the tensor '{name}' is missing"):
            exchange.read(folder).build()


@pytest.mark.parametrize("kind", models.CONFIGS)
def test_tensors_that_nobody_reads_are_named(kind, tmp_path):
    layer = {
        "gpt2": "transformer.h.2.ln_1.weight", "bert": "bert.encoder.layer.2.output.dense.bias",
        "marian": "model.decoder.layers.2.fc1.bias",
    }  # fmt: skip
    prefix = models.PREFIXES[kind]
    wide = np.ones([models.V, models.D], np.float32)
    for number, name in enumerate(
        [
            layer.get(kind, "model.layers.2.input_layernorm.weight"), "lm_head.bias", "score.weight",
            f"{prefix}lm_head.weight" if kind != "bert" else "bert.cls.predictions.decoder.weight",
            f"{prefix}{prefix}x", "base_model.model.x.lora_A.weight",
        ]
    ):  # fmt: skip
        folder = models.write(tmp_path / str(number), kind, {name: wide})
        with pytest.raises(InputError, match=r"the tensor '.*' belongs to no such network"):
            exchange.read(folder).build()
    whole = models.tensors(kind)
    name = next(name for name in whole if name.startswith(prefix))
    folder = models.write(tmp_path / "twice", kind, {name.removeprefix(prefix): whole[name]})
    with pytest.raises(InputError, match="is there twice"):
        exchange.read(folder)


def test_settings_come_back(tmp_path, capfd):
    """From the folder to a run, from there to another by training, and back; each end token is known."""
    config = {
        "pad_token_id": 1,
        "resid_pdrop": 0.3,
        "eos_token_id": [0, 7],
        "torch_dtype": "bfloat16",
        "n_ctx": 16,
    }
    folder = folder_with_settings(tmp_path / "model", config=config)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    said = capfd.readouterr().err
    assert "here a text ends" not in said and RunFolder(tmp_path / "run").end_tokens() == [0, 7]
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    said = capfd.readouterr().err
    assert "the weights are written as float32; those that the run began with were bfloat16" in said
    for name, content in SETTINGS.items():
        assert (tmp_path / "back" / name).read_bytes() == content.encode(), name
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    original = json.loads((folder / "config.json").read_text())
    del original["torch_dtype"]
    assert written == {**original, "architectures": ["GPT2LMHeadModel"], "dtype": "float32"}
    # The second time nothing more changes.
    conversion.to_run(str(tmp_path / "back"), str(tmp_path / "second"))
    conversion.from_run(str(tmp_path / "second"), "last", str(tmp_path / "again"))
    for path in (tmp_path / "back").rglob("*"):
        if path.is_file():
            assert (
                tmp_path / "again" / path.relative_to(tmp_path / "back")
            ).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("through", ["model", "run"])
def test_settings_come_back_from_a_run_that_was_tuned(through, tiny_config, train, tmp_path):
    folder = folder_with_settings(tmp_path / "model", config={"resid_pdrop": 0.3})
    conversion.to_run(str(folder), str(tmp_path / "run"))
    settings = {**tiny_config().flat(), **exchange.read(folder).settings, "sequence_length": 7, "steps": 1}
    settings |= {"tokenizer": str(tmp_path / "run"), "dropout": 0.125, "jit": "off"}
    ended = train(from_flat({**settings, "init_from": str(tmp_path / through)}), tmp_path / "tuned")
    assert ended.code == 0, ended.err
    conversion.from_run(str(tmp_path / "tuned"), "last", str(tmp_path / "back"))
    for name, content in SETTINGS.items():
        assert (tmp_path / "back" / name).read_bytes() == content.encode(), name
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert written["resid_pdrop"] == written["attn_pdrop"] == 0.125 and written["n_positions"] == 16


def test_files_that_do_not_come_back_are_named(tmp_path):
    folder = models.write(tmp_path / "model", "gpt2")
    for name in ("README.md", "LICENSE", ".gitattributes", "pytorch_model.bin", "tokenizer.model"):
        (folder / name).touch()
    found = exchange.read(folder)
    assert found.remarks_for(found.config) == [
        "files that are neither read nor written back: pytorch_model.bin, tokenizer.model"
    ]
    for number in range(20):
        (folder / f"a{number:02}").touch()
    found = exchange.read(folder)
    (line,) = found.remarks_for(found.config)
    assert line.endswith("a06, a07 and 14 more")


def test_templates_of_which_none_is_called_default_are_named(tmp_path):
    folder = models.write(tmp_path / "model", "gpt2")

    def remarks(*names):
        templates = [{"name": name, "template": "{{ messages }}"} for name in names]
        (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
        found = exchange.read(folder)
        return found.remarks_for(found.config)

    (line,) = remarks("tool_use", "rag")
    assert line == "no chat template is taken: of tool_use, rag none is called default"
    assert remarks("tool_use", "default") == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", "{}", "has adapter_config.json: an adapter, which changes the weights of "
            "another model"),
        ("generation_config.json", "[", "generation_config.json is not JSON"),
        ("generation_config.json", "[]", "generation_config.json is not a JSON object"),
        ("special_tokens_map.json", "\udcff", "special_tokens_map.json is not JSON"),
        ("chat_template.jinja", "\udcff", "chat_template.jinja is not UTF-8; restore it from a copy"),
        ("chat_template.jinja", "x" * (2**20 + 1), "chat_template.jinja: more than 1,048,576 bytes"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(name, content, message, tmp_path):
    folder = models.write(tmp_path, "gpt2")
    (folder / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        exchange.read(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_only_known_files_are_written_into_the_new_folder(tmp_path):
    folder = tmp_path / "run" / "new"
    folder.mkdir(parents=True)
    bad = [
        "../evil.json",
        "/tmp/evil.json",
        "config.py",
        "additional_chat_templates/../../x.jinja",
        "x/chat_template.jinja",
    ]
    files.write_files(folder, dict.fromkeys(bad, "evil") | {"chat_template.jinja": "good"})
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["chat_template.jinja"]


def test_the_record_of_the_files_is_read_with_distrust(tmp_path):
    folder = folder_with_settings(tmp_path / "model")
    conversion.to_run(str(folder), str(tmp_path / "run"))
    record = tmp_path / "run" / "huggingface.json"
    whole = record.read_text()
    for content, message in (
        (whole.replace("0.6", "0.7"), "other content than was written"),
        (whole[:50], "cannot be read"),
        ('{"files": {"config.json": "["}}', "huggingface.json of the run holds no JSON"),
        ('{"files": {"config.json": 3}}', "has 3 for 'config.json'"),
        ("{}", "lacks 'files'"),
    ):
        record.write_text(content)
        with pytest.raises(InputError, match=message):
            conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
        assert not (tmp_path / "back").exists()
    record.unlink()  # As in a run of an older version.
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    assert RunFolder(tmp_path / "run").kept_files == {}
    # Which the tokenizer has, too.
    template = (tmp_path / "back" / "chat_template.jinja").read_bytes().decode()
    assert template == SETTINGS["chat_template.jinja"]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [("F8_E4M3", "numbers of type F8_E4M3, expected floats of 16 bits or more"), ("I8", "numbers of type I8"),
     ("BOOL", "numbers of type BOOL"), ("U8", "numbers of type U8")],
)  # fmt: skip
def test_numbers_that_are_no_floats_are_refused(dtype, message, tmp_path):
    """numpy writes no float8: the header is changed."""
    folder = models.write(
        tmp_path, "gpt2", {"transformer.wte.weight": np.ones([models.V, models.D], np.int8)}
    )
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(_with_dtype(content, dtype))
    with pytest.raises(InputError, match=message):
        exchange.read(folder).build()


def _with_dtype(content, dtype):
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["transformer.wte.weight"]["dtype"] = dtype
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def test_a_token_that_ends_a_text_here_only_is_told(tmp_path):
    folder = models.write(tmp_path, "gpt2")
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9, -1, 99999999999]}')
    found = exchange.read(folder)
    assert files.end_tokens(found.files) == [7, 9]
    assert found.remarks_for(found.config) == [
        "here a text ends at the token 0, too; the library ends it at 7 and 9 only"
    ]
