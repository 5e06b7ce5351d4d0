import dataclasses
import math
import types

import pytest

from lm_keras import checks, config, fields
from lm_keras.config import Config, from_flat
from lm_keras.errors import InputError

FIELDS = config.FIELDS | {field.name: field for field in dataclasses.fields(config.RunOptions)}
NUMBERS = [name for name, field in FIELDS.items() if fields.kind_of(field)[0] in (int, float)]
NAMES = [name for name, field in FIELDS.items() if field.metadata["choices"]]


def edges(field):
    """Values of a number at its bounds that are good, and values just beyond that are not."""
    kind, optional = fields.kind_of(field)
    low, high, above, below = (field.metadata[bound] for bound in ("low", "high", "above", "below"))
    whole, step = kind is int, 1 if kind is int else 1e-3
    largest = fields.LARGEST if whole else 3.4e38
    good, bad = [None] if optional else [], []
    if low is not None:
        good, bad = [*good, low], [*bad, low - step]
    if above is not None:
        good, bad = [*good, above + step], [*bad, above, above - step]
    if high is not None:
        good, bad = [*good, high], [*bad, high + (step if whole else max(step, 1e-3 * high))]
    if below is not None:
        good, bad = [*good, below - step], [*bad, below, below + step]
    if high is None and below is None:
        good, bad = [*good, largest], [*bad, largest + 1 if whole else 3.5e38, 10**400 if whole else 1e300]
    if low is None and above is None:
        good, bad = [*good, -largest], [*bad, -3.5e38]
    return good, bad


def message_of(**settings):
    """The text of the InputError that a config with these settings ends in, or None."""
    try:
        from_flat(settings)
    except InputError as error:
        return str(error)
    return None


def refusal(name, value):
    """The text with which the check of one setting alone refuses a value, or None."""
    try:
        fields.check(FIELDS[name], value)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("vocab_size", [None, 1, 2**31 - 1], [0, 2**31, 10**400]),
        ("num_layers", [1, 1000], [0, 1001]),
        ("rotary_base", [1.001, 3.4e38], [1, 0.999, 3.5e38, 1e300]),
        ("dropout", [0, 0.999], [-0.001, 1, 1.001]),
        ("state_reset", [0, 1], [-0.001, 1.001]),
        ("forget_bias", [3.4e38, -3.4e38], [3.5e38, 1e300, -3.5e38]),
    ],
)
def test_the_edges_of_some_numbers(name, good, bad):
    assert edges(FIELDS[name]) == (good, bad)


@pytest.mark.parametrize("name", NUMBERS)
def test_bounds(name):
    good, bad = edges(FIELDS[name])
    assert len(good) > 1 < len(bad)
    for value in good:
        assert refusal(name, value) is None
    for value in bad:
        assert refusal(name, value).startswith(f"--{name}={value} is out of range; expected ")
        assert refusal(name, value) == message_of(**{name: value})


FLOATS = [name for name in NUMBERS if fields.kind_of(FIELDS[name])[0] is float]
UNBOUNDED = ["forget_bias"]
"""Where 0 is a number like any other."""


@pytest.mark.parametrize("name", FLOATS)
def test_what_is_0_in_float32_is_refused(name):
    for value in (1e-46, 1e-40):
        found = refusal(name, value)
        if name in UNBOUNDED:
            assert found is None
        elif FIELDS[name].metadata["above"] == 1:
            assert " is out of range; expected " in found
        else:
            assert found.startswith(
                f"--{name}={value} becomes 0 in float32, in which everything is computed; expected "
            )
            zero = " 0 or at" if FIELDS[name].metadata["above"] is None else " at"
            assert found.endswith(f",{zero} least 1.2e-38") and found == message_of(**{name: value})
    assert [
        n for n in FLOATS if all(FIELDS[n].metadata[b] is None for b in ("low", "high", "above", "below"))
    ] == UNBOUNDED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 1 - 1e-9),
        ("weight_drop", 1 - 1e-9),
        ("beta_2", 1 - 1e-9),
        ("label_smoothing", 1 - 1e-12),
        ("rotary_base", 1 + 1e-9),
    ],
)
def test_what_reaches_a_bound_in_float32_is_refused(name, value):
    assert f"--{name}={value} becomes 1 in float32" in refusal(name, value)
    assert refusal(name, 1 + (value - 1) * 1e4) is None or name == "label_smoothing"


