"""The tables of names: what a row refers to exists, and a new row is all that flags, checks and help need."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

from lm_keras import config, fields, registry, text
from lm_keras.answers import ANSWERS
from lm_keras.embeddings import settings as embeddings
from lm_keras.evaluation import SCORERS
from lm_keras.evaluation.scorer import Scorer
from lm_keras.registry import CAPABILITIES, FAMILIES, Family
from lm_keras.tasks import TASKS

PACKAGE = Path(registry.__file__).parent


def problems(families, known):
    """What is wrong with the rows of some families and the settings that belong to them."""
    metadata = [field.metadata for field in config.FIELDS.values()]
    asked = {one for known in metadata for one in known["needs"]}
    asked |= {registry.TASKS[task].needs for known in metadata for task in known["tasks"]}
    given = {one for family in families.values() for one in family.capabilities}
    return [
        *(f"{one} is asked for, and no family has it" for one in sorted(asked - given)),
        *(f"{one} is not described" for one in sorted((asked | given) - set(known))),
        *(f"{one} belongs to no family" for one in sorted(set(known) - given)),
        *(
            f"{name} has no file"
            for name, family in families.items()
            if not (PACKAGE / "models" / f"{family.module}.py").is_file()
        ),
    ]


def test_the_rows_of_the_families_are_complete():
    assert problems(FAMILIES, CAPABILITIES) == []


@pytest.mark.parametrize(
    ("families", "known", "problem"),
    [
        (FAMILIES | {"mine": Family("mine", ())}, CAPABILITIES, "mine has no file"),
        (FAMILIES | {"mine": Family("gpt", ("rotari",))}, CAPABILITIES, "rotari is not described"),
        (FAMILIES, CAPABILITIES | {"wings": ""}, "wings belongs to no family"),
        (FAMILIES | {"gpt": Family("gpt", ())}, CAPABILITIES, "documents is asked for, and no family has it"),
    ],
)  # fmt: skip
def test_the_check_of_the_families_can_fail(families, known, problem):
    assert problem in problems(families, known)


def test_a_setting_names_its_families_and_choices():
    text = fields.help_of(config.FIELDS["norm"])
    assert (
        text
        == f"{config.FIELDS['norm'].metadata['help']} (layer, rms); {registry.listed('block_styles')} only"
    )
    assert fields.help_of(config.FIELDS["steps"]) == config.FIELDS["steps"].metadata["help"]


NEW_FAMILY = """
from lm_keras import registry
registry.FAMILIES["mine"] = registry.Family("mine", ("attention", "rotary", "causal_lm"))
from lm_keras import config, fields
from lm_keras.errors import InputError

assert config.FIELDS["model"].metadata["choices"][-1] == "mine"
assert fields.help_of(config.FIELDS["rotary_base"]).endswith("; gpt, transformer, mine only")
assert fields.help_of(config.FIELDS["norm"]).endswith("; gpt, glm, transformer only")
mine = config.from_flat({"model": "mine", "positions": "rotary", "num_heads": 2})
assert mine.model.units == 4 * mine.model.embedding_dim and mine.model.tied and mine.batching == "window"
for name, value in {"norm": "rms", "forget_bias": 2.0, "batching": "stream"}.items():
    try:
        config.from_flat({"model": "mine", name: value})
    except InputError:
        continue
    raise SystemExit(f"{name} is taken")
"""


def test_a_row_is_all_that_the_settings_need_of_a_new_family():
    run = subprocess.run([sys.executable, "-c", NEW_FAMILY], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(registry)
    assert found.attempted > 0 and found.failed == 0


def test_a_source_is_described_by_its_row():
    assert registry.sources_expected() == (
        "python-docs[:libraries|:names|:signatures|:questions], text:GLOB such as text:data/*.txt, tsv:GLOB, "
        "csv:GLOB, jsonl:GLOB, lines:SOURCE,TARGET such as lines:train.de,train.en, conll:GLOB, or "
        "tfds:NAME[/CONFIG][:SPLIT] such as tfds:tiny_shakespeare"
    )
    told = f"text to learn, or several with spaces between: {registry.sources_described()}"
    assert config.FIELDS["corpus"].metadata["help"] == told
    for name, source in registry.SOURCES.items():
        assert source.form.partition(":")[0].rstrip("[") == name and source.example.partition(":")[0] in (
            name,
            "",
        )
        assert (PACKAGE / "corpora" / f"{source.module}.py").is_file()


NEW_SOURCE = """
import sys, types
from lm_keras import registry
registry.SOURCES["said"] = registry.Source("said", "said:WORDS", ", the words themselves", "said:hello")
from lm_keras import config, corpora
from lm_keras.errors import InputError

