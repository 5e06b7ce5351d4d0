"""Data sets that the library itself prepares in a temporary folder: their splits, features, order
and errors.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lm_keras.config import DataConfig
from lm_keras.corpora import TfdsSplit, describe, make_splits, open_corpus, tfds_builders
from lm_keras.corpora.tfds_features import string_features
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LM_KERAS_DATA", "/nonexistent"))
SENTENCES = ("The old bird sees line {}.\n", "Grüße aus Köln, Zeile {}.\n", "月光照在第{}行。\n")
COUNTS = {"train": 97, "validation": 13, "test": 11}
PAIR = tfds.features.Translation(["de", "en"])


def text_of(split, number):
    """English, German and Chinese in turn, each different."""
    return SENTENCES[number % 3].format(f"{split} {number}") * (1 + number % 5)


def example_of(split, number):
    """An example with more in it than its text."""
    return {
        "text": text_of(split, number),
        "raw": b"",
        "number": number,
        "words": ["two", "words"],
        "pair": {"de": f"grün {number}", "en": f"green {number}"},
        "picture": np.zeros((2, 3, 3), np.uint8),
    }


FEATURES = tfds.features.FeaturesDict(
    {
        "text": tfds.features.Text(),
        "raw": tfds.features.Tensor(shape=(), dtype=np.str_),
        "number": np.int64,
        "words": tfds.features.Sequence(tfds.features.Text()),
        "pair": PAIR,
        "picture": tfds.features.Image(shape=(2, 3, 3)),
    }
)


def store(folder, name, splits, features=FEATURES, num_shards=1, **settings):
    """Let the library prepare examples, in their order, and forget the builder."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.2.3",
            data_dir=folder,
            features=features,
            split_datasets={split: list(enumerate(examples)) for split, examples in splits.items()},
            disable_shuffling=True,
            download_config=tfds.download.DownloadConfig(num_shards=num_shards),
            **settings,
        )


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """A folder of data sets that no test changes."""
    folder = tmp_path_factory.mktemp("data_sets")
    splits = {
        split: [example_of(split, number) for number in range(count)] for split, count in COUNTS.items()
    }
    store(folder, "sentences", splits, config="mixed", citation="@misc{me,\n  title={Sentences}\n}")
    only = [{"line": text_of("only", number)} for number in range(61)]
    store(
        folder, "only_train", {"train": only}, tfds.features.FeaturesDict({"line": tfds.features.Text()}),
        num_shards=3,
    )  # fmt: skip
    pairs = [{"de": f"grün {number}", "en": f"green {number}"} for number in range(7)]
    store(folder, "pairs", {"de_train": pairs, "de_rest": pairs[:3]}, PAIR)
    return folder


@pytest.fixture(autouse=True)
def data_dir(shared_folder, monkeypatch):
    """A function that says where data sets are kept; the library reads TFDS_DATA_DIR only while it is
    imported.
    """

    def use(folder):
        monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(folder))
        return folder

    use(shared_folder)
    return use


def opened(rest, text_field="text", on_bad_text="error", **settings) -> TfdsSplit:
    return open_corpus(f"tfds:{rest}", text_field=text_field, on_bad_text=on_bad_text, **settings)


def texts(corpus):
    return ["".join(document.pieces()) for document in corpus.documents()]