def test_a_learning_rate_that_its_schedule_makes_0_is_refused():
    found = message_of(learning_rate=1e-30, learning_rate_schedule="linear:initial=1e-10,final=1e-9")
    assert found.endswith("reaches 1e-39 at most, which is 0 in float32; expected at least 1.2e-38")
    assert message_of(learning_rate=1e-30, learning_rate_schedule="linear:initial=1,final=0") is None


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(name):
    kind, optional = fields.kind_of(FIELDS[name])
    for value in ("7", True, [7], b"7"):
        assert refusal(name, value) == f"--{name}={value!r}: expected {fields.expected(FIELDS[name])}"
    if kind is int:
        assert refusal(name, 7.0) == f"--{name}=7.0: expected {fields.expected(FIELDS[name])}"
    else:
        for value in (math.nan, math.inf, -math.inf):
            expected = fields.expected(FIELDS[name])
            assert refusal(name, value) == f"--{name}={value} is out of range; expected {expected}"
    assert (refusal(name, None) is None) == optional


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    choices = FIELDS[name].metadata["choices"]
    assert len(set(choices)) == len(choices) > 1
    for value in choices:
        assert refusal(name, value) is None
    assert refusal(name, "zzz") == f"--{name}=zzz is unknown; choose one of {', '.join(choices)}"
    assert refusal(name, choices[0].upper()) is not None


