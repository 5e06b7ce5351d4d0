"""BERT and GLM from the command line and from Python: trained, filled, continued and scored as a
user would.
"""

import itertools
import json
import math

import numpy as np
import pytest

import lm_keras
from lm_keras import InputError
from lm_keras.sampling.network import DecodingNetwork
from lm_keras.tasks import task_of

SMALL = {"embedding_dim": 16, "num_heads": 2, "hidden_units": None, "sequence_length": 24,
    "tokenizer": "sentencepiece", "vocab_size": 100, "byte_fallback": False}  # fmt: skip


def run_of(family, tmp_path_factory, tiny_config, train, **settings):
    path = tmp_path_factory.mktemp("runs") / family
    assert train(tiny_config(model=family, **SMALL, **settings), path).code == 0
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory, tiny_config, train):
    """A finished run, with a document a line."""
    return run_of("bert", tmp_path_factory, tiny_config, train, whole_words=True)


@pytest.fixture(scope="module")
def glm(tmp_path_factory, tiny_config, train):
    """A finished run."""
    return run_of("glm", tmp_path_factory, tiny_config, train)


def test_a_bert_lists_the_likeliest_words(bert, script):
    text = "The [MASK] cat [MASK]"
    found = lm_keras.load(bert).fill(text, 3)
    assert "[MASK]" not in found.text and " cat" in found.text
    assert [
        [p for _, p in words] == sorted((p for _, p in words), reverse=True) for words in found.words
    ] == [True] * 2
    listed = [", ".join(f"{word!r} {p:.3f}" for word, p in words) for words in found.words]
    ended = script("sample.py", f"--run_dir={bert}", f"--prompt={text}", "--top_logprobs=3")
    assert ended.code == 0 and ended.err.splitlines()[-1].startswith("2 masks in ")
    assert ended.out == f"{found.text}\n1. {listed[0]}\n2. {listed[1]}\n"
    ended = script("sample.py", f"--run_dir={bert}", f"--prompt={text}", "--json")
    written = json.loads(ended.out)
    assert written["text"] == found.text and [len(blank) for blank in written["blanks"]] == [5, 5]


@pytest.mark.parametrize("prompt", ["", "The cat"])
def test_a_bert_continues_no_text_and_says_so(bert, script, prompt):
    ended = script("sample.py", f"--run_dir={bert}", f"--prompt={prompt}")
    assert ended.code == 1 and len(ended.err.splitlines()) == 1 and "[MASK]" in ended.err


@pytest.mark.parametrize("run", ["bert", "finished"])
def test_what_is_neither_a_gpt_nor_a_glm_compiles_no_tokens(run, request, script):
    run = request.getfixturevalue(run)
    ended = script("sample.py", f"--run_dir={getattr(run, 'path', run)}", "--prompt=The [MASK]", "--jit=on")
    assert ended.code == 1 and len(ended.err.splitlines()) == 1
    assert "--jit=on (jit=True) is for --model=gpt or glm, whose work for a token it compiles" in ended.err


@pytest.mark.parametrize("text", ["The [MASK] cat [MASK]", "The cat"])
def test_a_compiled_glm_writes_what_it_writes(glm, script, text, monkeypatch):
    asked, compiles = [], DecodingNetwork.compiles
    monkeypatch.setattr(
        DecodingNetwork, "compiles", lambda self, rows: asked.append(compiles(self, rows)) or asked[-1]
    )
    words = [f"--run_dir={glm}", f"--prompt={text}", "--max_new_tokens=9", "--nostream"]
    plain, compiled = (script("sample.py", *words, f"--jit={jit}") for jit in ("off", "on"))
    assert plain.code == compiled.code == 0 and plain.out == compiled.out
    assert set(asked) == {False, True}


def test_a_glm_reads_8_bit_weights(glm, script):
    """In text, filled blanks and scores; what would do nothing is refused."""
    plain, int8 = (
        json.loads(script("evaluate.py", f"--run_dir={glm}", "--json", f"--weights={weights}").out)
        for weights in ("float32", "int8")
    )
    assert 0 < abs(plain["nats_per_token"] - int8["nats_per_token"]) < 0.01
    lm = lm_keras.load(glm, weights="int8")
    for text in ("The [MASK] cat", "The cat"):
        words = [f"--run_dir={glm}", f"--prompt={text}", "--max_new_tokens=9", "--nostream", "--weights=int8"]
        found = script("sample.py", *words)
        (again,) = lm.generate([text], max_new_tokens=9, temperature=1.0)
        assert found.code == 0 and found.out.startswith(again if "[MASK]" in text else text + again)
        assert "does not know" not in found.err


def test_a_bert_is_scored_by_what_it_hides(bert, script):
    found = json.loads(script("evaluate.py", f"--run_dir={bert}", "--split=valid", "--json").out)
    assert found["hidden"] == pytest.approx(0.15, abs=0.05)
    assert found["bits_per_byte"] is None and "pseudo_perplexity" not in found