def error(rest, **settings):
    """Read a corpus to the end and return the text of the error that it must raise."""
    with pytest.raises(InputError) as caught:
        texts(opened(rest, **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def expected(split):
    return [text_of(split, number) for number in range(COUNTS[split])]


# What is read


def test_an_example_is_a_document(capfd):
    corpus = opened("sentences")
    assert corpus.spec == "tfds:sentences/mixed:1.2.3:train"
    assert texts(corpus) == expected("train")
    assert [document.source for document in corpus.documents()][96] == f"{corpus.spec} example 96"
    assert corpus.citation == "@misc{me,\n  title={Sentences}\n}"
    assert corpus.licence is None
    assert corpus.report() == {}
    assert capfd.readouterr() == ("", "")


def test_the_spec_that_is_recorded_names_the_same_text():
    corpus = opened("sentences:test[2:9]")
    assert texts(opened(corpus.spec.removeprefix("tfds:"))) == expected("test")[2:9]


def test_provenance_is_over_the_documents():
    digests = [hashlib.sha256(text.encode()).digest() for text in expected("validation")]
    described = describe(opened("sentences", part="valid"))
    assert described.sha256 == hashlib.sha256(b"".join(digests)).hexdigest()
    assert (described.documents, described.spec) == (13, "tfds:sentences/mixed:1.2.3:validation")
    assert described.bytes == sum(len(text.encode()) for text in expected("validation"))
    assert describe(opened("sentences:validation[:12]")).sha256 != described.sha256


@pytest.mark.parametrize(("part", "split"), [("train", "train"), ("valid", "validation"), ("test", "test")])
def test_the_part_chooses_a_split_where_none_is_named(part, split):
    assert texts(opened("sentences", part=part)) == expected(split)
    assert texts(opened("sentences/mixed:test", part=part)) == expected("test")


def test_slices_are_those_of_the_library():
    train, test = expected("train"), expected("test")
    assert texts(opened("sentences:train[:10%]")) == train[:10]
    assert texts(opened("sentences:test[-3:]+train[5:7]")) == test[-3:] + train[5:7]
    assert len(texts(opened("sentences:1.2.3:all"))) == sum(COUNTS.values())


def settings_of(tmp_path, **settings):
    settings = {"corpus": "tfds:sentences", "tokenizer": "char", "cache_dir": str(tmp_path), **settings}
    return DataConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "documents"),
    [
        ({}, [97, 13, 11]),
        ({"split": "100/0/0"}, [97, 13, 11]),
        ({"corpus": "tfds:sentences:train[:40]"}, [40, 13, 11]),
        ({"valid_corpus": "tfds:sentences"}, [97, 13, 11]),
        ({"valid_corpus": "tfds:sentences:train[90:]"}, [97, 7, 11]),
        ({"test_corpus": "tfds:only_train:train[:5]", "text_field": "line"}, None),
        ({"corpus": "tfds:sentences:test"}, [11, 13, None]),
        ({"corpus": "tfds:sentences:train+validation"}, [104, 6, 11]),
        ({"corpus": "tfds:sentences:all"}, [109, 6, 6]),
        ({"corpus": "tfds:only_train"}, [55, 3, 3]),
    ],
)
def test_own_splits_are_used_unless_others_are_given(tmp_path, settings, documents):
    config = settings_of(tmp_path, **settings)
    if documents is None:  # One name for the text holds for all corpora of a run.
        with pytest.raises(InputError, match="no string feature 'line'"):
            prepare(config)
        return
    report = prepare(config).report["splits"]
    assert [report.get(name, {}).get("documents") for name in ("train", "valid", "test")] == documents


@pytest.mark.parametrize("corpus", ["sentences", "sentences:train[:50]", "sentences:all", "sentences:test"])
def test_no_document_is_in_two_splits(corpus):
    first = opened(corpus)
    held_out = first.held_out()
    splits = make_splits(first, held_out.get("valid"), held_out.get("test"))
    seen = [text for split in splits.values() for text in texts(split)]
    assert len(seen) == len(set(seen)) > 20


def test_only_one_split_is_the_training_text_whatever_its_name(tmp_path, data_dir):
    store(data_dir(tmp_path), "odd", {"everything": [example_of("odd", number) for number in range(30)]})
    assert texts(opened("odd")) == [text_of("odd", number) for number in range(30)]
    assert opened("odd").held_out() == {}
    assert "has no valid split of its own: expected one of its splits everything" in error(
        "odd", part="valid"
    )


# Which feature


def test_string_features_are_those_with_one_string_an_example():
    features = tfds.features.FeaturesDict(
        {**dict(FEATURES.items()), "many": tfds.features.Dataset({"text": tfds.features.Text()}),
         "two": tfds.features.Tensor(shape=(2,), dtype=np.str_)}
    )  # fmt: skip
    assert list(string_features(features)) == ["pair/de", "pair/en", "raw", "text"]
    assert string_features(tfds.features.Text()) == {}


