import importlib.util
import json
import os
import struct

import folders_of_models as models
import ml_dtypes
import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints import exchange, export
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.training import conversion

KINDS = ["gpt2", "llama", "mistral", "qwen2", "qwen3"]
needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")),
    reason="transformers and torch are not installed",
)


GOLDEN = json.loads(models.GOLDEN.read_text())


def logits(folder):
    model = exchange.read(folder).build()
    return model(np.array(models.IDS)).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_that_transformers_computed(kind, tmp_path):
    """The golden numbers were made by folders_of_models.py."""
    golden = np.array(GOLDEN[kind])
    found = logits(models.write(tmp_path / "model", kind))
    assert np.abs(found[:, -2:] - golden).max() < 1e-4 < np.abs(golden).max() / 1e3
    # The control: another weight gives other logits, those that the others do not have, too.
    name = next(
        name
        for name in models.tensors(kind)
        if name.endswith("1.mlp.c_fc.weight" if kind == "gpt2" else "1.mlp.up_proj.weight")
    )
    own = [
        name for name in models.tensors(kind) if name.endswith(("1.self_attn.q_norm.weight", "k_proj.bias"))
    ]
    assert len(own) == {"qwen2": 2, "qwen3": 1}.get(kind, 0)
    for other in (name, *own):
        changed = {other: models.tensors(kind)[other] * 1.01}
        assert np.abs(logits(models.write(tmp_path / other, kind, changed))[:, -2:] - golden).max() > 1e-4


@pytest.mark.parametrize("name", models.SCALED)
def test_scaled_rotary_positions_are_those_of_transformers(name, tmp_path):
    """The golden numbers were made by folders_of_models.py; and out again."""
    kind, _, config = models.SCALED[name]
    folder, golden = models.write(tmp_path / "model", kind, config=config), np.array(GOLDEN[name])
    assert np.abs(logits(folder)[:, -2:] - golden).max() < 1e-4
    assert np.abs(golden - np.array(GOLDEN[kind])).max() > 1e-3  # Without it they would be others.
    conversion.to_run(str(folder), str(tmp_path / "run"))
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    written = [json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "back")]
    assert written[0]["rope_parameters"] == written[1]["rope_parameters"]
    np.testing.assert_array_equal(logits(tmp_path / "back"), logits(folder))


@needs_transformers
@pytest.mark.parametrize("name", models.SCALED)
def test_scaled_rotary_positions_without_an_original_folder(name, tmp_path):
    """What a run of our own settings is written as."""
    kind, _, config = models.SCALED[name]
    imported = exchange.read(models.write(tmp_path / "model", kind, config=config))
    model = imported.build()
    export.write(tmp_path / "made", model, imported.config, imported.tokenizer)
    ids = np.random.default_rng(5).integers(0, models.V, [2, 16])
    assert np.abs(models.theirs(tmp_path / "made", ids) - model(ids)).max() < 1e-4


