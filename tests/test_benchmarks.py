"""scripts/benchmark.py: the step and the sampler beside their peers, and the page that is made of it."""

import dataclasses
import importlib
import importlib.util
import itertools
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import dispatch, graph_flops, running, trainers
from benchmarks.candidates import embeddings as embedding_candidates
from benchmarks.candidates import loss as loss_candidates
from benchmarks.candidates import ours as our_candidates
from benchmarks.candidates import profile
from benchmarks.commands import decode, embeddings, guards, loss, page, race, sample, scores, train
from lm_keras import schedules
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.training import machine

ROOT = Path(__file__).parents[1]
TINY = {"vocab_size": 11, "embedding_dim": 4, "hidden_units": 6, "sequence_length": 5, "batch_size": 4}
FLAGS = [f"--{name}={value}" for name, value in TINY.items()]


def test_training_beside_keras_and_what_is_not_compiled(script):
    flags = [*FLAGS, "--peer=keras_fit,jit_off", "--repeats=2", "--seconds=0.05"]
    ended = script("benchmark.py", "train", *flags)
    assert (ended.code, ended.err) == (0, "")
    ours, peer, plain = map(json.loads, ended.out.splitlines())
    names = [result["candidate"] for result in (ours, peer, plain)]
    assert names == ["lm_keras", "keras_fit", "jit_off"]
    parameters = 11 * 4 + 24 * (4 + 6 + 1) + 11 * 7
    assert ours["parameters"] == peer["parameters"] == plain["parameters"] == parameters
    assert ours["jit"] == "parts" and "compiled by XLA" in ours["profile"]
    assert ours["tokens_per_second"] == pytest.approx(20 / ours["milliseconds_per_step"] * 1000, rel=0.02)
    assert 0 < ours["share_of_products"] < 10  # Of so small a step it says little, beside other work nothing.
    assert ours["products"].keys() == {
        *("[20, 4] x [4, 24]", "[20, 24] x [24, 4]", "[4, 20] x [20, 24]"),
        *("[4, 6] x [6, 24]", "[4, 24] x [24, 6]", "[6, 20] x [20, 24]"),
        *("[20, 6] x [6, 11]", "[20, 11] x [11, 6]", "[6, 20] x [20, 11]"),
    }
    assert ours["products"]["[4, 6] x [6, 24]"].startswith("5 x ")
    assert "times_faster" not in ours and peer["times_faster"] > 0


def test_what_is_not_compiled_has_every_network_of_ours():
    config = from_flat({**TINY, "tie_embeddings": True})
    running.check(["jit_off"], config)
    with pytest.raises(InputError, match="--tie_embeddings=True: --peer=keras_fit has no such network"):
        running.check(["keras_fit"], config)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_sampling_beside_torch(script):
    ended = script("benchmark.py", "sample", *FLAGS, "--peer=torch", "--repeats=1")
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [(result["candidate"], result["rows"]) for result in results] == [
        ("lm_keras", 1), ("torch", 1), ("lm_keras", 32), ("torch", 32),
    ]  # fmt: skip
    ended = script("benchmark.py", "train", *FLAGS, "--peer=torch", "--repeats=1", "--seconds=0.05")
    ours, peer = map(json.loads, ended.out.splitlines())
    assert peer["parameters"] - ours["parameters"] == 24  # PyTorch's LSTM has a second bias.


SMALL_GPT = {
    "model": "gpt", "vocab_size": 11, "embedding_dim": 8, "num_heads": 2, "num_layers": 2,
    "sequence_length": 5, "batch_size": 4,
}  # fmt: skip
GPT_FLAGS = [f"--{name}={value}" for name, value in SMALL_GPT.items()]


class InThisProcess(running.Running):
    """A candidate without a process of its own, which would import TensorFlow first."""

    def __init__(self, name, config):
        module, _, made = running.CLASSES[name].rpartition(".")
        self.name, self._candidate = name, getattr(importlib.import_module(module), made)(config)

    def call(self, method, *arguments):
        value = getattr(self._candidate, method)
        return value(*arguments) if callable(value) else value

    def stop(self):
        pass