def test_nested_features_have_a_slash():
    assert texts(opened("sentences:test", text_field="pair/de")) == [f"grün {number}" for number in range(11)]
    assert texts(opened("pairs:de_train", text_field="en"))[6] == "green 6"


def test_text_means_the_only_string_and_says_so():
    said = []
    corpus = opened("only_train", say=said.append)
    assert texts(corpus) == [text_of("only", number) for number in range(61)]
    assert said == ["the text is the feature 'line', the only string in tfds:only_train:1.2.3"]
    assert texts(opened("only_train", text_field="line", say=said.append)) == texts(corpus)
    assert len(said) == 1


def test_wrong_feature():
    there = "its string features are 'pair/de', 'pair/en', 'raw', 'text'; name the one with the text with"
    start = "tfds:sentences/mixed:1.2.3: no string feature"
    assert (
        error("sentences", text_field="txt") == f"{start} 'txt' (did you mean 'text'?): {there} --text_field"
    )
    assert error("sentences", text_field="words").startswith(f"{start} 'words'")
    assert "'lime' (did you mean 'line'?): its string features are 'line';" in error(
        "only_train", text_field="lime"
    )
    assert "no string feature 'text': its string features are 'de', 'en';" in error("pairs:de_train")


# Pairs


def sides(corpus):
    return [(document.pair.source, *document.pair.targets) for document in corpus.documents()]


BOTH = ("source", "target")


def test_features_of_a_translation_are_a_pair():
    corpus = opened("pairs:de_train", fields=BOTH, source_field="en", target_field="de")
    assert sides(corpus) == [(f"green {number}", f"grün {number}") for number in range(7)]
    corpus = opened("sentences:test", fields=BOTH, source_field="pair/de", target_field="pair/en")
    assert sides(corpus)[10] == ("grün 10", "green 10")
    assert sides(corpus.held_out()["valid"])[12] == ("grün 12", "green 12")


def test_the_direction_that_a_data_set_says_of_itself(monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetInfo, "supervised_keys", ("de", "en"))
    said = []
    corpus = opened("pairs:de_rest", fields=BOTH, say=said.append)
    assert sides(corpus)[2] == ("grün 2", "green 2")
    assert [line.partition(", as")[0] for line in said] == [
        "the source is the feature 'de'", "the target is the feature 'en'",
    ]  # fmt: skip


def test_sides_that_are_not_there():
    said = error("pairs:de_train", fields=BOTH, source_field="de")
    assert "no string feature 'target'" in said and said.endswith("with --target_field")
    said = error("pairs:de_train", fields=BOTH, source_field="de", target_field="de")
    assert "the source and the target are both 'de'" in said
    said = error("sentences:test", fields=BOTH, source_field="raw", target_field="text")
    assert "example 0: the source is empty" in said


# In which order


def test_the_order_is_that_of_the_files_with_any_number_of_readers(monkeypatch):
    corpus, read_config = opened("only_train"), tfds.ReadConfig
    assert len(list(Path(corpus._builder.data_dir).glob("*train*-of-00003"))) == 3

    def read(**forced):
        monkeypatch.setattr(tfds, "ReadConfig", lambda **settings: read_config(**{**settings, **forced}))
        return texts(corpus)

    first = read()
    assert read() == first == [text_of("only", number) for number in range(61)]
    for readers in (1, 7):
        assert read(num_parallel_calls_for_decode=readers, num_parallel_calls_for_interleave_files=1) == first
    # The control: several files are read in turn if the library is not told otherwise.
    mixed = read(interleave_cycle_length=3, interleave_block_length=2, enable_ordering_guard=False)
    assert mixed != first
    assert sorted(mixed) == sorted(first)


