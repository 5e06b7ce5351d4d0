"""`--task=chat --init_from` a folder of another project."""

import json

import folders_of_models as models
import numpy as np

import lm_keras
from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.copying import names_of
from lm_keras.config import from_flat
from lm_keras.conversations.template import CHATML


def test_a_model_without_a_template_gets_chatml_and_two_tokens(tiny_config, train, tmp_path):
    """The rows of its own tokens come over, in the embedding and in the output."""
    folder = models.write(tmp_path / "model", "llama", config={"max_position_embeddings": 64})
    chats = tmp_path / "chats.jsonl"
    with chats.open("w") as file:
        for number in range(24):
            messages = [{"role": "user", "content": f"A{number}"}, {"role": "assistant", "content": "B"}]
            file.write(json.dumps({"messages": messages}) + "\n")
    imported = exchange.read(folder)
    settings = {**tiny_config().flat(), **imported.settings, "task": "chat", "corpus": f"jsonl:{chats}"}
    settings |= {"init_from": str(folder), "tokenizer": str(folder), "sequence_length": 32, "steps": 1}
    settings |= {"learning_rate": 1e-9, "eval_answers": 0, "batch_size": 2, "split": "100/0/0"}
    ended = train(from_flat(settings), tmp_path / "run")
    assert ended.code == 0 and "2 added tokens are new" in ended.err and "of the head" not in ended.err
    tuned, there = lm_keras.load(tmp_path / "run"), names_of(imported.build())
    assert tuned.tokenizer.chat_template == CHATML and tuned.tokenizer.vocab_size == models.V + 2
    for name, variable in names_of(tuned.model).items():
        same = tuple(map(slice, there[name].shape))
        np.testing.assert_allclose(variable.numpy()[same], there[name].numpy(), atol=1e-6)
