"""What each family generates has the likelihood that an evaluation gives it, and is the same in a batch."""

import random

import pytest
from opt_in import others_slow

import lm_keras

FAMILIES = {
    "transformer": {"model": "transformer", "positions": "rotary", "num_heads": 2},
    "lstm": {"model": "lstm", "embedding_dim": 12, "hidden_units": 10},
    "gpt": {"model": "gpt", "num_heads": 2, "sequence_length": 32},
    "glm": {"model": "glm", "num_heads": 2, "sequence_length": 32},
}
SOURCES = ["ab", "c", "abcab", "ca", "bbbb", "acc"]


@pytest.fixture(scope="module", params=others_slow(FAMILIES, ["transformer", "lstm", "glm"]))
def lm(request, tmp_path_factory, tiny_config, train):
    """A model that has seen so little that its targets are anything, but short."""
    folder, pick = tmp_path_factory.mktemp(request.param), random.Random(5)
    for part, count in (("train", 150), ("valid", 20)):
        texts = ["".join(pick.choices("abc", k=pick.randint(1, 6))) for _ in range(count)]
        rows = [f"{text}\t{text[::-1][:3].replace('a', 'd')}\n" for text in texts]
        (folder / f"{part}.tsv").write_text("".join(rows))
    usual = {
        "tokenizer": "char", "sequence_length": 16, "batch_size": 8, "steps": 40, "eval_every": 40,
        "embedding_dim": 12, "learning_rate": 0.01, "eval_pairs": 0, "eval_beams": 1, "split": "100/0/0",
        "corpus": f"tsv:{folder}/train.tsv", "valid_corpus": f"tsv:{folder}/valid.tsv", "task": "seq2seq",
    }  # fmt: skip
    ended = train(tiny_config(**{**usual, **FAMILIES[request.param]}), folder / "run")
    assert ended.code == 0, ended.err
    return lm_keras.load(folder / "run")


def nats_of(lm, path, pairs):
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    found = lm.evaluate("pairs", f"tsv:{path}")
    return found["nats_per_token"] * found["tokens"]


def test_scores_are_likelihoods(lm, tmp_path):
    end = lm.task.end_id
    targets = [row[0] for row in lm.targets(SOURCES, num_beams=4, length_penalty=0.0, min_length_ratio=1.0)]
    whole = [(source, one) for source, one in zip(SOURCES, targets) if one.text and one.token_ids[-1] == end]
    assert len(whole) >= 3
    pairs = [(source, target.text) for source, target in whole]
    expected = -sum(target.score for _, target in whole)
    assert nats_of(lm, tmp_path / "pairs.tsv", pairs) == pytest.approx(expected, rel=1e-4)
    turned = [(source, target) for (source, _), (_, target) in zip(pairs, pairs[1:] + pairs[:1])]
    assert nats_of(lm, tmp_path / "turned.tsv", turned) != pytest.approx(expected, rel=1e-4)  # The control.


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_gives_what_its_sources_give_alone(lm, num_beams):
    together = lm.targets(SOURCES, num_beams=num_beams)
    for source, row in zip(SOURCES, together, strict=True):
        ((alone,),) = lm.targets([source], num_beams=num_beams)
        assert row[0].token_ids == alone.token_ids
        assert row[0].score == pytest.approx(alone.score, abs=1e-4)


def test_samples_belong_to_a_seed(lm):
    how = {"num_beams": 1, "temperature": 1.5, "num_samples": 3}
    first = lm.targets(SOURCES, seed=1, **how)
    again = lm.targets(SOURCES, seed=1, batch_size=2, **how)
    assert [[one.text for one in row] for row in again] == [[one.text for one in row] for row in first]
    assert lm.targets(SOURCES, seed=2, **how) != first
    assert all(len(row) == 3 for row in first)