def test_reading_is_a_stream(monkeypatch):
    """The first document comes when one batch of four is read, and with it only the feature that
    is needed.
    """
    original, taken = tfds.as_numpy, []

    def as_numpy(batches):
        for batch in original(batches):
            taken.append(list(batch))
            yield batch

    monkeypatch.setattr(tfds, "as_numpy", as_numpy)
    documents = opened("sentences").documents()
    assert next(documents).source.endswith("example 0")
    assert taken == [["text"]]
    assert len(list(documents)) == 96
    assert taken == [["text"]] * 4


# Bad text

BAD = [b"good\n", b"one\nbad \xff\nthree", b"", b"\0", b" \n", b"\xef\xbb\xbfmark"]


@pytest.fixture
def bad(tmp_path, data_dir):
    """A data set with bytes that are no text."""
    store(data_dir(tmp_path), "bad", {"train": [{**example_of("bad", 0), "raw": content} for content in BAD]})


def test_bad_text_by_policy(bad):
    assert (
        error("bad", text_field="raw")
        == "tfds:bad:1.2.3:train example 1: bad UTF-8 (byte 0xFF) at byte 8, line 2: expected UTF-8 text; "
        "fix the file, or pass --on_bad_text=replace or --on_bad_text=skip"
    )
    replaced = opened("bad", text_field="raw", on_bad_text="replace")
    skipped = opened("bad", text_field="raw", on_bad_text="skip")
    for _ in range(2):  # reading again does not count again
        assert texts(replaced) == ["good\n", "one\nbad \ufffd\nthree", "\ufffd", "mark"]
        assert replaced.report() == {"replaced_sequences": 2, "empty_documents": 2}
        assert texts(skipped) == ["good\n", "one\nthree", "mark"]
        assert skipped.report() == {"skipped_lines": 2, "skipped_documents": 1, "empty_documents": 2}


def test_nothing_but_empty_examples():
    with pytest.raises(InputError, match=r"the corpus tfds:sentences/mixed:1.2.3:train has no text"):
        describe(opened("sentences", text_field="raw"))


def test_unknown_policy():
    assert error("sentences", on_bad_text="replcae").startswith("unknown on_bad_text 'replcae'")


# Bad names


def test_what_is_no_name():
    expected_name = (
        "expected tfds:NAME[/CONFIG][:VERSION][:SPLIT], such as tfds:tiny_shakespeare or tfds:wiki40b/de:test"
    )
    for rest in ("", "sentences:", "a b", "sentences/", "huggingface/a/b"):
        assert error(rest) == f"tfds:{rest} is not the name of a data set: {expected_name}"


def test_unknown_name(shared_folder):
    end = (
        "expected one of the catalogue of TensorFlow Datasets, or one that is prepared in "
        f"{shared_folder} (another folder: set TFDS_DATA_DIR)"
    )
    assert (
        error("tiny_shakespear")
        == f"unknown data set tfds:tiny_shakespear (did you mean 'tiny_shakespeare'?): {end}"
    )
    assert error("only_trian") == f"unknown data set tfds:only_trian (did you mean 'only_train'?): {end}"
    for name in (
        "ptb",
        "penn_treebank",
        "wikitext",
        "multi30k",
        "bookcorpus",
    ):  # like others, but none of them
        assert error(name) == f"unknown data set tfds:{name}: {end}"


def test_unknown_configuration_and_version(shared_folder):
    assert (
        error("sentences/mixd")
        == "tfds:sentences has no configuration 'mixd' (did you mean 'mixed'?): expected mixed"
    )
    assert (
        error("only_train/mixed")
        == "tfds:only_train has no configuration 'mixed': it has none, expected tfds:only_train"
    )
    assert error("wiki40b/dee").startswith(
        "tfds:wiki40b has no configuration 'dee' (did you mean 'de'?): expected en,"
    )
    assert (
        error("sentences:2.0.0")
        == "cannot open tfds:sentences:2.0.0 (no such version): expected one that is prepared in"
        f" {shared_folder}, which holds tfds:sentences/mixed:1.2.3; a damaged one can be deleted and"
        " prepared again"
    )
    assert "lm1b:9.9.9 (Dataset lm1b cannot be loaded at version 9.9.9, only: 1.1.0.)" in error("lm1b:9.9.9")


