"""Every key of a config.json is used, is known to have no effect, or is named in a refusal; and all come
back.
"""

import importlib.util
import json

import folders_of_models as models
import numpy as np
import page_of_folders
import pytest

from lm_keras.checkpoints import exchange, foreign
from lm_keras.checkpoints.foreign.keys import ABSENT, COMMON, FREE, ONLY, USED, overlaid, read_values
from lm_keras.checkpoints.foreign.rope import ROPE_KEYS
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.text.huggingface import HuggingFaceTokenizer

OWN = [(kind, key) for kind in models.CONFIGS for key in foreign.KINDS[kind].keys if key not in COMMON]
ALL = OWN + [("gpt2", key) for key in COMMON]
ODD = [True, False, None, 7, -1, 0.37, "odd", {"a": 1}, [1, 2]]


def settings(kind, config):
    known = foreign.KINDS[kind]
    return known.settings(read_values(config, known.keys))


def of_rule(rule, keys=ALL):
    return [pytest.param(kind, key, id=f"{kind}-{key.name}") for kind, key in keys if key.rule == rule]


@pytest.mark.parametrize(("kind", "key"), of_rule(ONLY))
def test_a_key_with_one_meaning_is_refused_with_any_other(kind, key):
    expected = settings(kind, models.CONFIGS[kind])
    for value in key.values:
        assert settings(kind, {**models.CONFIGS[kind], key.name: value}) == expected
    for value in ODD:
        if any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in key.values):
            continue
        with pytest.raises(InputError, match=f"for '{key.name}', which is not supported; known is"):
            settings(kind, {**models.CONFIGS[kind], key.name: value})


@pytest.mark.parametrize(("kind", "key"), of_rule(FREE))
def test_a_key_without_effect_changes_nothing(kind, key):
    expected = settings(kind, models.CONFIGS[kind])
    for value in ODD:
        assert settings(kind, {**models.CONFIGS[kind], key.name: value}) == expected


OTHERS = {
    "vocab_size": None, "n_positions": 32, "n_embd": 48, "n_layer": 3, "n_head": 2, "n_inner": 50,
    "layer_norm_epsilon": 0.01,
    "tie_word_embeddings": "other", "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "head_dim": 20,
    "intermediate_size": 50, "max_position_embeddings": 32, "layer_norm_eps": 0.01, "num_key_value_heads": 4,
    "rms_norm_eps": 0.01, "rope_parameters": {"rope_theta": 77.0}, "rope_scaling": {"rope_theta": 77.0},
    "rope_theta": 77.0, "sliding_window": None,
    "decoder_vocab_size": 61, "d_model": 48, "encoder_layers": 4, "decoder_layers": 4,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 50, "decoder_ffn_dim": 50,
    "activation_function": "relu", "scale_embedding": False,
}  # fmt: skip

AGREEING = (
    "decoder_vocab_size", "encoder_attention_heads", "decoder_attention_heads",
    "encoder_ffn_dim", "decoder_ffn_dim", "scale_embedding",
)  # fmt: skip
"""Keys that have to agree with others, or with what there is here."""

WIDTHS = (
    "hidden_size",
    "n_embd",
    "num_attention_heads",
    "n_head",
    "d_model",
    "num_key_value_heads",
    "sliding_window",
)
"""Keys whose default does not go with the sizes of these models."""


@pytest.mark.parametrize(("kind", "key"), of_rule(USED))
def test_a_key_that_is_used_changes_the_network_and_is_checked(kind, key):
    config = {
        name: value
        for name, value in models.CONFIGS[kind].items()
        if name != "rope_theta" or "rope" not in key.name
    }
    before, value = settings(kind, config), OTHERS[key.name]
    value = not key.default if value == "other" else value
    if key.name in AGREEING:
        with pytest.raises(InputError, match=f"'{key.name}'"):
            settings(kind, {**config, key.name: value})
    elif value is not None:
        changed = settings(kind, {**config, key.name: value})
        # Without the key the default counts.
        assert changed != before or value == key.default
        without = {name: value for name, value in config.items() if name != key.name}
        if key.default is not ABSENT and key.name not in WIDTHS:
            assert settings(kind, without) == settings(kind, {**config, key.name: key.default})
    for wrong in ODD:
        if type(wrong) in key.kinds or (wrong is None and key.may_be_null):
            continue
        with pytest.raises(InputError, match=f"config.json has .* for '{key.name}'"):
            settings(kind, {**config, key.name: wrong})
    for number in (0, -1, 10**400, float("nan")):
        if type(number) in key.kinds:
            with pytest.raises(InputError):
                settings(kind, {**config, key.name: number})