def test_decoding_as_a_text_grows(monkeypatch):
    for name, value in {"LENGTHS": (3, 9), "OTHER_LENGTHS": (5,), "TOKENS": 4}.items():
        monkeypatch.setattr(decode, name, value)
    with pytest.raises(
        InputError, match="--sequence_length=5: texts of 13 tokens are measured; make it as long"
    ):
        next(decode.decode(from_flat({**SMALL_GPT, "precision": "float32"}), 1))
    settings = {**SMALL_GPT, "precision": "float32", "sequence_length": 13}
    *tokens, first = decode.decode(from_flat(settings), 1)
    assert [result["tokens_before"] for result in (*tokens, first)] == [3, 9, 5]
    assert all("milliseconds" in result for result in tokens) and first["first_token_milliseconds"] > 0


def test_the_profile_divides_the_clock():
    operations = [(0.0, 4.0, "a"), (1.0, 3.0, "b"), (2.0, 3.0, "b"), (6.0, 7.0, "a"), (6.5, 6.5, "c")]
    found = profile.divided(operations)
    # 0-1 a; 1-2 a, b; 2-3 a and b twice; 3-4 a; 4-6 nothing; 6-7 a.
    expected = {"a": 1 + 0.5 + 1 / 3 + 1 + 1, "b": 0.5 + 2 / 3, profile.IDLE: 2.0}
    assert {name: value for name, value in found.items() if value} == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(7.0)


def test_kinds_of_operations():
    kinds = map(
        profile._kind,
        [
            "while/MatMul_3:_MklMatMul",
            "a/b:Tanh",
            "CpuExecutable::ExecuteAsync",
            "ExecutorState::Process",
            "x",
        ],
    )
    assert list(kinds) == [profile.PRODUCTS, "Tanh", profile.COMPILED, None, None]


TAGGING = ["--task=tagging", "--model=lstm", "--bidirectional", "--embedding_dim=8", "--hidden_units=8",
    "--sequence_length=16", "--tokenizer=byte", "--epochs=1"]  # fmt: skip


def test_what_crf_refuses(script, tmp_path):
    """Settings of another kind in any case; a small text where PyTorch is installed."""
    for flags in (["--task=classification"], TAGGING[:-1], [*TAGGING[:2], "--epochs=1"]):
        ended = script("benchmark.py", "crf", *flags)
        assert ended.code == 1 and "as in configs/wnut17.flags" in ended.err.splitlines()[-1]
    (tmp_path / "few.conll").write_text("Ann B-name\nran O\n\n" * 9)
    corpora = [f"--{part}corpus=conll:{tmp_path}/few.conll" for part in ("", "valid_", "test_")]
    ended = script("benchmark.py", "crf", *TAGGING, *corpora)
    assert ended.code == 1 and ended.err.splitlines()[-1].startswith("error: crf needs ")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_crf_equals_the_sum_over_all_tags():
    """Its loss and its best tags are those of a search through all sequences; with another one it is not."""
    import torch

    from benchmarks.candidates.torch_tagger import IMPOSSIBLE, NO_TAG, Tagger

    names = ("B-x", "I-x", "B-y", "O")
    config = from_flat({"model": "lstm", "task": "tagging", "bidirectional": True, "hidden_units": 4})
    tagger = Tagger(config, 5, names, True)
    torch.manual_seed(1)
    for weight in (tagger.transitions, tagger.first, tagger.last):
        torch.nn.init.normal_(weight)
    scores, tags = torch.randn(2, 4, 4), torch.tensor([[0, 1, 3, 2], [3, 2, NO_TAG, NO_TAG]])

    def score(row, path):
        found = tagger.first[path[0]] + tagger.may_begin[path[0]] + tagger.last[path[-1]]
        found = found + sum(row[word, tag] for word, tag in enumerate(path))
        follow = tagger.transitions + tagger.allowed
        return found + sum(follow[pair] for pair in itertools.pairwise(path))

    nats = 0.0
    for row, known in zip(scores, tags):
        known = known[known != NO_TAG].tolist()
        paths = list(itertools.product(range(4), repeat=len(known)))
        all_scores = torch.stack([score(row, path) for path in paths])
        nats += torch.logsumexp(all_scores, 0) - score(row, known)
        best = tagger.best(row[: len(known)])
        assert best == [*paths[int(all_scores.argmax())]] and all_scores.max() > IMPOSSIBLE / 2
    assert float(tagger.loss_of(scores, tags)) == pytest.approx(float(nats / 6), rel=1e-5)
    tagger.crf = False
    assert float(tagger.loss_of(scores, tags)) != pytest.approx(float(nats / 6), rel=0.05)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_gpt_beside_torch(script):
    ended = script(
        "benchmark.py",
        "train",
        *GPT_FLAGS,
        "--peer=torch,torch_bfloat16, torch",
        "--repeats=1",
        "--seconds=0.05",
    )
    ours, eager, short = map(json.loads, ended.out.splitlines())
    assert (eager["candidate"], short["candidate"]) == ("torch", "torch_bfloat16")
    assert ours["parameters"] == eager["parameters"] == short["parameters"]
    assert (eager["precision"], short["precision"]) == ("float32", "bfloat16")
    assert ours["products"]["8 x [5, 4] x [4, 5]"].startswith(
        "4 x "
    )  # Scores, and the gradient of the weights.
    assert eager["limit"] > 0 and 0 <= ours["data_wait_share"] < 1


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_sampling_beside_transformers(script):
    ended = script(
        "benchmark.py", "sample", *GPT_FLAGS, "--context_length=96", "--peer=transformers", "--repeats=1"
    )
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [(result["candidate"], result["rows"]) for result in results] == [
        ("lm_keras", 1), ("transformers", 1), ("lm_keras", 8), ("transformers", 8),
    ]  # fmt: skip
    assert min(results[0]["gigabytes_per_second"], results[0]["gigabytes_per_second_of_a_core"]) > 1
    assert 0 <= results[0]["share_of_reading"] < 1 and results[0]["milliseconds_of_compiled_products"] > 0