def test_choices_that_are_no_table():
    """The choices of which no row of a table says that they are there; the interface is fixed."""
    assert {
        name: FIELDS[name].metadata["choices"]
        for name in ("batching", "precision", "strategy", "jit", "resume")
    } == {
        "batching": ("stream", "window"),
        "precision": ("auto", "float32", "mixed_bfloat16", "mixed_float16"),
        "strategy": ("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        "jit": ("auto", "on", "recurrence", "parts", "off"),
        "resume": ("auto", "never", "must"),
    }


def test_what_depends_on_a_setting():
    """A setting says itself what may change when a run goes on, and what a change does."""
    metadata = {name: field.metadata for name, field in config.FIELDS.items()}
    longer = {name for name, known in metadata.items() if known["on_resume"] == "longer"}
    assert longer == {"steps", "epochs", "early_stopping_evals"}
    assert fields.changeable(config.FIELDS) >= longer | {
        "eval_every",
        "strategy",
        "replicas",
        "jit",
        "cache_dir",
    }
    assert not {"seed", "batch_size", "model", "learning_rate"} & fields.changeable(config.FIELDS)
    # They may change and decide the result: when validation chooses, and which steps are left out.
    decides = {name for name, known in metadata.items() if known["decides_result"]}
    assert decides & fields.changeable(config.FIELDS) - longer == {
        "eval_answers",
        "eval_every",
        "eval_pairs",
        "on_nonfinite",
        "spike_sigma",
    }
    tried = {name for name, known in metadata.items() if known["dry_run"]}
    assert {"steps", "keep_checkpoints", "projector"} <= tried and "sample_prompt" not in tried
    fits = {name for name, known in metadata.items() if known["keeps_weights"]}
    assert {"dropout", "mask_rate", "init_scale"} <= fits
    assert not {"embedding_dim", "positions", "norm_epsilon", "tie_embeddings"} & fits


def test_a_setting_of_another_task_is_refused():
    """The family could do a task that the setting is for, but the run has another one."""
    given = {"mask_rate": 0.25, "dropout": 0.5}
    model = types.SimpleNamespace(model="bert")
    for task, refused in (("masked_lm", False), ("mine", True)):
        run = types.SimpleNamespace(model=model, task=task, flat=lambda: given)
        if not refused:
            checks._check_meaning(run, config.FIELDS)
            continue
        with pytest.raises(InputError) as caught:
            checks._check_meaning(run, config.FIELDS)
        assert (
            str(caught.value)
            == "--mask_rate=0.25 has no meaning for --task=mine; leave it out, or take --task=masked_lm"
        )
    assert fields.help_of(config.FIELDS["mask_rate"]).endswith("; --task=masked_lm or infilling only")
    assert fields.families_of(config.FIELDS["mask_rate"]) == ("bert", "glm")


def test_a_description_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="a setting has no 'smallest'"):
        fields.setting(1, "one", smallest=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, "--dropout=1.0 is out of range; expected a number of at least 0 and below 1"),
        ({"learning_rate": math.nan}, "--learning_rate=nan is out of range; expected a number above 0"),
        (
            {"seed": 2**31},
            (
                "--seed=2147483648 is out of range; expected a whole number of at least 0 and of at most"
                " 2147483647"
            ),
        ),
        ({"steps": 2**31}, "--steps=2147483648 is out of range; expected at most 2147483647"),
        ({"steps": "ten"}, "--steps='ten': expected a whole number of at least 1"),
        ({"batch_size": None}, "--batch_size=None: expected a whole number of at least 1"),
        ({"byte_fallback": 1}, "--byte_fallback=1: expected true or false"),
        ({"corpus": 5}, "--corpus=5: expected a text"),
        (
            {"model": "lsmt"},
            "--model=lsmt is unknown (did you mean 'lstm'?); choose one of ngram, lstm, gpt, bert, glm,"
            " transformer",
        ),
        (
            {"jit": "onn"},
            "--jit=onn is unknown (did you mean 'on'?); choose one of auto, on, recurrence, parts, off",
        ),
        ({"embeding_dim": 5}, "setting 'embeding_dim' is unknown (did you mean 'embedding_dim'?)"),
        ({"zzz": 5}, "setting 'zzz' is unknown"),
        (
            {"steps": 7, "epochs": 3},
            (
                "--steps=7 and --epochs=3 contradict each other; give one of them, and clear the other one, "
                "if a flagfile sets it, with --steps= or --epochs="
            ),
        ),
        (
            {"batch_size": 32, "replicas": 3, "micro_batches": 5},
            (
                "--batch_size=32 rows can't be shared evenly by 3 replicas x 5 micro-batches; take a multiple"
                " of 15"
            ),
        ),
        (
            {"batch_size": 32, "micro_batches": 7},
            (
                "--batch_size=32 rows can't be shared evenly by 1 replicas x 7 micro-batches; take a multiple"
                " of 7"
            ),
        ),
        (
            {"strategy": "one_device", "replicas": 2},
            "--strategy=one_device and --replicas=2 contradict each other; use --strategy=mirrored",
        ),
        (
            {"learning_rate_schedule": "cosine:warmup=7", "warmup_steps": 5},
            "the warm-up is given twice: --warmup_steps=5 and warmup=7 in 'cosine:warmup=7'",
        ),
        (
            {"learning_rate": 1e38, "learning_rate_schedule": "linear:initial=0,final=4"},
            (
                "--learning_rate=1e+38 times --learning_rate_schedule=linear:initial=0,final=4 reaches 4e+38;"
                " expected at most 3.4e+38, the limit of float32"
            ),
        ),
        (
            {"dropout_schedule": "plateau"},
            "--dropout_schedule=plateau is not possible; plateau is for the learning rate only",
        ),
        (
            {"dropout": 0.5, "dropout_schedule": "linear:initial=0,final=2"},
            (
                "--dropout=0.5 times --dropout_schedule=linear:initial=0,final=2 reaches 1; "
                "such a rate has to stay below 1"
            ),
        ),
        (
            {"token_noise": 0.25, "token_noise_schedule": "cosine:initial=4"},
            (
                "--token_noise=0.25 times --token_noise_schedule=cosine:initial=4 reaches 1; "
                "such a rate has to stay below 1"
            ),
        ),
        (
            {"token_noise_schedule": "plateau"},
            "--token_noise_schedule=plateau is not possible; plateau is for the learning rate only",
        ),
        (
            {"optimizer": "sgd", "beta_1": 0.9},
            (
                "--beta_1=0.9 has no meaning for --optimizer=sgd; leave it out, or take one of "
                "adam, adamw, nadam, adamax, lion, lamb"
            ),
        ),
        (
            {"optimizer": "lion", "beta_1": 0.0},
            "--beta_1=0 would leave --optimizer=lion the sign of the gradient; give it a number above 0",
        ),
        (
            {"model": "gpt", "task": "masked_lm"},
            "--task=masked_lm has no meaning for --model=gpt; take --model=bert, or --task=causal_lm or "
            "classification or tagging or seq2seq or chat",
        ),
        (
            {"model": "gpt", "mask_rate": 0.25},
            "--mask_rate=0.25 has no meaning for --model=gpt; leave it out, or take --model=bert or glm",
        ),
        (
            {"model": "glm", "task": "tagging", "mask_rate": 0.25},
            "--mask_rate=0.25 has no meaning for --task=tagging; leave it out, or take --task=infilling",
        ),
        (
            {"model": "ngram", "forget_bias": 2.0},
            "--forget_bias=2.0 has no meaning for --model=ngram; leave it out, or take --model=lstm",
        ),
        (
            {"ngram_order": 3},
            "--ngram_order=3 has no meaning for --model=lstm; leave it out, or take --model=ngram",
        ),
        (
            {"direct_connections": True},
            "--direct_connections=True has no meaning for --model=lstm; leave it out, or take --model=ngram",
        ),
        (
            {"model": "ngram", "direct_connections": True, "tie_embeddings": True},
            (
                "--direct_connections and --tie_embeddings contradict each other: the embedding has no rows"
                " for what comes directly; leave one of them out"
            ),
        ),
        (
            {"token_noise_schedule": "linear"},
            (
                "--token_noise_schedule=linear has no meaning without noise; give --token_noise too, or leave"
                " it out"
            ),
        ),
        (
            {"model": "ngram", "state_reset": 0.1},
            (
                "--state_reset=0.1 has no meaning for windows, which all start from nothing; leave it out, or"
                " take --batching=stream"
            ),
        ),
        (
            {"cache_dir": "a\0b"},
            "--cache_dir='a\\x00b' has a NUL, which no name of a file can hold; leave it out",
        ),
        (
            {"sample_prompt": "To be\n"},
            (
                "--sample_prompt='To be\\n' has a line feed, a space at its end or bytes that are not UTF-8, "
                "which no flagfile can hold; leave them out"
            ),
        ),
    ],
)
def test_whole_messages(settings, message):
    assert message_of(**settings) == message