@needs_transformers
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_equal_those_of_transformers(kind, seed, tmp_path):
    random = np.random.default_rng(seed)
    changed = {
        name: (value + random.normal(0, 0.3, value.shape)).astype(np.float32)
        for name, value in models.tensors(kind).items()
    }
    folder = models.write(tmp_path / "model", kind, changed)
    ids = random.integers(0, models.V, [3, models.PLACES])
    found = exchange.read(folder).build()(ids).numpy()
    assert np.abs(found - models.theirs(folder, ids)).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_names_without_prefix_buffers_parts_and_other_floats(kind, tmp_path):
    whole, prefix = models.tensors(kind), {"gpt2": "transformer."}.get(kind, "model.")
    expected = logits(models.write(tmp_path / "whole", kind))
    buffers = {
        "gpt2": {
            "h.0.attn.bias": np.ones([1, 1, 9, 9], np.float32),
            "h.1.attn.masked_bias": np.array(-1e4, np.float32),
        },
    }.get(kind, {"layers.1.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)})
    bare = models.write(tmp_path / "bare", kind)
    stripped = {name.removeprefix(prefix): value for name, value in whole.items()}
    models.safetensors.numpy.save_file({**stripped, **buffers}, bare / "model.safetensors")
    np.testing.assert_array_equal(logits(bare), expected)
    # Two files and an index, as large models have them.
    names = list(whole)
    for number in (0, 1):
        part = {name: whole[name] for name in names[number::2]}
        models.safetensors.numpy.save_file(part, bare / f"model-{number}.safetensors")
    (bare / "model.safetensors").unlink()
    index = {"weight_map": {name: f"model-{n % 2}.safetensors" for n, name in enumerate(names)}}
    (bare / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(logits(bare), expected)
    short = {name: value.astype(ml_dtypes.bfloat16) for name, value in whole.items()}
    assert 0 < np.abs(logits(models.write(tmp_path / "short", kind, short)) - expected).max() < 0.5
    if kind == "gpt2":  # The output is the embedding; a second name of it changes nothing.
        tied = {"lm_head.weight": whole["transformer.wte.weight"]}
        np.testing.assert_array_equal(logits(models.write(tmp_path / "tied", kind, tied)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_it_and_back(kind, tmp_path, capfd):
    folder = models.write(tmp_path / "model", kind)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    np.testing.assert_allclose(lm.logits(models.IDS), logits(folder), atol=1e-5)
    assert lm.tokenizer.name == "huggingface" and lm.step == 0
    if kind in ("gpt2", "llama"):  # With places that were learnt, and rotary ones.
        text = lm.generate(["ABC"], max_new_tokens=40, temperature=0.7)[0]  # Beyond the 16 places.
        assert text == lm.generate(["ABC"], max_new_tokens=40, temperature=0.7)[0]
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    again = models.tensors(kind)
    with models.safetensors.safe_open(tmp_path / "back" / "model.safetensors", framework="np") as file:
        assert sorted(file.keys()) == sorted(again)
        for name, value in again.items():
            np.testing.assert_array_equal(file.get_tensor(name), value)
    np.testing.assert_array_equal(logits(tmp_path / "back"), logits(folder))
    with pytest.raises(InputError, match="back exists already; choose another folder"):
        conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    with pytest.raises(InputError, match="holds a run already; choose another folder"):
        conversion.to_run(str(folder), str(tmp_path / "run"))


def test_a_text_begins_as_its_config_says(tmp_path):
    """LLaMA's documents begin with another token than ends them; it is read, never said, and written back."""
    folder = models.write(tmp_path / "model", "llama", config={"bos_token_id": 5})
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    ids = lm.tokenizer.encode("ABC")
    for begin, same in ((5, True), (0, False)):
        scores = lm.logits([[begin, *ids]])[0].astype(np.float64)
        scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
        nats = -scores[range(3), ids].sum()
        assert (abs(lm.score(["ABC"])[0]["nats"] - nats) < 1e-4) == same
        (row,) = lm.sample(["ABC"], max_new_tokens=1, temperature=0)
        assert (abs(row.log_probabilities[0] - scores[3, row.token_ids[0]]) < 1e-4) == same
    with pytest.raises(InputError, match="the token 5, which stands for no text and is never chosen"):
        lm.sample(["A"], max_new_tokens=1, temperature=0, logit_bias={5: 500.0})
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    config, beside = (
        json.loads((tmp_path / "back" / name).read_text())
        for name in ("config.json", "tokenizer_config.json")
    )
    assert (config["bos_token_id"], config["eos_token_id"]) == (5, 0)
    assert (beside["bos_token"], beside["eos_token"]) == (lm.tokenizer.begin_name, "<|endoftext|>")
    assert exchange.read(tmp_path / "back").tokenizer.begin_id == 5


@needs_transformers
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_what_is_written(kind, tmp_path):
    import transformers

    settings = {
        "model": "gpt",
        "num_layers": 2,
        "embedding_dim": 24,
        "num_heads": 4,
        "sequence_length": 16,
        "biases": False,
    }
    if kind != "gpt2":
        settings |= {
            "positions": "rotary",
            "norm": "rms",
            "activation": "swiglu",
            "num_kv_heads": 2,
            "tie_embeddings": True,
        }
    settings |= {
        "mistral": {"num_heads": 5, "num_kv_heads": 1, "head_dim": 8},  # No LLaMA: 5 do not divide 24.
        "qwen2": {"qkv_biases": True, "head_dim": 10},
        "qwen3": {"qk_norm": True},
    }.get(kind, {})
    config = from_flat(settings)
    model = FAMILIES["gpt"](config, models.V)
    random = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    tokenizer = exchange.read(models.write(tmp_path / "model", "gpt2")).tokenizer
    export.write(tmp_path / "made", model, config, tokenizer)
    ids = random.integers(0, models.V, [2, 16])
    assert np.abs(models.theirs(tmp_path / "made", ids) - model(ids)).max() < 1e-4
    assert json.loads((tmp_path / "made" / "config.json").read_text())["model_type"] == kind
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    assert read("AZ!?").input_ids == tokenizer.encode("AZ!?")


NAMES = dict.fromkeys(KINDS, "model.layers.1.self_attn.k_proj.weight") | {
    "gpt2": "transformer.h.1.attn.c_attn.weight"
}
NAN = np.full([24, 72], np.nan, np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_that_does_not_belong_is_named(kind, tmp_path):
    name = NAMES[kind]
    short, value = name.split(".", 1)[1], models.tensors(kind)[name]
    for number, (changed, message) in enumerate(
        [
            ({name: None}, f"the tensor {short!r} is missing"),
            ({"model.x.weight": value}, "belongs to no such network"),
            (
                {name: value[:, :-1].copy()},
                (
                    f"the tensor {name!r} has the shape {list(value[:, :-1].shape)}, expected"
                    f" {list(value.shape)}"
                ),
            ),
            (
                {name: np.ones(value.shape, np.int32)},
                f"the tensor {name!r} has numbers of type I32, expected floats",
            ),
            (
                {name: np.full(value.shape, np.nan, np.float32)},
                f"the tensor {name!r} has numbers that are not finite",
            ),
        ]
    ):
        folder = models.write(tmp_path / str(number), kind, changed)
        with pytest.raises(InputError) as caught:
            exchange.read(folder).build()
        assert message in str(caught.value) and "\n" not in str(caught.value)


def damaged(path, content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:5],
        lambda content: content[: len(content) // 2],
        lambda content: struct.pack("<Q", 2**60) + content[8:],
        lambda content: struct.pack("<Q", 50) + b"[" * 50 + content[58:],
        lambda content: b"",
        lambda content: content + b"x",
    ],
)
def test_a_damaged_file_is_refused_in_one_line(damage, tmp_path):
    folder = models.write(tmp_path, "gpt2")
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        exchange.read(folder).build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (
            "gpt2",
            {"model_type": "bloom"},
            "config.json has model_type 'bloom'; known are gpt2, llama, mistral, qwen2, ",
        ),
        ("gpt2", {"n_layer": "two"}, "config.json has 'two' for 'n_layer'"),
        ("gpt2", {"n_layer": 10**9}, "--num_layers=1000000000 is out of range"),
        ("gpt2", {"n_embd": 2**31 - 4}, "asks for"),
        ("gpt2", {"n_head": 5}, "--num_heads=5 do not divide --embedding_dim=24"),
        (
            "gpt2",
            {"activation_function": "relu"},
            "config.json has 'relu' for 'activation_function', which is not supported",
        ),
        ("gpt2", {"vocab_size": -1}, "config.json has -1 for 'vocab_size'"),
        ("gpt2", {"vocab_size": 59}, "the tokenizer has 60 tokens, and the network only 59"),
        ("gpt2", {"eos_token_id": 77}, "config.json has 77 for 'eos_token_id', and 60 tokens"),
        ("llama", {"rope_scaling": {"factor": 8}}, "config.json has {'factor': 8} for 'rope_scaling'"),
        ("llama", {"head_dim": 10}, "has the shape [24, 24], expected [40, 24]"),
        ("qwen3", {"head_dim": 9}, "a head has 9 of them (--head_dim); make that even"),
        ("mistral", {"sliding_window": 15}, "config.json has 15 for 'sliding_window' (4096 where"),
        ("qwen2", {"use_sliding_window": True}, "config.json has True for 'use_sliding_window'"),
        ("qwen3", {"attention_bias": True}, "config.json has True for 'attention_bias'"),
        ("llama", {"attention_bias": True}, "config.json has True for 'attention_bias'"),
        ("llama", {"num_key_value_heads": 3}, "--num_kv_heads=3 do not divide --num_heads=4"),
    ],
    ids=str,
)
def test_a_network_that_does_not_exist_here_is_refused(kind, config, message, tmp_path):
    folder = models.write(tmp_path, kind, config=config)
    with pytest.raises(InputError) as caught:
        exchange.read(folder).build()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_missing_or_outside_of_the_folder(tmp_path):
    folder = models.write(tmp_path / "model", "gpt2")
    (folder / "tokenizer.json").rename(tmp_path / "t")
    with pytest.raises(
        InputError,
        match=(
            r"has no tokenizer: expected tokenizer\.json, vocab\.json and merges\.txt, vocab\.txt, or"
            r" tokenizer\.model"
        ),
    ):
        exchange.read(folder)
    (tmp_path / "t").rename(folder / "tokenizer.json")
    (folder / "model.safetensors").rename(tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"neither model.safetensors nor .*older formats can run code and are not read"
    ):
        exchange.read(folder).build()
    index = folder / "model.safetensors.index.json"
    for name in ("../w.safetensors", "/etc/passwd", "..", 7, "a\x00.safetensors", "\ud800.safetensors"):
        index.write_text(json.dumps({"weight_map": {"wte.weight": name}}))
        with pytest.raises(InputError, match="which is not a file of this folder"):
            exchange.read(folder).build()
    index.write_text(json.dumps({"weight_map": {"wte.weight": "nowhere.safetensors"}}))
    with pytest.raises(InputError, match=r"cannot read .*nowhere\.safetensors: No such file"):
        exchange.read(folder).build()
    os.mkfifo(folder / "model.safetensors")  # Which is not waited for.
    with pytest.raises(InputError, match=r"cannot read .*model\.safetensors: no regular file|asks for"):
        exchange.read(folder).build()
    (folder / "model.safetensors").unlink()
    for content in ("[", "[]", '{"weight_map": 3}', '{"weight_map": {"a": []}}', "[" * 100_000):
        index.write_text(content)
        with pytest.raises(InputError, match="is damaged"):
            exchange.read(folder).build()
    for content in ("", "[]", "[" * 100_000, "\udcff"):
        (folder / "config.json").write_text(content, errors="surrogateescape")
        with pytest.raises(InputError, match=r"is not (a )?JSON"):
            exchange.read(folder)
    for name in ([], {}, None):
        (folder / "config.json").write_text(json.dumps({"model_type": name}))
        with pytest.raises(InputError, match=r"config\.json has model_type"):
            exchange.read(folder)
    with pytest.raises(InputError, match=r"holds no model: config\.json is missing"):
        exchange.read(tmp_path)


def test_what_has_no_counterpart_there_is_refused():
    lstm, mixed = from_flat({}), from_flat({"model": "gpt", "positions": "rotary"})
    with pytest.raises(
        InputError, match="--model=lstm has no counterpart there; bert, gpt and transformer have"
    ):
        exchange.foreign.kind_for(lstm)
    with pytest.raises(InputError) as caught:
        exchange.foreign.kind_for(mixed)
    assert (
        str(caught.value)
        == "this network is none of those that can be written: gpt2 has no --positions=rotary instead of"
        " learned; llama has no --norm=layer instead of rms, --activation=gelu instead of swiglu,"
        " --biases=True instead of False, --qkv_biases=True instead of False; mistral has no --norm=layer"
        " instead of rms, --activation=gelu instead of swiglu, --biases=True instead of False,"
        " --qkv_biases=True instead of False; qwen2 has no --norm=layer instead of rms, --activation=gelu"
        " instead of swiglu, --biases=True instead of False; qwen3 has no --norm=layer instead of rms,"
        " --activation=gelu instead of swiglu, --biases=True instead of False, --qkv_biases=True instead of"
        " False, --qk_norm=False instead of True"
    )


def test_a_run_begins_with_it(tiny_config, train, tmp_path):
    """Straight from the folder; what does not fit is told with the flags that do."""
    folder, settings = (
        models.write(tmp_path / "model", "gpt2"),
        {**tiny_config().flat(), "tokenizer": "sentencepiece"},
    )
    with pytest.raises(InputError) as caught:
        train(
            from_flat({**settings, "model": "gpt", "embedding_dim": 16, "init_from": str(folder)}),
            tmp_path / "wrong",
        )
    assert str(caught.value).startswith(
        f"the weights of --init_from={folder} do not fit: --num_layers: 2 there, 1 here; "
    )
    assert "Use the same settings, here --model=gpt --num_layers=2 --embedding_dim=24" in str(caught.value)
    right = {
        **settings,
        **exchange.read(folder).settings,
        "sequence_length": 7,
        "init_from": str(folder),
        "steps": 2,
    }
    ended = train(from_flat({**right, "learning_rate": 1e-9, "optimizer": "sgd"}), tmp_path / "tuned")
    assert ended.code == 0 and f"beginning with the weights of {folder} at step 0" in ended.err
    np.testing.assert_allclose(
        lm_keras.load(tmp_path / "tuned").logits(models.IDS), logits(folder), atol=1e-4
    )
    conversion.to_run(str(folder), str(tmp_path / "run"))
    with pytest.raises(InputError, match="split 'valid' is absent in this run; it has none"):
        lm_keras.load(tmp_path / "run").evaluate("valid")