def test_sampling_with_short_weights_beside_ours(script, monkeypatch):
    monkeypatch.setattr(sample, "SHAPE_WITH_CACHE", ((1, 2), 4, 6))
    monkeypatch.setattr(sample, "Running", InThisProcess)
    monkeypatch.setattr(our_candidates, "READ_BYTES", 2**24)
    flags = [*GPT_FLAGS, "--context_length=10", "--precision=float32", "--repeats=1"]
    ended = script("benchmark.py", "sample", *flags, "--peer=compiled_bfloat16,int8")
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [result["candidate"] for result in results] == ["lm_keras", "compiled_bfloat16", "int8"] * 2
    assert all(result["milliseconds_per_token"] > 0 for result in results)
    products = [result["milliseconds_of_compiled_products"] for result in results]
    assert all(found > 0 or "int8" in one["candidate"] for found, one in zip(products, results))  # It rounds.
    assert ["milliseconds_of_products_alone" in result for result in results] == [True, True, False] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", *FLAGS, "--peer=keras"],
            "--peer=keras is unknown for --model=lstm; expected jit_off or keras_fit or torch, several",
        ),
        (
            ["train", *FLAGS, "--peer=keras_fit", "--model=ngram"],
            "--peer=keras_fit is unknown for --model=ngram; expected none",
        ),
        (
            ["train", *FLAGS, "--peer=keras_fit", "--tie_embeddings"],
            "--tie_embeddings=True: --peer=keras_fit has",
        ),
        (["train"], "--vocab_size is missing"),
        (
            ["sample", *FLAGS, "--peer=keras_fit"],
            "--peer=keras_fit is unknown for sampling with --model=lstm; expected torch",
        ),
        (["loss"], "--vocab_size is missing"),
        (["page", "--sections=race"], "--corpus=python-docs: the race is one on tinyshakespeare"),
        (["page", "--sections=speed"], "--sections: 'speed' is unknown; expected some of train, sample"),
        (["rain"], "'rain' is unknown (did you mean 'train'?)"),
    ],
)
def test_what_cannot_be_measured(script, words, message):
    ended = script("benchmark.py", *words)
    assert ended.code == 1
    assert ended.err.startswith(f"error: {message}") and ended.err.count("\n") == 1