@pytest.mark.parametrize("split", ["trian", "trian[:10%]"])
def test_wrong_split(split):
    assert (
        error(f"sentences:{split}")
        == f"tfds:sentences/mixed:1.2.3 has no split {split!r} (did you mean 'train'?): expected one of test,"
        " train, validation, or slices of them such as train[:10%] or train[10:20]+test"
    )


@pytest.mark.parametrize("split", ["train[:x]", "train[:5", "train[:500%]", "train+", "train[5]"])
def test_wrong_slice(split):
    text = error(f"sentences:{split}")
    assert f"has no split {split!r}" in text
    assert "or slices of them such as train[:10%] or train[10:20]+test" in text


@pytest.mark.parametrize("split", ["train[:0]", "train[50:10]", "train[97:]"])
def test_empty_slice(split):
    assert (
        error(f"sentences:{split}")
        == f"tfds:sentences/mixed:1.2.3:{split} holds no example: expected at least one; take a larger slice"
    )


def test_no_training_split():
    assert (
        error("pairs", text_field="de")
        == "tfds:pairs:1.2.3 has no train split of its own: expected one of its splits de_rest, de_train;"
        " name it after a colon, tfds:pairs:SPLIT"
    )


# Damage


@pytest.fixture
def own(shared_folder, tmp_path, data_dir):
    """The folder of a data set for a test of its own, and its only training file."""
    shutil.copytree(shared_folder / "sentences", tmp_path / "sentences")
    data_dir(tmp_path)
    folder = tmp_path / "sentences" / "mixed" / "1.2.3"
    (file,) = folder.glob("*-train.*")
    return folder, file


def cut_at_a_record(content):
    """Drop the last record of a file: 8 bytes of length, 4 of checksum, the content, 4 of checksum."""
    start = end = 0
    while end < len(content):
        start, end = end, end + 16 + int.from_bytes(content[end : end + 8], "little")
    return content[:start]


DAMAGES = {
    "a flipped bit in the first length": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "a flipped bit in the middle": lambda content: (
        content[:5000] + bytes([content[5000] ^ 16]) + content[5001:]
    ),
    "a flipped bit at the end": lambda content: content[:-1] + bytes([content[-1] ^ 128]),
    "cut in a record": lambda content: content[:-7],
    "cut at a record": cut_at_a_record,
    "a record twice": lambda content: content + content[len(cut_at_a_record(content)) :],
    "no content": lambda content: b"",
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_records(own, damage):
    folder, file = own
    assert texts(opened("sentences")) == expected("train")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    text = error("sentences")
    assert text.startswith("tfds:sentences/mixed:1.2.3:train cannot be read (")
    assert text.endswith(
        f"): expected the files as they were prepared; restore {folder}, or delete it to have it prepared"
        " again"
    )
    assert len(text) < 500


def test_missing_records(own):
    _, file = own
    file.unlink()
    assert "No such file or directory" in error("sentences")
    assert texts(opened("sentences:test")) == expected("test")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [None, "", "{", "{}"])
def test_damaged_descriptions(own, name, content):
    folder, _ = own
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    assert "sentences" in error("sentences")


def test_a_feature_whose_class_is_a_module_of_somebody(own, tmp_path, monkeypatch):
    """The library would import what a file names; here only its own modules are."""
    folder, _ = own
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "somebodys.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    content = (folder / "features.json").read_text()
    own_class = "tensorflow_datasets.core.features.text_feature.Text"
    assert own_class in content
    (folder / "features.json").write_text(content.replace(own_class, "somebodys.Text"))
    assert error("sentences").startswith(
        "cannot open tfds:sentences (it has a feature of the class somebodys.Text, which is not of the"
        " library): expected one"
    )
    assert not (tmp_path / "ran").exists()
    # The control: the library itself imports it.
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector"):
        tfds.builder("sentences")
    assert (tmp_path / "ran").exists()