def test_a_pseudo_log_likelihood_is_that_of_masking_each_token(bert, script, tmp_path):
    text = "The old cat.\n"  # As many tokens as one row takes, so that all others are seen.
    (tmp_path / "a.txt").write_text(text)
    ended = script(
        "evaluate.py", f"--run_dir={bert}", f"--corpus=text:{tmp_path}/a.txt", "--pseudo", "--json"
    )
    found, (scored,) = json.loads(ended.out), lm_keras.load(bert).score([text])
    assert scored["pseudo"] and scored["tokens"] <= 22
    assert found["pseudo_nats_per_token"] == pytest.approx(scored["nats"] / scored["tokens"])
    assert found["pseudo_perplexity"] == pytest.approx(math.exp(found["pseudo_nats_per_token"]))
    assert found["pseudo_bits_per_byte"] == pytest.approx(scored["nats"] / math.log(2) / len(text))


def test_a_text_of_several_documents_is_read_as_in_training(bert, script, tmp_path):
    texts = [f"The {animal} sat." for animal in ("cat", "dog", "old cat", "old dog", "dog")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ended = script(
        "evaluate.py", f"--run_dir={bert}", f"--corpus=text:{tmp_path}/a.jsonl", "--pseudo", "--json"
    )
    found, lm = json.loads(ended.out), lm_keras.load(bert)
    eod, ids = lm.tokenizer.eod_id, [lm.tokenizer.encode(text) for text in texts]
    masking = task_of(lm.config, 0, lm.tokenizer).masking
    store = np.array([token for one in ids for token in (eod, *one)])
    rows = [store[1:][a:b] for a, b in itertools.pairwise(masking.begins(store, 22).tolist())]
    total = 0.0
    assert any(row[-1] == eod for row in rows) and any(eod in row[:-1] for row in rows)
    for row in rows:
        around = [eod, *row.tolist(), *([eod] if row[-1] != eod else [])]
        for place in np.flatnonzero(row != eod) + 1:
            hidden = np.array([around])
            hidden[0, place] = lm.tokenizer.mask_id
            logits = lm.logits(hidden)[0, place]
            total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[around[place]]
    assert found["pseudo_nats_per_token"] == pytest.approx(total / sum(map(len, ids)), rel=1e-5)


def test_only_a_bert_has_a_pseudo_likelihood(glm, script):
    ended = script("evaluate.py", f"--run_dir={glm}", "--pseudo")
    assert (
        ended.code == 1
        and ended.err.splitlines()[-1]
        == "error: --task=infilling has a likelihood of its own: the pseudo-log-likelihood is for"
        " --task=masked_lm, which has none"
    )


def test_the_hidden_states_of_a_bert(bert):
    lm = lm_keras.load(bert)
    ids = [[lm.tokenizer.begin_id, *lm.tokenizer.encode("The cat."), lm.tokenizer.eod_id]]
    first = lm.features(ids)
    assert first.shape == (1, len(ids[0]), 16)
    second = lm.features(ids, segments=np.ones_like(ids))
    assert np.abs(first - second).max() > 1e-3
    with pytest.raises(InputError, match="segments has the shape"):
        lm.features(ids, segments=[[0]])


def test_a_glm_fills_several_blanks_and_continues(glm, script):
    text = "The [MASK] cat [MASK] on"
    ended = script(
        "sample.py", f"--run_dir={glm}", f"--prompt={text}", "--temperature=0", "--max_new_tokens=4"
    )
    filled, *words = ended.out.splitlines()
    assert ended.code == 0 and len(words) >= 2 and "[MASK]" not in filled
    lm = lm_keras.load(glm)
    assert ended.out.startswith(lm.fill(text, temperature=0.0, max_new_tokens=4).text)
    ended = script("sample.py", f"--run_dir={glm}", "--prompt=The cat", "--seed=3", "--max_new_tokens=6")
    assert ended.out == "The cat" + lm.generate(["The cat"], seed=3, max_new_tokens=6)[0] + "\n"
    assert ended.err.splitlines()[-1].startswith("6 tokens in ")


def test_a_glm_is_scored_as_one_that_continues(glm, script):
    ended = script("evaluate.py", f"--run_dir={glm}", "--split=valid", "--stride=8", "--json")
    found = json.loads(ended.out)
    assert found["stride"] == 8 and found["bits_per_byte"] > 0
    counts = json.loads((glm / "data.json").read_text())["splits"]["valid"]
    assert found["tokens"] == counts["tokens"]


def test_a_model_that_sees_too_little_fills_no_blanks_of_words(glm, script):
    ended = script("evaluate.py", f"--run_dir={glm}", "--blanks=5")
    assert (
        ended.code == 1
        and ended.err.splitlines()[-1]
        == "error: split 'valid' has no line with several words in which one could be a cloze item, or the 24"
        " tokens that the model sees are too few for one"
    )