def test_the_precision_is_settled_before_anything_is_built(script, monkeypatch):
    """configs/quickstart.flags, which the script's own example takes, leaves it to the machine."""
    called = []
    monkeypatch.setattr(train, "train", lambda config, *_: called.append(config.learning.precision) or ())
    for fast, precision in (({"bfloat16"}, "mixed_bfloat16"), (set(), "float32")):
        monkeypatch.setattr(machine, "fast_types", lambda on_gpu, fast=fast: fast)
        assert script("benchmark.py", "train", f"--flagfile={ROOT}/configs/quickstart.flags").code == 0
        assert called.pop() == precision


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("family", ["bert", "glm"])
def test_bert_and_glm_in_torch_are_as_large_and_predict_as_much(family):
    import torch

    from benchmarks.candidates import torch_peer
    from lm_keras.models import NUM_PARAMETERS
    from lm_keras.tasks import task_of

    settings = {**SMALL_GPT, "model": family, "vocab_size": 40, "sequence_length": 20, "batch_size": 3}
    config = from_flat(settings)
    peer, task = torch_peer.TransformerCandidate(config), task_of(config, 40)
    assert peer.parameters == NUM_PARAMETERS[family](config, task.network_vocab_size)
    batch = peer._network.batch(3, 20, "cpu")
    assert batch[-1].shape == (3, task.predictions(20))
    with torch.no_grad():
        loss = float(peer._network(*batch))
    assert abs(loss - np.log(40)) < 1.5
    steps, seconds = peer.train(0.05)
    assert steps > 0 and seconds > 0


def test_torch_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match="--peer=torch needs PyTorch, which is not installed: pip install torch"
    ):
        running.check(["torch"], from_flat(TINY))


def test_a_process_that_fails_says_why():
    with pytest.raises(InputError, match="lm_keras failed: TypeError"):
        running.Running("lm_keras", from_flat({**TINY, "vocab_size": None}))


def test_the_products_of_a_step_have_its_flops():
    for settings in (TINY, {**TINY, "model": "ngram", "ngram_order": 3}, {**TINY, "num_layers": 2}):
        trainer = trainers.trainer_of(from_flat({**settings, "steps": 3}))
        listed = [
            p
            for part in trainer.model.products(4, 5).values()
            for product in part
            for p in (product, *product.backward())
        ]
        assert sum(product.flops for product in listed) == graph_flops.counted_flops(trainer)["products"]


@pytest.mark.parametrize("form", [loss_candidates.CompiledLoss, loss_candidates.PlainLoss])
def test_all_forms_of_the_loss_have_the_same_gradients(form):
    config = from_flat(TINY)
    both = loss_candidates.LossInPieces(config), form(config)
    pairs = [each._gradients(each._features, each._matrix, each._bias) for each in both]
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-5)


@pytest.fixture
def own_run(script, monkeypatch, tmp_path):
    """Let a race train ours within this process, and begin where PyTorch is not asked for."""

    def execute(line, **_):
        code, out, err = script("train.py", *line[2:])
        return subprocess.CompletedProcess(line, code, out, err)

    monkeypatch.setattr(race.subprocess, "run", execute)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)