# Preparing


class LmKerasNumbers(tfds.core.GeneratorBasedBuilder):
    """A data set with a class that is prepared without a network."""

    VERSION = tfds.core.Version("3.1.4")

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, license="Free\n  for all")

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(23), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"text": f"number {number}\n"}


def test_prepared_once_with_one_line(tmp_path, data_dir, capfd):
    data_dir(tmp_path)
    said = []
    corpus = opened("lm_keras_numbers", say=said.append)
    assert said == [
        f"downloading and preparing the data set lm_keras_numbers:3.1.4 in {tmp_path}/lm_keras_numbers/3.1.4;"
        " this happens once"
    ]
    assert sorted(texts(corpus)) == sorted(f"number {number}\n" for number in range(23))
    assert (corpus.licence, list(corpus.held_out())) == ("Free for all", ["test"])
    again = opened("lm_keras_numbers", say=said.append)
    assert len(said) == 1
    assert texts(again) == texts(corpus)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def no_network(monkeypatch):
    """Send every connection to a closed port of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def test_not_prepared_and_no_network(tmp_path, data_dir, no_network, capfd):
    data_dir(tmp_path)
    started = time.monotonic()
    assert (
        error("tiny_shakespeare")
        == f"tfds:tiny_shakespeare:1.0.0 is not in {tmp_path}/tiny_shakespeare/1.0.0 and cannot be prepared"
        " here: no connection to raw.githubusercontent.com; prepare it where that works"
        " (tensorflow_datasets.load('tiny_shakespeare')) and copy it here, or set TFDS_DATA_DIR to the"
        f" folder that holds it; {tmp_path} holds nothing of it"
    )
    assert time.monotonic() - started < 40  # It takes 3 s, and with the library's number of retries 205.
    assert capfd.readouterr() == ("", "")
    from tensorflow_datasets.core.download import downloader

    assert downloader.MAX_RETRIES > tfds_builders.DOWNLOAD_RETRIES


def test_beam_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert "cannot be prepared here: it needs the package apache-beam, which is not installed;" in error(
        "wiki40b/de"
    )


def test_files_that_have_to_be_fetched_by_hand():
    assert "cannot be prepared here: Manual directory" in error("newsroom")


def test_a_folder_that_cannot_be_written(tmp_path, data_dir):
    (tmp_path / "file").write_text("")
    data_dir(tmp_path / "file")
    assert f"cannot be prepared here: [Errno 20] Not a directory: '{tmp_path}/file" in error(
        "lm_keras_numbers"
    )


# Classes


REVIEWS = tfds.features.FeaturesDict(
    {
        "review": tfds.features.Text(),
        "mood": tfds.features.ClassLabel(names=["negative", "positive"]),
    }
)
LABELLED = ("text", "label")


def reviews(folder, test=((1, 0),)):
    """A data set of reviews with classes; those of its test split may be secret."""
    splits = {
        "train": [{"review": f"review {n}", "mood": n % 2} for n in range(9)],
        "test": [{"review": f"test {number}", "mood": mood} for number, mood in test],
    }
    store(folder, "reviews", splits, REVIEWS)


def labels_of(corpus):
    return [document.label for document in corpus.documents()]


def test_classes_are_labels_by_name(tmp_path, data_dir):
    reviews(data_dir(tmp_path))
    said = []
    corpus = opened("reviews", fields=LABELLED, say=said.append)
    assert labels_of(corpus) == ["negative", "positive"] * 4 + ["negative"]
    assert said[-1] == "the label is the feature 'mood', the only class in tfds:reviews:1.2.3"
    assert labels_of(corpus.held_out()["test"]) == ["negative"]
    assert labels_of(opened("reviews", fields=LABELLED, label_field="mood")) == labels_of(corpus)
    assert labels_of(opened("reviews")) == [None] * 9
    config = settings_of(tmp_path, corpus="tfds:reviews")
    data = prepare(config, fields=LABELLED)
    assert data.labels.names == ("negative", "positive") and data.labels.counts[0] >= 3
    assert data.splits["test"].columns["label"].tolist() == [0]


def test_a_test_split_whose_labels_are_secret_is_left_out(tmp_path, data_dir):
    reviews(data_dir(tmp_path), test=[(0, -1), (1, -1)])
    corpus = opened("reviews", fields=LABELLED)
    assert corpus.held_out() == {} and corpus.remarks() == [
        "tfds:reviews:1.2.3:test has no labels, and is left out"
    ]
    with pytest.raises(InputError, match=r"reviews:1.2.3:test example 0: no label \(it is -1\)"):
        labels_of(opened("reviews:test", fields=LABELLED))


def test_no_such_class(tmp_path, data_dir):
    reviews(data_dir(tmp_path))
    with pytest.raises(
        InputError, match=r"no class 'mod' .did you mean 'mood'.*its features with classes are 'mood'"
    ):
        opened("reviews", fields=LABELLED, label_field="mod")
    with pytest.raises(InputError, match="its records have no words, or tags"):
        opened("reviews", fields=("words", "tags"))


def test_without_a_class(shared_folder):
    with pytest.raises(InputError, match="no class 'label': its features with classes are none"):
        opened("sentences", fields=LABELLED)


@pytest.mark.skipif(not DATA.is_dir(), reason="LM_KERAS_DATA names no folder with the data sets")
def test_the_library_s_own_tiny_shakespeare(tmp_path, data_dir, monkeypatch):
    """Its own code prepares it, from a file where it would download one."""
    path = DATA / "tinyshakespeare" / "input.txt"
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, url: str(path))
    data_dir(tmp_path)
    whole = path.read_text(encoding="utf-8")
    parts = {name: texts(opened("tiny_shakespeare", part=name)) for name in ("train", "valid", "test")}
    assert [len(part) for part in parts.values()] == [1, 1, 1]
    assert "".join(part[0] for part in parts.values()) == whole
    assert len(parts["train"][0]) == 1_003_854


# From the command line


def test_import_stays_cheap():
    names = "tensorflow", "keras", "tensorflow_datasets"
    code = f"import sys, lm_keras.corpora; print([name for name in {names} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


def test_a_run_from_the_command_line(shared_folder, tmp_path, start, script):
    words = [
        "--corpus=tfds:sentences", f"--run_dir={tmp_path}/run",
        "--tokenizer=char", "--embedding_dim=7", "--hidden_units=13", "--sequence_length=11",
        "--batch_size=6",
        "--steps=9", "--steps_per_call=3", "--eval_every=9",
    ]  # fmt: skip
    process = start("train.py", *words, TFDS_DATA_DIR=str(shared_folder))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.splitlines()[0].split() == ["split", "tokens", "loss", "perplexity", "bits/byte"]
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["valid", "test"]
    lines = err.splitlines()
    assert lines[0].startswith("devices: ")
    assert lines[1] == "reading tfds:sentences/mixed:1.2.3:train"
    assert lines[2].startswith(("training a char tokenizer", "tokenizing train"))
    recorded = json.loads((tmp_path / "run" / "data.json").read_text())["splits"]
    assert {name: values["corpus"] for name, values in recorded.items()} == {
        "train": "tfds:sentences/mixed:1.2.3:train",
        "valid": "tfds:sentences/mixed:1.2.3:validation",
        "test": "tfds:sentences/mixed:1.2.3:test",
    }
    card = (tmp_path / "run" / "README.md").read_text()
    assert card.count("title={Sentences}") == 1
    # The same text is scored the same by another name.
    scored = [
        script("evaluate.py", f"--run_dir={tmp_path}/run", "--json", "--split=test", *options)
        for options in ([], ["--corpus=tfds:sentences"])
    ]
    assert [ended.code for ended in scored] == [0, 0], scored
    results = [json.loads(ended.out.splitlines()[-1]) for ended in scored]
    assert len({result["nats_per_token"] for result in results}) == 1
    assert results[0]["tokens"] == recorded["test"]["tokens"]
