import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from lm_keras.errors import InputError
from lm_keras.fields import LARGEST, expected, kind_of
from lm_keras.sampling import rules
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.prompts import check_prompts
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.settings import RULES, SamplingSettings, settings_from

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (
            {"temperature": -0.5},
            "temperature=-0.5 is not a number of at least 0; use 0 for the likeliest",
        ),
        ({"temperature": NAN}, "temperature=nan is not a number of at least 0"),
        ({"temperature": INF}, "temperature=inf is not a number of at least 0"),
        ({"temperature": "1"}, "temperature='1' is not a number of at least 0"),
        ({"temperature": True}, "temperature=True is not a number of at least 0"),
        ({"long_prompt": "nope"}, "long_prompt='nope' is unknown; use one of error, keep_end"),
        ({"top_k": -1}, "top_k=-1 is not a whole number of at least 0; use 0 to switch it off"),
        ({"top_k": 2.0}, "top_k=2.0 is not a whole number of at least 0; use"),
        ({"top_k": 2**31}, "top_k=2147483648 is not a whole number of at least 0, 2147483647 at most; use 0"),
        ({"top_p": 0.0}, "top_p=0.0 is not a number above 0 and of at most 1; use 1 to switch it off"),
        ({"top_p": 1.01}, "top_p=1.01 is not a number above 0"),
        ({"top_p": NAN}, "top_p=nan is not a number above 0"),
        (
            {"max_new_tokens": 0},
            "max_new_tokens=0 is not a whole number of at least 1; use how many tokens",
        ),
        ({"max_new_tokens": None}, "max_new_tokens=None is not a whole number of at least 1"),
        (
            {"num_samples": 0},
            "num_samples=0 is not a whole number of at least 1; use how many continuations",
        ),
        ({"seed": 1.5}, "seed=1.5 is not an integer; use for example seed=0"),
        ({"seed": None}, "seed=None is not an integer"),
        ({"stop": ""}, "stop='' has an empty string, which would end every text at once; leave it out"),
        ({"stop": ["a", ""]}, "stop=['a', ''] has an empty string"),
        ({"stop": [b"a"]}, "stop=[b'a'] is not a string or a list of strings; use for example stop='###'"),
        ({"stop": 3}, "stop=3 is not a string or a list of strings"),
        (
            {"topk": 3},
            "'topk' is not a sampling setting (did you mean 'top_k'?); the settings are max_new_tokens,",
        ),
    ],
    ids=str,
)
def test_a_bad_setting_is_named_with_what_is_expected_and_a_remedy(setting, text):
    with pytest.raises(InputError) as error:
        settings_from(setting)
    assert str(error.value).startswith(text)


def test_good_settings_at_their_edges():
    good = SamplingSettings(1, 0, 0, 1, -(2**70), 1, ["###", "\n\n"])
    assert good.stop == ("###", "\n\n") and hash(good)
    assert dataclasses.replace(good, stop="x").stop == ("x",)
    assert settings_from({"top_k": np.int64(3), "temperature": np.float32(0.5)}).top_k == 3
    for seed, kept in ((np.int64(-3), -3), ([np.int32(5), 2], (5, 2))):
        assert repr(settings_from({"seed": seed}).seed) == repr(kept)
    with pytest.raises(dataclasses.FrozenInstanceError):
        good.seed = 3


@pytest.mark.parametrize(
    ("prompts", "text"),
    [
        (
            "To be",
            'prompts is a str, not a list of strings; for one prompt write ["..."], for the start of a',
        ),
        (None, "prompts is a NoneType, not a list of strings"),
        (["a", b"b"], "prompts[1] is a bytes, not a string; decode bytes with .decode('utf-8') first"),
        (
            ["a", "b\ud800"],
            "prompts[1] has the lone surrogate U+D800 at character 1, which is not text; read the",
        ),
    ],
)
def test_bad_prompts_are_named(prompts, text):
    with pytest.raises(InputError) as error:
        check_prompts(prompts)
    assert str(error.value).startswith(text)


def test_the_sampler_checks_before_it_works(tiny, tokenizer):
    sampler = Sampler(tiny, tokenizer)
    with pytest.raises(InputError, match=r"prompts\[0\] has the lone surrogate U\+DFFF at character 0"):
        sampler.generate(["\udfff"])
    # Streaming too checks when it is called, not when the first piece is asked for.
    with pytest.raises(InputError, match="prompt is a list, not a string"):
        sampler.stream(["a"])
    with pytest.raises(
        InputError, match="num_samples=2 cannot be streamed, only 1 can; use generate, or stream"
    ):
        sampler.stream("a", num_samples=2)
    with pytest.raises(InputError, match="top_p=2 is not"):
        sampler.stream("a", top_p=2)
    with pytest.raises(
        InputError, match=r"'temprature' is not a sampling setting .did you mean 'temperature'"
    ):
        sampler.generate(["a"], temprature=2)
    assert sampler.traces == 0


def test_settings_do_not_need_tensorflow():
    code = "import lm_keras.sampling.settings, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_rule_has_its_function_and_every_function_its_setting():
    functions = {field.metadata["rule"].function for field in RULES.values()} - {""}
    assert functions == {function.__name__ for function in (*rules.PAST_RULES, *rules.SORTED_RULES)}
    asked = [name for names in (*rules.PAST_RULES.values(), *rules.SORTED_RULES.values()) for name in names]
    assert sorted(asked) == sorted(name for name, field in RULES.items() if field.metadata["rule"].function)
    assert RuleSettings._fields == tuple(RULES)


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(SamplingSettings) if field.metadata["allowed"]]
)
def test_a_number_beyond_its_range_is_refused_in_words(name):
    (field,) = [field for field in dataclasses.fields(SamplingSettings) if field.name == name]
    allowed, whole = field.metadata["allowed"], kind_of(field)[0] is int
    beyond = [NAN, INF, "1", True, None]
    beyond += [bound - 1e-3 for bound in (allowed.low,) if bound is not None] + [allowed.above]
    beyond += [1.5, 2**31] if whole else []
    beyond += [allowed.high + 1] if allowed.high is not None else []
    for value in beyond:
        with pytest.raises(InputError) as error:
            settings_from({name: value})
        largest = f", {LARGEST} at most" if value == LARGEST + 1 and allowed.high is None else ""
        assert str(error.value) == f"{name}={value!r} is not {expected(field)}{largest}; use {allowed.remedy}"
    assert getattr(SamplingSettings(), name) == field.default