def test_a_race_trains_both_in_turn(own_run, tiny_config, monkeypatch):
    taken = iter([(3.0, 2.5), (5.0, 2.0)])
    monkeypatch.setattr(race, "_theirs", lambda config: next(taken))
    ours, theirs = race.race(tiny_config(steps=6, eval_every=6, jit="off"), 2, ROOT)
    assert (ours["candidate"], theirs["candidate"]) == ("lm_keras", "torch_gpt")
    assert 0 < ours["training_seconds"] < 30 and 0 < ours["nats_per_token"] < 4
    assert (theirs["training_seconds"], theirs["middle_half"]) == (4.0, "3.5 to 4.5")
    assert (theirs["nats_per_token"], theirs["worst_nats_per_token"]) == (2.25, 2.5)
    assert theirs["times_faster"] == pytest.approx(4 / ours["training_seconds"], rel=0.5)
    monkeypatch.setattr(race, "_theirs", lambda config: (3.0, 2.5))
    with pytest.raises(InputError, match=r"^no file /nowhere: "):
        list(race.race(tiny_config(steps=6, corpus="text:/nowhere"), 1, ROOT))
    with pytest.raises(InputError, match=r"^--split=100/0/0: a race needs a validation text; take 90/10/0$"):
        list(race.race(tiny_config(steps=6, split="100/0/0"), 1, ROOT))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_peer_of_a_race_learns(tiny_config, monkeypatch):
    from benchmarks.candidates import torch_gpt

    monkeypatch.setattr(torch_gpt, "STEPS", 60)
    monkeypatch.setattr(torch_gpt, "WARMUP", 5)
    peer = torch_gpt.TorchGPTCandidate(tiny_config(split="90/10/0"))
    vocab_size = peer._network.tokens.weight.shape[0]
    assert peer.parameters == (vocab_size + 64) * 128 + 4 * (12 * 128**2 + 2 * 128) + 128
    before = peer.evaluate()
    assert before == pytest.approx(math.log(vocab_size), rel=0.05)
    assert peer.run() > 0
    assert peer.evaluate() < 0.8 * before
    # What is scored is every target of whole windows once, whatever the rows of a piece.
    text = peer._text["valid"]
    count = (len(text) - 1) // 64
    each = [
        peer._network(text[k * 64 : k * 64 + 64][None], text[k * 64 + 1 : k * 64 + 65][None]).item()
        for k in range(count)
    ]
    assert peer.evaluate() == pytest.approx(sum(each) / count, rel=1e-5)
    # No token sees a later one.
    changed = text[:65].clone()
    changed[40:] = 1
    rows = text[None, :64], changed[None, :64]
    seen = [
        peer._network.blocks(peer._network.tokens(each) + peer._network.positions.weight) for each in rows
    ]
    assert bool((seen[0][0, :40] == seen[1][0, :40]).all()) and not bool(
        (seen[0][0, 40:] == seen[1][0, 40:]).all()
    )


def test_a_race_without_torch(tiny_config, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="race needs PyTorch, which is not installed: pip install torch"):
        list(race.race(tiny_config(), 1, ROOT))


def test_the_guard_is_measured_beside_a_step_without(monkeypatch):
    monkeypatch.setattr(guards, "SHAPES", {"tiny": TINY})
    (found,) = guards.guards(repeats=8)
    low, high = map(float, found["confidence"].split(" to "))
    assert low <= found["ratio"] <= high and found["milliseconds_without"] > 0


def test_the_page_is_what_was_measured():
    """Nobody writes a figure into docs/results/performance.md by hand."""
    kept = json.loads((ROOT / "docs" / "results" / "performance.json").read_text())
    assert "\n".join(page._page(kept)) + "\n" == (ROOT / "docs" / "results" / "performance.md").read_text()
    sections = [section for section in page.TITLES if section in kept]  # A new one may not be measured yet.
    assert len(sections) >= 7
    for section in sections:
        for measured in kept[section]:
            assert measured["results"]
            assert measured["command"].split()[0] in (
                "train",
                "sample",
                "race",
                "loss",
                "guards",
                "decode",
                "embeddings",
            )


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim is not installed")
def test_word_embeddings_beside_gensim(script, shared_corpus, monkeypatch):
    monkeypatch.setattr(embeddings, "METHODS", ("skipgram",))
    flags = [f"--corpus=text:{shared_corpus}", "--embedding_dim=7", "--repeats=1", "--seconds=0.05"]
    ended = script("benchmark.py", "embeddings", "--peer=gensim", *flags)
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [(result["candidate"], result["method"]) for result in results] == [
        ("lm_keras", "skipgram"),
        ("gensim", "skipgram"),
    ]
    assert len({result["vectors"] for result in results}) == 1
    assert all(result["words_per_second"] > 0 for result in results)


def test_word_embeddings_without_gensim(script, shared_corpus, monkeypatch):
    flags = [f"--corpus=text:{shared_corpus}", "--embedding_dim=7", "--repeats=1", "--seconds=0.05"]
    ours = embedding_candidates.SkipGram(from_flat({"corpus": f"text:{shared_corpus}", "embedding_dim": 7}))
    words, seconds, of_cores = ours.train(0.05)
    assert words > len(shared_corpus.read_text().split()) / 20 and seconds >= 0.05 and of_cores > 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    ended = script("benchmark.py", "embeddings", "--peer=gensim", *flags)
    assert ended.err == "error: --peer=gensim needs gensim, which is not installed: pip install gensim\n"
    ended = script("benchmark.py", "embeddings", "--peer=torch", *flags)
    assert ended.err == "error: --peer=torch is unknown for word embeddings; expected gensim\n"