class Said(corpora.Corpus):
    def __init__(self, words):
        self.spec, self.words = f"said:{words}", words

    def documents(self):
        yield corpora.Document.from_text(self.spec, self.words)

said = types.SimpleNamespace(open_source=lambda rest, reading: Said(rest + reading.part))
sys.modules["lm_keras.corpora.said"] = said
corpus = corpora.open_corpus("said:a b ", text_field="text", on_bad_text="error")
assert [piece for document in corpus.documents() for piece in document.pieces()] == ["a b train"]
assert config.FIELDS["corpus"].metadata["help"].endswith("or said:WORDS, the words themselves")
for spec in ("sayd:a", "said"):
    try:
        corpora.open_corpus(spec, text_field="text", on_bad_text="error")
    except InputError as error:
        said = str(error)
        assert "(did you mean 'said'?)" in said and said.endswith("or said:WORDS such as said:hello"), said
    else:
        raise SystemExit(spec)
"""


def test_a_row_and_a_file_are_all_that_a_source_needs():
    run = subprocess.run([sys.executable, "-c", NEW_SOURCE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_tokenizers_are_described_by_their_rows():
    described = (
        "how text becomes tokens: char, byte, word (split at white space), sentencepiece, or the folder"
    )
    for settings in (config, embeddings):
        assert settings.FIELDS["tokenizer"].metadata["help"].startswith(described)
    assert config.FIELDS["vocab_size"].metadata["help"] == (
        "tokens in the vocabulary, special ones included [char: all characters; word: all words, else the "
        "most frequent "
        "ones; sentencepiece: 2000]"
    )


def test_the_settings_of_a_tokenizer():
    plain = {"vocab_size": None, "normalization": "none", "model_type": "bpe", "byte_fallback": True}
    assert config.DataConfig(tokenizer="char").tokenizer_settings() == plain
    assert config.DataConfig().tokenizer_settings() == plain | {"vocab_size": 2000}
    assert config.DataConfig(tokenizer="some/folder").tokenizer_settings() == plain
    given = {"vocab_size": 99, "normalize": "nfc", "sentencepiece_model": "unigram", "byte_fallback": False}
    data = config.DataConfig(**given)
    assert data.given_for_tokenizer() == given and config.DataConfig().given_for_tokenizer() == {}
    assert list(data.tokenizer_settings().values()) == ["nfc", "unigram", False, 99]


def test_a_row_of_a_task_names_its_classes():
    for name, row in registry.TASKS.items():
        assert TASKS[name].name == name and ANSWERS[name].task in registry.TASKS
        for folder, given in (("tasks", row.task), ("answers", row.answer), ("evaluation", row.scorer)):
            assert (PACKAGE / folder / f"{given.partition('.')[0]}.py").is_file()
        assert row.needs in CAPABILITIES and issubclass(SCORERS[name], Scorer)


def test_the_default_task_of_a_family_is_the_first_that_it_can_do(monkeypatch):
    row = registry.TaskEntry("causal_lm.CausalLM", "generator.Generator", "text_scorer.TextScorer", "cache")
    monkeypatch.setattr(registry, "TASKS", registry.TASKS | {"mine": row})
    labels = ("classification", "tagging")
    assert registry.tasks_of("gpt") == ("causal_lm", *labels, "seq2seq", "chat", "mine")
    assert registry.tasks_of("bert") == ("masked_lm", *labels)
    assert registry.tasks_of("ngram") == ("causal_lm",)
    assert registry.tasks_described() == (
        "ngram, lstm, gpt: causal_lm; bert: masked_lm; glm: infilling; transformer: seq2seq"
    )


def test_a_strategy_names_its_function():
    made = {name: make for name, make in registry.STRATEGIES.items() if make}
    assert made == {"tpu": "distribution.tpu"}
    assert all(callable(registry.imported("training", make)) for make in made.values())


def test_a_row_of_a_tokenizer_names_its_class():
    for name, row in registry.TOKENIZERS.items():
        assert (text.TOKENIZERS[name].name, text.TOKENIZERS[name].__name__) == (name, row.kind)
        assert text.TOKENIZERS[name].__module__ == f"lm_keras.text.{row.module}"
    with pytest.raises(TypeError, match="a wordpiece tokenizer is not learnt from a text"):
        text.WordPieceTokenizer.train(["a b"], {})