@pytest.mark.parametrize("name", ["learning_rate_schedule", "dropout_schedule", "token_noise_schedule"])
@pytest.mark.parametrize("text", ["cosin", "cosine:finl=1", "linear:final=nan"])
def test_schedules_are_checked_before_the_run(name, text):
    assert message_of(**{name: text}).startswith(f"--{name}: schedule ")


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 7, "epochs": None},
        {"epochs": 3},
        {"batch_size": 30, "replicas": 3, "micro_batches": 5},
        {"strategy": "one_device", "replicas": 1},
        {"strategy": "mirrored", "replicas": 2},
        {"learning_rate_schedule": "cosine", "warmup_steps": 5},
        {"learning_rate_schedule": "plateau:patience=3"},
        {"dropout": 0.5, "dropout_schedule": "linear:initial=0,final=1.9"},
        {"dropout": 0.0, "dropout_schedule": "linear:initial=0,final=99"},
        {"optimizer": "adam", "beta_1": 0.5, "beta_2": 0.9},
        {"sample_prompt": "# 'quoted' --flag=\"a b\" \t月"},
        # A warm-up or an interval longer than the run is allowed.
        {"steps": 10, "warmup_steps": 99, "eval_every": 100, "checkpoint_every": 101, "log_every": 102},
        {"learning_rate": 1},
        {"model": "ngram", "ngram_order": 3, "direct_connections": True},
        {"model": "ngram", "forget_bias": 1.0},
        {"model": "ngram", "state_reset": 0.1, "batching": "stream"},
        {"state_reset": 0.1},
    ],
)
def test_what_is_allowed_gives_no_message(settings):
    assert message_of(**settings) is None


