"""Runs with a tokenizer that was taken from elsewhere, and runs on words."""

import json
import shutil

import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.text import train_tokenizer
from lm_keras.training import run as training_run


@pytest.fixture(scope="module")
def begun(train):
    """A function that begins a run, or goes on with it, but ends where the network would be built."""

    def begin(config, path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training_run.Run, "__init__", lambda self, *args: None)
            patch.setattr(training_run.Run, "execute", lambda self: 0)
            return train(config, path)

    return begin


@pytest.fixture(scope="module")
def taken(finished, begun, tiny_config, tmp_path_factory):
    """A run with the tokenizer of another run, whose folder is gone now."""
    folder = tmp_path_factory.mktemp("taken")
    source, path = folder / "source", folder / "run"
    shutil.copytree(finished.path / "tokenizer", source / "tokenizer")
    config = tiny_config(tokenizer=str(source), steps=8)
    assert begun(config, path).code == 0
    shutil.rmtree(source)
    return path, config


def test_the_tokenizer_is_copied_and_recorded(taken, finished, contents_of):
    path, config = taken
    assert contents_of(path / "tokenizer") == contents_of(finished.path / "tokenizer")
    recorded = RunFolder(path).read_data()["tokenizer"]
    assert recorded == {"kind": "char", "fingerprint": RunFolder(path).tokenizer().fingerprint()}
    assert "tokenizer `char` with 30 tokens" in " ".join((path / "README.md").read_text().split())
    assert f"--tokenizer={config.data.tokenizer}" in (path / "flags.txt").read_text().splitlines()


def test_it_goes_on_without_the_folder(taken, begun, tmp_path):
    path, config = taken
    shutil.copytree(path, tmp_path / "run")
    more = from_flat({**config.flat(), "steps": 16})
    assert "the run now has 16 steps instead of 8" in begun(more, tmp_path / "run").err
    assert RunFolder(tmp_path / "run").read_data()["tokenizer"] == RunFolder(path).read_data()["tokenizer"]
    # Nor does it matter what stands there now; a new run asks for it.
    with pytest.raises(InputError, match=r"unknown tokenizer '.*/source'"):
        begun(config, tmp_path / "new")


def test_another_tokenizer_in_the_run_folder_is_refused(taken, train, tmp_path, contents_of):
    path, config = taken
    run = tmp_path / "run"
    shutil.copytree(path, run)
    file = run / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "characters": content["characters"][:-1] + "~"}))
    before = contents_of(run)
    with pytest.raises(InputError) as caught:
        train(from_flat({**config.flat(), "steps": 16}), run)
    assert (
        str(caught.value) == f"the tokenizer in {run}/tokenizer is not the one with which the run began; "
        "restore it from a copy, or begin a new run with another --run_dir"
    )
    assert contents_of(run) == before


def test_a_tokenizer_of_another_name_is_another_run(taken, train, tmp_path):
    path, config = taken
    with pytest.raises(InputError, match=r"other settings: --tokenizer: .*/source in the run, char now"):
        train(from_flat({**config.flat(), "tokenizer": "char"}), path)


@pytest.fixture(scope="module")
def of_words(train, tiny_config, tmp_path_factory):
    """A finished run on words, some of them `<unk>` in the text; the last line of the text has no
    line feed.
    """
    folder = tmp_path_factory.mktemp("words")
    line = "The old <unk> sees the dog .\nA dog likes the <unk> .\n\n"
    (folder / "text.txt").write_text(line * 60)
    (folder / "valid.txt").write_text((line * 7).rstrip("\n"))
    config = tiny_config(
        tokenizer="word",
        corpus=f"text:{folder}/text.txt",
        valid_corpus=f"text:{folder}/valid.txt",
        steps=40,
        eval_every=40,
    )
    assert train(config, folder / "run").code == 0
    return folder / "run"


def test_word_perplexity_is_perplexity(of_words):
    valid = RunFolder(of_words).results["splits"]["valid"]
    assert valid["unknown"] == 0
    assert valid["tokens"] == valid["words"] == 7 * (7 + 1 + 6 + 1 + 1) - 1
    assert valid["word_perplexity"] == valid["perplexity"] > 1
    assert valid["bits_per_byte"] > 0


def test_word_perplexity_is_null_when_words_are_lost(of_words, tmp_path):
    (tmp_path / "other.txt").write_text("The old cat sees the dog .\n")
    result = lm_keras.load(of_words).evaluate(corpus=f"text:{tmp_path}/other.txt")
    assert (result["unknown"], result["tokens"], result["words"]) == (1, 8, 8)
    assert result["word_perplexity"] is result["bits_per_byte"] is None
    assert result["perplexity"] > 1


def test_words_are_sampled_in_the_line_of_the_prompt(of_words):
    """The text is nearly deterministic, so the model knows what follows; but never writes `<unk>`."""
    lm = lm_keras.load(of_words)
    for prompt, glue in (("The old", " "), ("The old ", ""), ("The old\n", ""), ("", "")):
        (text,) = lm.generate([prompt], max_new_tokens=5, temperature=0)
        assert text.startswith(" ") == (glue == " ")
        assert not text.startswith("  ")
    texts = lm.generate(["The", ""], max_new_tokens=30, num_samples=9, seed=2)
    assert "<unk>" not in "".join(texts)
    assert "\n" in "".join(texts)
    assert (
        "".join(lm.stream("The old", max_new_tokens=9, seed=3))
        == lm.generate(["The old"], max_new_tokens=9, seed=3)[0]
    )
    assert lm.unknown_parts("The <unk> bird .") == ["bird"]
    assert lm.unknown_parts("ab ab x") == ["ab", "x"]


def test_blank_noise_reserves_a_token(train, small, begun, tiny_config, tmp_path, english):
    plain = train_tokenizer("word", [english], vocab_size=None, normalization="none")
    plain.save(tmp_path / "words")
    noisy = {"tokenizer": str(tmp_path / "words"), "token_noise": 0.3, "token_noise_kind": "blank"}
    assert train(tiny_config(**noisy, steps=4), tmp_path / "run").code == 0
    tokenizer = RunFolder(tmp_path / "run").tokenizer()
    assert tokenizer.fingerprint() == plain.with_mask().fingerprint() != plain.fingerprint()
    assert lm_keras.load(tmp_path / "run").logits([[tokenizer.mask_id]]).shape[2] == plain.vocab_size + 1
    assert "going on from step 4 of 8" in train(tiny_config(**noisy, steps=8), tmp_path / "run").err
    # With its weights a run may begin that has blank noise too, or none; not the other way round.
    origin = {"init_from": str(tmp_path / "run"), "steps": 4}
    for number, settings in enumerate((noisy, {**noisy, "token_noise": 0.0, "token_noise_kind": "unigram"})):
        begun(tiny_config(**settings, **origin), tmp_path / str(number))
        copied = RunFolder(tmp_path / str(number)).tokenizer()
        assert copied.fingerprint() == tokenizer.fingerprint()
    assert train(tiny_config(tokenizer="word", steps=1), tmp_path / "plain").code == 0
    with pytest.raises(InputError) as caught:
        begun(tiny_config(**{**noisy, **origin, "init_from": str(tmp_path / "plain")}), tmp_path / "new")
    assert str(caught.value).startswith(
        f"the weights of --init_from={tmp_path}/plain do not fit: --tokenizer={tmp_path}/words holds another"
        " tokenizer than that of the weights; --token_noise_kind=blank needs a token that says nothing, such"
        " as [MASK], and the tokenizer there has none."
    )
