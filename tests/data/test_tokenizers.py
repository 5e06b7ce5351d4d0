"""Where a tokenizer comes from: learnt, cached, or taken from a folder; and what is said of it."""

import json
import shutil

import pytest

from lm_keras.config import DataConfig
from lm_keras.data.preparation import prepare, save_tokenizer
from lm_keras.errors import InputError
from lm_keras.text import find_tokenizer, load_tokenizer, train_tokenizer

ENGLISH = "The quick brown fox waits for the dog.\nThe dog waits too.\n" * 6
GERMAN = "Der Fuchs läuft über die Straße.\nDie Füchse laufen auch.\n" * 6
CHINESE = "床前明月光,疑是地上霜。\n舉頭望明月,低頭思故鄉。\n" * 6
TEXTS = {"english": ENGLISH, "german": GERMAN, "chinese": CHINESE}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A function that writes texts, one file each, and returns the settings that read them; and what was
    said.
    """
    monkeypatch.chdir(tmp_path)

    def make(*texts, **given):
        for number, text in enumerate(texts):
            (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
        given = {"split": "100/0/0", "cache_dir": str(tmp_path / "cache"), **given}
        return DataConfig(corpus="text:[0-9].txt", **given)

    return make


@pytest.fixture
def saved(tmp_path):
    """A function that saves a tokenizer of a text to `taken` and returns it."""

    def save(name="char", text=ENGLISH, folder="taken", vocab_size=None, normalization="none", **more):
        tokenizer = train_tokenizer(name, [text], vocab_size=vocab_size, normalization=normalization, **more)
        tokenizer.save(tmp_path / folder)
        return tokenizer

    return save


def refusal(config):
    with pytest.raises(InputError) as caught:
        prepare(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("folder", ["taken", "run/tokenizer"])
@pytest.mark.parametrize("name", ["char", "byte", "word", "sentencepiece"])
def test_a_saved_tokenizer_is_taken(settings, saved, name, folder):
    size = 290 if name == "sentencepiece" else None
    tokenizer = saved(name, ENGLISH, folder, size, "nfkc")
    data = prepare(settings(ENGLISH, tokenizer=folder.split("/")[0]))
    assert data.tokenizer.fingerprint() == tokenizer.fingerprint()
    assert data.report["tokenizer"] == {"kind": name, "fingerprint": tokenizer.fingerprint()}
    assert data.splits["train"].tokens.tolist() == [0, *tokenizer.encode(ENGLISH)]


def test_a_folder_with_a_tokenizer_wins_over_the_one_below(saved, tmp_path):
    saved("char", ENGLISH, "both")
    saved("byte", ENGLISH, "both/tokenizer")
    assert find_tokenizer(str(tmp_path / "both")) == tmp_path / "both"


def test_a_kind_wins_over_a_folder_of_its_name(settings, saved):
    saved("byte", folder="char")
    assert prepare(settings(ENGLISH, tokenizer="char")).tokenizer.name == "char"
    assert prepare(settings(ENGLISH, tokenizer="./char")).tokenizer.name == "byte"
    assert prepare(settings(ENGLISH, tokenizer="char/")).tokenizer.name == "byte"


def test_settings_that_agree_are_allowed(settings, saved):
    saved("sentencepiece", ENGLISH, "taken", 283, "nfc", model_type="unigram", byte_fallback=True)
    given = {"vocab_size": 283, "normalize": "nfc", "sentencepiece_model": "unigram", "byte_fallback": True}
    assert prepare(settings(ENGLISH, tokenizer="taken", **given)).tokenizer.vocab_size == 283


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"vocab_size": 300}, "--vocab_size=300, but it has 283"),
        ({"normalize": "none"}, "--normalize=none, but it has nfc"),
        ({"sentencepiece_model": "bpe"}, "--sentencepiece_model=bpe, but it has unigram"),
        ({"byte_fallback": False}, "--byte_fallback=False, but it has True"),
        (
            {"normalize": "nfd", "vocab_size": 99},
            "--normalize=nfd, but it has nfc; --vocab_size=99, but it has 283",
        ),
    ],
)
def test_settings_that_contradict_are_refused(settings, saved, given, said):
    saved("sentencepiece", ENGLISH, "taken", 283, "nfc", model_type="unigram")
    names = [
        name for name in ("normalize", "sentencepiece_model", "byte_fallback", "vocab_size") if name in given
    ]
    assert refusal(settings(ENGLISH, tokenizer="taken", **given)) == (
        f"--tokenizer=taken brings its own settings: {said}; leave them out, and clear what a flagfile sets"
        " with " + " ".join(f"--{name}=" for name in names)
    )


def test_a_setting_of_another_kind_is_refused(settings, saved):
    saved("char")
    assert "--sentencepiece_model=bpe, but it has no such setting" in refusal(
        settings(ENGLISH, tokenizer="taken", sentencepiece_model="bpe")
    )


KINDS = "expected one of char, byte, word, sentencepiece, or a folder with a saved tokenizer or a model's"


def test_what_is_no_tokenizer(settings, tmp_path):
    assert (
        refusal(settings(ENGLISH, tokenizer="chra"))
        == f"unknown tokenizer 'chra' (did you mean 'char'?): {KINDS}"
    )
    assert refusal(settings(ENGLISH, tokenizer="runs/none")) == f"unknown tokenizer 'runs/none': {KINDS}"
    assert (
        refusal(settings(ENGLISH, tokenizer=""))
        == f"no tokenizer in '': {KINDS}, which has tokenizer.json, vocab.json and merges.txt, vocab.txt or"
        " tokenizer.model or, in a run's folder, tokenizer/tokenizer.json"
    )
    for name in ("empty", "file"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        (tmp_path / "file").write_text("x")
        assert refusal(settings(ENGLISH, tokenizer=name)).startswith(f"no tokenizer in '{name}': {KINDS}")


def test_a_damaged_one_is_refused_before_the_text_is_read(settings, saved, tmp_path):
    saved("word")
    path = tmp_path / "taken" / "tokenizer.json"
    path.write_text(path.read_text()[:-9])
    config = settings("", tokenizer="taken")  # an empty text would be an error of its own
    assert refusal(config).startswith("taken/tokenizer.json is damaged or no tokenizer: not valid JSON")


@pytest.mark.parametrize("name", ["char", "word"])
@pytest.mark.parametrize("language", TEXTS)
def test_text_that_a_taken_tokenizer_does_not_know(settings, saved, language, name):
    said = []
    tokenizer = saved(name, ENGLISH)
    data = prepare(settings(TEXTS[language], tokenizer="taken", split="60/40/0"), say=said.append)
    ids = tokenizer.encode(TEXTS[language])
    unknown = ids.count(tokenizer.unknown_id)
    assert sum(store.counts.unknown for store in data.splits.values()) == unknown
    lines = [line for line in said if "unknown" in line]
    if language == "english":
        assert (unknown, lines) == (0, [])
    else:
        counts = {name: store.counts for name, store in data.splits.items()}
        assert set(counts) == {"train", "valid"}
        assert lines == [
            f"{part.unknown} of {part.tokens} tokens ({part.unknown / part.tokens:.2%}) of the {name} text"
            " are unknown to the tokenizer: what they stand for is lost, so bits per byte are left out; byte"
            " and sentencepiece lose nothing"
            for name, part in counts.items()
        ]


def test_a_run_that_goes_on_needs_no_folder(settings, saved):
    tokenizer = saved()
    said = []
    config = settings(GERMAN, tokenizer="taken")
    shutil.rmtree("taken")
    assert prepare(config, tokenizer, said.append).tokenizer is tokenizer


@pytest.mark.parametrize("language", TEXTS)
def test_text_without_spaces_is_said_once_each_time(settings, language):
    config = settings(TEXTS[language], tokenizer="word", split="80/20/0")
    for _ in range(2):  # trained, and from the cache
        said = []
        data = prepare(config, say=said.append)
        warnings = [line for line in said if "without spaces" in line]
        assert len(warnings) == (language == "chinese")
    said = []
    prepare(config, data.tokenizer, said.append)
    assert not any("without spaces" in line for line in said)


def test_words_are_counted_as_the_benchmarks_do(settings):
    config = settings(" = Title = \n\n the <unk>  dog \n the dog", tokenizer="word")
    counts = prepare(config).splits["train"].counts
    said = "= Title =\n\nthe <unk> dog\nthe dog\n"
    assert counts.tokens == counts.words == 8 + 4
    assert (counts.bytes, counts.characters, counts.unknown) == (len(said), len(said), 0)
    small = prepare(settings(tokenizer="word", vocab_size=5)).splits["train"].counts
    assert small.unknown == 3  # Title, and twice `the`; of words as frequent `=` and `dog` come first
    # Two documents: the token between them is no word.
    counts = prepare(settings("the dog\n", "a cat", tokenizer="word")).splits["train"].counts
    assert (counts.tokens, counts.words, counts.documents) == (7, 6, 2)


def test_words_come_from_the_training_text_alone(settings):
    data = prepare(settings("old dog\n" * 9 + "new\n", tokenizer="word", split="80/20/0"))
    assert data.tokenizer.words == ["dog", "old"]
    assert data.splits["valid"].counts.unknown == 1


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("name", ["char", "byte", "word", "sentencepiece"])
def test_what_a_run_would_learn_is_saved(settings, tmp_path, name, language):
    given = {"vocab_size": 300} if name == "sentencepiece" else {}
    config = settings(TEXTS[language], tokenizer=name, split="80/20/0", normalize="nfc", **given)
    made = save_tokenizer(config, tmp_path / "out")
    data = prepare(config)
    tokenizer = load_tokenizer(tmp_path / "out")
    assert tokenizer.fingerprint() == data.tokenizer.fingerprint() == made["fingerprint"]
    counts = data.splits["train"].counts
    assert made == {
        "kind": name,
        "vocab_size": tokenizer.vocab_size,
        "tokens_per_byte": round(counts.tokens / counts.bytes, 4),
        "fingerprint": tokenizer.fingerprint(),
    }


def test_a_saved_tokenizer_is_never_overwritten(settings, tmp_path, contents_of):
    config = settings(ENGLISH, tokenizer="word")
    first = save_tokenizer(config, tmp_path / "out")
    before = contents_of(tmp_path / "out")
    assert save_tokenizer(config, tmp_path / "out") == first
    for other in (settings(ENGLISH, tokenizer="word", vocab_size=9), settings(ENGLISH, tokenizer="char")):
        with pytest.raises(InputError) as caught:
            save_tokenizer(other, tmp_path / "out")
        assert (
            str(caught.value)
            == f"{tmp_path}/out holds another tokenizer; choose another --output_dir, or delete that one"
        )
    assert contents_of(tmp_path / "out") == before
    shutil.copytree(tmp_path / "out", tmp_path / "run" / "tokenizer")
    with pytest.raises(
        InputError, match=r"run/tokenizer holds another tokenizer; choose another --output_dir"
    ):
        save_tokenizer(settings(ENGLISH, tokenizer="char"), tmp_path / "run")
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text())["tokenizer"] == "word"


def test_only_a_kind_can_be_trained(settings, saved):
    saved()
    for name, hint in (("taken", ""), ("bite", " (did you mean 'byte'?)")):
        with pytest.raises(InputError) as caught:
            save_tokenizer(settings(ENGLISH, tokenizer=name), "out")
        assert (
            str(caught.value)
            == f"--tokenizer={name}{hint} can't be trained; choose one of char, byte, word, sentencepiece"
        )