@pytest.mark.parametrize("text", ["To be ", "a\nb", "a\rb", "\t", "\udcff", "a\u3000"])
@pytest.mark.parametrize("name", ["corpus", "sample_prompt", "run_dir"])
def test_a_text_that_no_flagfile_can_hold_is_refused(name, text):
    with pytest.raises(InputError, match="no flagfile can hold"):
        config.RunOptions(run_dir=text) if name == "run_dir" else from_flat({name: text})


@pytest.mark.parametrize(
    "text", ["7", "7:", ":9", "9:7", "0:3", "-1:3", "1:3:5", "1,3", "a:b", "1: 3", "", "1:4294967296"]
)
def test_steps_to_profile_that_are_none(text):
    assert (
        message_of(profile_steps=text)
        == f"--profile_steps={text}: expected FIRST:LAST, two steps in rising order, such as 101:120"
    )


def test_steps_to_profile():
    assert fields.profiled_steps("7:9") == (7, 9)
    assert fields.profiled_steps("7:7") == (7, 7)
    assert fields.profiled_steps(None) is None
    assert message_of(profile_steps="7:9") is None


def test_the_fixed_defaults():
    settings, options = Config().flat(), config.RunOptions()
    fixed = {
        "on_bad_text": "error",
        "optimizer": "adamw",
        "clip_norm": 1.0,
        "log_every": 10,
        "strategy": "auto",
        "jit": "auto",
        "deterministic": False,
        "precision": "float32",
        "corpus": "python-docs",
        "tie_embeddings": None,
        "steps": None,
        "epochs": None,
    }
    assert {name: settings[name] for name in fixed} == fixed
    assert (options.run_dir, options.resume, options.dry_run) == (None, "auto", False)


def test_defaults_pass_their_own_checks():
    for field in FIELDS.values():
        assert refusal(field.name, field.default) is None
        assert field.metadata["help"]


def test_every_name_is_used_once():
    kinds = [config.RunOptions, *config.GROUPS.values()]
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert len(names) == len(set(names))
    assert list(config.GROUPS) == [field.name for field in dataclasses.fields(Config)]


def test_flat_and_back():
    settings = {
        "vocab_size": 99,
        "num_layers": 3,
        "dropout": 0.25,
        "steps": 13,
        "beta_2": 0.95,
        "log_every": 7,
        "batching": "window",
    }
    flat = from_flat(settings).flat()
    assert {name: value for name, value in flat.items() if value != Config().flat()[name]} == settings
    assert from_flat(flat) == from_flat(settings) != Config()
    assert list(flat) == list(config.FIELDS)


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model = config.ModelConfig(num_layers=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model.num_layers = 2


def test_batching_has_the_default_of_the_family():
    assert Config().batching == "stream"
    assert from_flat({"model": "ngram"}).batching == "window"
    assert from_flat({"batching": "window"}).batching == "window"
    assert from_flat({"model": "ngram", "batching": "stream"}).batching == "stream"