def test_peers_of_answers(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for peer, line in (
        (
            "cyllama",
            "--peer=cyllama is unknown for answers; expected some of jit, int8, transformers, llama_cpp",
        ),
        ("llama_cpp", "--peer=llama_cpp needs cyllama, which is not installed: pip install cyllama"),
    ):
        with pytest.raises(InputError, match=line):
            dispatch._check_peers_of_answers([peer])


@pytest.mark.parametrize("peer", ["", "torch_pairs"])
def test_pairs(script, tmp_path, peer):
    if peer and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    lines = [f"{' '.join(str(n))}\t{str(n)[::-1]}\n" for n in range(1_000, 1_200)]
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(lines))
    flags = [
        "--task=seq2seq", "--model=transformer", "--positions=sinusoidal", "--embedding_dim=8",
        "--num_heads=2", "--tokenizer=char", "--sequence_length=32", "--batch_size=4", "--header=yes",
        f"--corpus=tsv:{tmp_path}/pairs.tsv", "--repeats=1", "--seconds=0.05",
    ]  # fmt: skip
    ended = script("benchmark.py", "pairs", *flags, *([f"--peer={peer}"] if peer else []))
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [result["candidate"] for result in results] == ["pairs", *filter(None, [peer])], ended.err
    assert len({result["parameters"] for result in results}) == 1
    assert all(result["cpu_seconds_per_1000_tokens"] > 0 for result in results)
    assert results[0]["ours_over_theirs"] == 1
    ended = script("benchmark.py", "pairs", *flags, "--post_norm", "--peer=torch_pairs")
    assert "--post_norm=True: --peer=torch_pairs has no such network" in ended.err


PAIRS = (
    "--task=seq2seq", "--model=transformer", "--positions=sinusoidal", "--embedding_dim=8", "--num_heads=2",
    "--tokenizer=char", "--sequence_length=16", "--batch_size=4", "--header=yes", "--steps=2",
)  # fmt: skip


def test_translation(script, tmp_path):
    lines = [f"{' '.join(str(n))}\t{str(n)[::-1]}\n" for n in range(100, 200)]
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "".join(lines))
    flags = [*PAIRS, f"--corpus=tsv:{tmp_path}/pairs.tsv", "--repeats=1"]
    refused = {
        "--precision=mixed_float16": "--precision=mixed_float16",
        "--post_norm": "--post_norm=True: --peer=torch_pairs has no such network",
        "--split=90/10/0": "--split=90/10/0: expected a test text",
    }
    if importlib.util.find_spec("torch") is None:
        ended = script("benchmark.py", "translation", *flags)
        assert ended.code == 1 and ended.err.splitlines()[-1].startswith("error: translation needs PyTorch")
        return
    for flag, line in refused.items():
        assert line in script("benchmark.py", "translation", *flags, flag).err.splitlines()[-1]
    ended = script("benchmark.py", "translation", *flags)
    ours, theirs = map(json.loads, ended.out.splitlines())
    assert ours["steps"] == 2 <= theirs["steps"] and ours["training_seconds"] == theirs["training_seconds"]
    assert all(0 <= result[name] <= 100 for result in (ours, theirs) for name in ("bleu", "chrf"))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_search_in_torch_finds_the_likeliest_target(tmp_path):
    """With as many beams as there are targets it is the best of all; with one beam not of every network."""
    import torch

    from benchmarks.candidates.torch_translator import Candidate

    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "ab\tb\nb\ta\naa\tab\n" * 20)
    flat = {flag[2:].partition("=")[0]: flag.partition("=")[2] for flag in PAIRS}
    numbers = {name: int(value) for name, value in flat.items() if value.isdigit()}
    config = from_flat(
        {**flat, **numbers, "sequence_length": 8, "corpus": f"tsv:{tmp_path}/pairs.tsv", "split": "100/0/0"}
    )
    found = set()
    for seed in range(4):
        batches = dataclasses.replace(config.batches, seed=seed)
        candidate = Candidate(dataclasses.replace(config, batches=batches))
        network, tokenizer = candidate._network.eval(), candidate._pairs.tokenizer
        for weight in network.parameters():
            weight.data.mul_(3)
        ids = [n for n in range(tokenizer.vocab_size) if n != tokenizer.eod_id]
        targets = [[*own] for size in range(7) for own in itertools.product(ids, repeat=size)]
        source = torch.tensor([[*tokenizer.encode("ab"), tokenizer.eod_id]])
        there, values = torch.ones_like(source, dtype=torch.bool), []
        with torch.no_grad():
            memory = network.encode(source, there)
            for target in targets:
                inputs = torch.tensor([[tokenizer.begin_id, *target]])
                nats = torch.log_softmax(network.decode(memory, there, inputs)[0], -1)
                whole = sum(float(nats[n, token]) for n, token in enumerate([*target, tokenizer.eod_id]))
                values.append(whole / ((5 + len(target) + 1) / 6) ** 1.5)
        best = tokenizer.decode(targets[int(np.argmax(values))])
        assert candidate.translate(["ab"], len(ids) ** 6, 1.5) == [best]
        found.add(candidate.translate(["ab"], 1, 1.5) == [best])
    assert found == {True, False}
    candidate.run(0.2, 10)
    (rate,) = {group["lr"] for group in candidate._optimizer.param_groups}
    schedule = schedules.build("cosine", 10)
    assert rate / config.learning.learning_rate in [schedule(step) for step in range(5, 10)]