@pytest.mark.parametrize("kind", models.CONFIGS)
def test_an_unknown_key_is_named_in_a_refusal(kind):
    with pytest.raises(InputError) as caught:
        settings(kind, {**models.CONFIGS[kind], "logit_scale": 2.0})
    assert (
        str(caught.value)
        == "config.json has a key that is unknown here, 'logit_scale': nothing tells whether the network"
        " depends on it; delete it if it changes no number"
    )
    with pytest.raises(InputError, match="has keys that are unknown here, 'alibi', 'qk_norm': "):
        settings(kind, {**models.CONFIGS[kind], "alibi": False, "qk_norm": None})
    assert settings(kind, {**models.CONFIGS[kind], "_private": 3}) == settings(kind, models.CONFIGS[kind])


NOT_USUAL = r"config.json has \{.* for 'rope_.*', which is not supported: "
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4,
    "original_max_position_embeddings": 64,
}
YARN = "yarn:factor=2,original_context_length=16"


@pytest.mark.parametrize(
    ("config", "base"),
    [
        ({}, 10_000.0),
        ({"rope_theta": 500}, 500.0),
        ({"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}, 500.0),
        ({"rope_scaling": {"rope_theta": 500.0, "type": "default"}}, 500.0),
        ({"rope_parameters": {"rope_type": "default"}, "rope_theta": 500.0}, 500.0),
        ({"rope_parameters": None, "rope_scaling": {}, "rope_theta": 500.0}, 500.0),
        ({"rope_parameters": {"partial_rotary_factor": 1.0}}, 10_000.0),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, NOT_USUAL),
        ({"rope_parameters": {"rope_type": "linear"}}, NOT_USUAL + "linear needs factor"),
        ({"rope_parameters": {"type": "linear", "factor": 0.5}}, NOT_USUAL + "factor=0.5 is out of range"),
        ({"rope_parameters": {"factor": 2.0}}, NOT_USUAL + "a rope_type 'default' has no 'factor'"),
        (
            {"rope_parameters": {"type": "linear", "factor": 2.0, "beta_fast": 32}},
            NOT_USUAL + "a rope_type 'linear' has no 'beta_fast'",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            NOT_USUAL + "llama3 needs low_freq_factor",
        ),
        (
            {"rope_scaling": {"rope_type": "llama3", **LLAMA3, "high_freq_factor": 1.0}},
            NOT_USUAL + "low_freq_factor=1 has to be less than high_freq_factor=1",
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": False}}, NOT_USUAL),
        ({"rope_parameters": {"rope_type": "default", "type": "linear"}}, NOT_USUAL),
        ({"rope_parameters": {"rope_type": None}}, NOT_USUAL),
        ({"rope_scaling": {"factor": 8}}, NOT_USUAL),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, NOT_USUAL),
        ({"partial_rotary_factor": 0.5}, "0.5 for 'partial_rotary_factor'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 500.0}}}, NOT_USUAL),
        ({"rope_parameters": {"rope_theta": None}}, NOT_USUAL),
        (
            {"rope_parameters": {"rope_theta": 500.0}, "rope_theta": 600.0},
            "different values for 'rope_theta' and",
        ),
        (
            {"rope_parameters": {"rope_theta": 500.0}, "rope_scaling": {"type": "default"}},
            "different values for 'rope_parameters' and 'rope_scaling'",
        ),
        ({"rope_parameters": []}, r"has \[\] for 'rope_parameters'"),
    ],
    ids=str,
)
def test_rotary_positions_under_all_their_names(config, base):
    config = {name: value for name, value in models.CONFIGS["llama"].items() if name != "rope_theta"} | config
    if isinstance(base, float):
        assert settings("llama", config)["rotary_base"] == base
    else:
        with pytest.raises(InputError, match=base):
            settings("llama", config)


@pytest.mark.parametrize(
    ("inside", "scaling"),
    [
        ({"rope_type": "default"}, None),
        ({"type": "linear", "factor": 2}, "linear:factor=2"),
        (
            {"rope_type": "llama3", **LLAMA3},
            "llama3:factor=8,low_freq_factor=1,high_freq_factor=4,original_context_length=64",
        ),
        # Without it, the length of the first training is that of the model, 16.
        ({"rope_type": "yarn", "factor": 2.0}, YARN),
        ({"rope_type": "yarn", "factor": 2.0, "beta_fast": None, "attention_factor": None}, YARN),
        ({"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}, YARN),
        (
            {"rope_type": "yarn", "factor": 2.0, "mscale": 0.5, "mscale_all_dim": 0.5},
            f"{YARN},attention_factor=1",
        ),
        (
            {"type": "yarn", "factor": 2.5, "original_max_position_embeddings": 8, "beta_slow": 0.5},
            "yarn:factor=2.5,original_context_length=8,beta_slow=0.5",
        ),
    ],
    ids=str,
)
def test_scaling_of_rotary_positions(inside, scaling):
    for name in ("rope_parameters", "rope_scaling"):
        assert settings("llama", {**models.CONFIGS["llama"], name: inside})["rotary_scaling"] == scaling


def test_two_names_of_a_key():
    config = {name: value for name, value in models.CONFIGS["gpt2"].items() if name != "n_embd"}
    assert settings("gpt2", {**config, "hidden_size": 24}) == settings("gpt2", models.CONFIGS["gpt2"])
    with pytest.raises(InputError, match="has 24 for 'n_embd' and 12 for 'hidden_size', which are two names"):
        settings("gpt2", {**config, "n_embd": 24, "hidden_size": 12})
    # What a run has changed is written under one name.
    keys = foreign.KINDS["gpt2"].keys
    assert overlaid({"hidden_size": 24, "n_ctx": 1}, {"n_embd": 24}, {"n_embd": 48}, keys) == {
        "n_embd": 48,
        "n_ctx": 1,
    }


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", models.CONFIGS)
def test_all_keys_come_back(kind, seed):
    """But for the class and the type of numbers that are written."""
    random, known = np.random.default_rng(seed), foreign.KINDS[kind]
    tokenizer = HuggingFaceTokenizer(models.tokenizer().to_str().encode(), 0)
    original = dict(models.CONFIGS[kind])
    for key in known.keys:
        if random.random() < 0.5:
            continue
        if key.rule == FREE and key.name != "model_type":
            original[key.name] = ODD[random.integers(len(ODD))]
        elif key.rule == ONLY:
            accepted = key.values[random.integers(len(key.values))]
            original[key.name] = accepted
        elif key.name in ("layer_norm_epsilon", "rms_norm_eps", "layer_norm_eps", "tie_word_embeddings"):
            original[key.name] = OTHERS[key.name] if OTHERS[key.name] != "other" else bool(random.integers(2))
    config = from_flat(settings(kind, original))
    written = foreign.config_of(original, known, config, models.V, tokenizer)
    apart = ("architectures", "dtype", "torch_dtype")
    assert {name: value for name, value in written.items() if name not in apart} == {
        name: value for name, value in original.items() if name not in apart
    }
    assert written["dtype"] == "float32" and "torch_dtype" not in written
    # The control: what the run has changed is said, and nothing else.
    changed = from_flat({**config.flat(), "dropout": 0.25, "tie_embeddings": not config.model.tied})
    again = foreign.config_of(original, known, changed, models.V, tokenizer)
    names = {name for name in again if again[name] != written.get(name, ABSENT)}
    dropouts = {
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "dropout",
        "attention_dropout",
    }
    assert names - dropouts == {"tie_word_embeddings"} and (names & dropouts or kind not in ("gpt2", "bert"))


def test_a_size_that_is_missing_is_the_default(tmp_path):
    """`vocab_size`, which the tokenizer counts with, too."""
    config = {name: value for name, value in models.CONFIGS["gpt2"].items() if name != "vocab_size"}
    folder = models.write(tmp_path, "gpt2")
    (folder / "config.json").write_text(json.dumps(config))
    imported = exchange.read(folder)
    assert (imported.vocab_size, imported.tokenizer.vocab_size) == (50257, 50257)
    with pytest.raises(InputError, match=r"asks for .* bytes of weights|has the shape \[60, 24\], expected"):
        imported.build()


@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="transformers is not installed")
@pytest.mark.parametrize("kind", models.CONFIGS)
def test_keys_and_defaults_are_those_of_transformers(kind):
    import dataclasses

    import transformers

    theirs = transformers.CONFIG_MAPPING[kind]
    fields = {field.name: field.default for field in dataclasses.fields(theirs)}
    known = {key.name: key.default for key in foreign.KINDS[kind].keys}
    assert not fields.keys() - known.keys()
    assert {name: known[name] for name in fields} == fields
    aliases = {key.alias: key.name for key in foreign.KINDS[kind].keys if key.alias}
    assert theirs.attribute_map == aliases


def test_no_key_stands_twice():
    for kind in foreign.KINDS.values():
        names = [key.name for key in kind.keys] + [key.alias for key in kind.keys if key.alias]
        assert len(names) == len(set(names))
    assert len({key.name for key in ROPE_KEYS}) == len(ROPE_KEYS)


def test_the_page_says_what_the_tables_say():
    """`python tests/checkpoints/page_of_folders.py` writes it anew."""
    page = page_of_folders.PAGE.read_text(encoding="utf-8")
    assert page_of_folders.sections() in page
    assert "`rope_interleaved` | `false` | only `false`" in page and "| `n_inner` | `null` | used: " in page