def test_every_command_of_the_page_can_be_read(script, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    called = []
    for module, name in ((train, "train"), (sample, "sample"), (loss, "loss")):
        monkeypatch.setattr(module, name, lambda config, *_: called.append(config) or ())
    monkeypatch.setattr(race, "race", lambda config, *_: called.append(config) or ())
    monkeypatch.setattr(decode, "decode", lambda config, *_: called.append(config) or ())
    monkeypatch.setattr(embeddings, "embeddings", lambda config, *_: called.append(config) or ())
    monkeypatch.setattr(guards, "guards", lambda repeats: called.append(from_flat(TINY)) or ())
    for section in page.TITLES:
        for command in page.commands(section):
            assert script("benchmark.py", *command).code == 0, command
    assert len(called) == sum(len(page.commands(section)) for section in page.TITLES)
    assert {config.data.vocab_size for config in called} >= {65, 1_000, 10_000, 50_000, 100_000}


def finished_run(path, seed, accuracy, best=None, **settings):
    """Write what `scores` reads of a run."""
    folder = RunFolder(path)
    path.mkdir()
    folder.write_json("config.json", from_flat({"seed": seed, **settings}).flat())
    splits = {"test": {"accuracy": accuracy, "macro_f1": 0.1}}
    results = {"step": 40, "splits": splits, "seconds": 10.0 * seed}
    if best is not None:
        results["best"] = {"step": 20, "splits": {"test": {"accuracy": best, "macro_f1": 0.1}}}
    folder.write_results(results)
    return str(path)


def test_scores_of_runs_that_differ_in_their_seed(tmp_path):
    runs = [
        finished_run(tmp_path / "a", 1, 0.5, 0.75),
        finished_run(tmp_path / "b", 2, 0.625),
        finished_run(tmp_path / "c", 3, 0.25, 0.5),
    ]
    (found,) = scores.scores(runs, "test")
    assert (found["measure"], found["seeds"], found["steps"]) == ("accuracy", 3, 40)
    assert (found["mean"], found["range"]) == (0.625, "0.5000 to 0.7500")
    assert found["mean_of_last_weights"] == round((0.5 + 0.625 + 0.25) / 3, 4)
    assert found["training_seconds"] == "10 to 30"


def test_runs_that_cannot_be_compared(tmp_path):
    first = finished_run(tmp_path / "a", 1, 0.5)
    other = finished_run(tmp_path / "b", 2, 0.5, learning_rate=0.5)
    with pytest.raises(InputError, match="differ in more than their seed"):
        list(scores.scores([first, other], "test"))
    with pytest.raises(InputError, match="has no valid text"):
        list(scores.scores([first], "valid"))
    (tmp_path / "b" / "results.json").unlink()
    with pytest.raises(InputError, match="is not finished"):
        list(scores.scores([other], "test"))
    with pytest.raises(InputError, match="--runs= names no run"):
        list(scores.scores([], "test"))
