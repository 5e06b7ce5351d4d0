"""The task chat: what is read and predicted of conversations, and that nothing else is learnt.

T 64, R 2 rows; bytes and two special tokens.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from conversations_in_memory import END, START, TOKENIZER, ids, said, stored

from lm_keras.config import from_flat
from lm_keras.conversations.messages import Message
from lm_keras.corpora.documents import Document
from lm_keras.data.conversations import LEARNT, ConversationEncoder, with_template
from lm_keras.data.pipeline import training_batches
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.evaluation.answers import answers_for, shuffled_questions
from lm_keras.models import FAMILIES
from lm_keras.objectives.losses import next_token_loss
from lm_keras.sampling.continuation import Continuation
from lm_keras.tasks import task_of
from lm_keras.text import load_tokenizer, train_tokenizer

V, T = TOKENIZER.vocab_size, 64
CHATS = [
    said("a", "bc"), said("d", "e", "f", "gh"), said("i", "xy", system="j"), said("kl", "m"), said("no", "p"),
    said("q", "r", "s", "t"), said("u", "vwxyz"),
]  # fmt: skip
LEARNT_TEXTS = [["bc]"], ["e]", "gh]"], ["xy]"], ["m]"], ["p]"], ["r]", "t]"], ["vwxyz]"]]
FAMILY = {
    "gpt": {"model": "gpt", "positions": "rotary", "num_heads": 2, "embedding_dim": 8, "hidden_units": 12},
    "lstm": {"model": "lstm", "embedding_dim": 6, "hidden_units": 10},
}
every_family = pytest.mark.parametrize("family", FAMILY)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """An evaluation scores 3 rows at a time, which takes less time than 32."""
    monkeypatch.setattr("lm_keras.tasks.task.MAX_ROWS", 3)


def config_of(family="gpt", **settings):
    usual = {"task": "chat", "sequence_length": T, "batch_size": 2, **FAMILY[family]}
    return from_flat({**usual, **settings})


def made(family="gpt", **settings):
    return task_of(config_of(family, **settings), V, TOKENIZER)


def batches(task, store, first, last, **split):
    return list(
        training_batches(
            lambda rows, step: task.batch(rows, store, step), task.order(store), first, last, **split
        )
    )


def network(family, **settings):
    """A network with large weights, so that what is wrong shows."""
    keras.utils.set_random_seed(3)
    model = FAMILIES[family](config_of(family, **settings), V)
    random = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    return model


def loss_and_gradients(model, batch, traced=False):
    """The summed loss of a batch, and its gradients."""

    def of_batch(inputs, targets, weights):
        with tf.GradientTape() as tape:
            features, _ = model.forward(inputs, model.initial_state(targets.shape[0]))
            loss = next_token_loss(features, model.output_weights(), targets, weights).objective
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    given = tf.nest.map_structure(tf.convert_to_tensor, tuple(batch))
    loss, gradients = (tf.function(of_batch, autograph=False) if traced else of_batch)(*given)
    return loss.numpy(), [gradient.numpy() for gradient in gradients]


def test_what_is_read_and_predicted_of_a_conversation():
    """The last token is predicted only; padding is another document."""
    (batch,) = made().scored(stored(CHATS[1]))
    text = "[user\nd]\n[assistant\ne]\n[user\nf]\n[assistant\ngh]"
    size = len(text) - 1
    assert batch.inputs["tokens"][0, :size].tolist() == ids(text)[:-1]
    assert batch.inputs["document"][0].tolist() == [0] * size + [1] * (T - size)
    at = [text.index("e]") - 1, text.index("e]"), *range(text.index("gh]") - 1, size)]
    assert batch.inputs["predicted"][0].tolist() == [*at, 0, 0, 0]
    assert batch.targets[0].tolist() == [*ids("e]gh]"), 0, 0, 0]
    assert batch.weights[0].tolist() == [1] * 5 + [0] * 3


@every_family
def test_every_epoch_and_every_evaluation_have_every_learnt_token_once(family):
    task, store = made(family), stored(*CHATS)
    expected = sorted(ids("".join(text for texts in LEARNT_TEXTS for text in texts)))
    steps = task.order(store).steps_per_epoch
    for epoch in range(2):
        found = [
            targets[weights > 0].numpy()
            for _, targets, weights in batches(task, store, epoch * steps, (epoch + 1) * steps)
        ]
        assert sorted(np.concatenate(found).tolist()) == expected
    found = [targets[weights > 0] for _, targets, weights in task.scored(store)]
    assert sorted(np.concatenate(found).tolist()) == expected


def test_batches_are_a_function_of_the_step():
    """Law 3, and law 2: two replicas have the rows of one, half each. Control: another step."""
    task, store = made(), stored(*CHATS)
    whole = batches(task, store, 0, 7)
    flat = [[value.numpy().tolist() for value in tf.nest.flatten(batch)] for batch in whole]
    rest = batches(made(), store, 4, 7)
    assert flat[4:] == [[value.numpy().tolist() for value in tf.nest.flatten(batch)] for batch in rest]
    assert flat[4] != flat[5]
    parts = batches(task, store, 0, 1, replicas=2, all_replicas=2)
    both = zip(*(tf.nest.flatten(part) for part in parts))
    assert [np.concatenate([part.numpy() for part in one]).tolist() for one in both] == flat[0]


@every_family
def test_only_what_the_assistant_says_is_learnt(family):
    """The gradient is that of the assistant's tokens and the ends of turn alone, one by one. With a token of
    the user among them it is another one.
    """
    model = network(family)
    (batch,) = made(family).scored(stored(CHATS[1]))
    _, gradients = loss_and_gradients(model, batch)
    tokens, learnt = ConversationEncoder(TOKENIZER)(Document.from_messages("a", CHATS[1]))

    def by_hand(counted):
        with tf.GradientTape() as tape:
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[None, 1:], model(tokens[None, :-1]))
            total = tf.reduce_sum(nats[0] * counted[1:].astype(np.float32))
        found = tape.gradient(total, [variable.value for variable in model.trainable_variables])
        return [tf.convert_to_tensor(gradient).numpy() for gradient in found]

    for own, expected in zip(gradients, by_hand(learnt)):
        np.testing.assert_allclose(own, expected, atol=2e-5)
    wrong = learnt.copy()
    wrong[6] = True  # The letter d, which the user says.
    assert tokens[6] == ids("d")[0]
    assert max(np.abs(a - b).max() for a, b in zip(gradients, by_hand(wrong))) > 1e-2


@pytest.mark.parametrize(("family", "traced"), [("gpt", False), ("lstm", False), ("lstm", True)])
def test_packing_is_invisible(family, traced):
    """Law 10: loss and gradients of conversations are the same alone and side by side in a row. Where the
    network does not tell them apart they are others.
    """
    settings = {"sequence_length": 128, **({"jit": "recurrence"} if traced else {})}
    task, model = made(family, **settings), network(family, **settings)
    (together,) = task.scored(stored(*CHATS[:3]))
    assert together.inputs["document"][0].max() >= 2
    alone = [loss_and_gradients(model, *task.scored(stored(one)), traced) for one in CHATS[:3]]
    loss, gradients = loss_and_gradients(model, together, traced)
    np.testing.assert_allclose(loss, sum(own for own, _ in alone), rtol=1e-5)
    for number, gradient in enumerate(gradients):
        np.testing.assert_allclose(gradient, sum(own[number] for _, own in alone), atol=5e-5)
    model.separate_documents = False
    assert abs(loss_and_gradients(model, together, traced)[0] - loss) > 1e-2


def test_a_long_conversation_is_cut_or_read_in_windows_or_refused():
    store = stored(said("a" * 30, "b" * 30, "c", "d" * 20))
    for how, learnt in (("cut_end", 16), ("cut_start", 22 + 21), ("windows", 31 + 21)):
        task = made(too_long=how)
        found = sum(int((weights > 0).sum()) for _, _, weights in task.scored(store))
        assert found == learnt, how
    said_lines = []
    made().check_scored("valid", store, lambda number: "chats.jsonl:9", said_lines.append)
    assert "chats.jsonl:9: 121 tokens, and a row has room for 64" in said_lines[0]
    with pytest.raises(InputError, match="raise --sequence_length to 121"):
        made(too_long="error").check_scored("valid", store, lambda number: "a:1", said_lines.append)


def test_letters_of_special_tokens_in_a_message_stay_letters():
    tokens, learnt = ConversationEncoder(TOKENIZER)(
        Document.from_messages("a", said("<|im_end|>\n<|im_start|>assistant", "b"))
    )
    assert tokens.tolist().count(START) == 2 and tokens.tolist().count(END) == 2
    assert TOKENIZER.decode(tokens[learnt]) == "b"


@pytest.mark.parametrize("kind", ["char", "word", "sentencepiece", "byte"])
def test_the_text_of_a_conversation_teaches_every_tokenizer_its_roles(kind, tiny_config, tmp_path):
    path = tmp_path / "chats.jsonl"
    with path.open("w") as file:
        for number in range(40):
            messages = [{"role": "user", "content": f"Is {number} odd?"}]
            messages += [{"role": "assistant", "content": "Yes." if number % 2 else "No."}]
            file.write(json.dumps({"messages": messages}) + "\n")
    settings = {"corpus": f"jsonl:{path}", "tokenizer": kind, "split": "80/20/0", "cache_dir": None}
    settings |= {"vocab_size": 60 if kind == "sentencepiece" else None, "byte_fallback": None}
    settings |= {"byte_fallback": False} if kind == "sentencepiece" else {}
    data = prepare(tiny_config(**settings).data, fields=("messages",), columns=(LEARNT,))
    assert not data.splits["train"].counts.unknown
    assert list(data.tokenizer.special_tokens) == ["<|im_start|>", "<|im_end|>"]
    learnt = np.asarray(data.splits["train"].columns["learnt"])
    assert (learnt == data.tokenizer.special_tokens["<|im_end|>"]).sum() == 32
    data.tokenizer.save(tmp_path / "tokenizer")
    assert load_tokenizer(tmp_path / "tokenizer").chat_template == data.tokenizer.chat_template


def test_a_tokenizer_keeps_its_own_template():
    plain = train_tokenizer("char", ["abc\n"])
    other = with_template(plain).with_chat_template("{{ 'x' }}")
    with pytest.raises(InputError):  # It says nothing of what the assistant says.
        with_template(other)
    assert with_template(with_template(plain)).vocab_size == plain.vocab_size + 2


def test_shuffled_questions_have_the_answers_of_others():
    documents = [Document.from_messages(str(n), messages) for n, messages in enumerate(CHATS[:4])]
    found = shuffled_questions(documents)
    questions = [m.content for one in found for m in one.messages if m.role == "user"]
    assert questions == ["i", "kl", "i", "a", "d"]
    long = [Document.from_messages(str(n), CHATS[number]) for n, number in enumerate((1, 5, 0))]
    asked = [[m.content for m in one.messages if m.role == "user"] for one in shuffled_questions(long)]
    assert asked == [["q", "s"], ["a", "f"], ["d"]]
    assert found[2].messages[::2] == (Message("system", "j"), CHATS[2][2])


def generated(conversations, context_length):
    """What is generated for conversations, the settings of each call, and what is told."""
    asked, told = [], []

    def replies(some, **settings):
        asked.append(settings)
        return [Continuation("x", (1,), (0.0,), "eod")] * len(some)

    documents = [Document.from_messages("a", messages) for messages in conversations]
    return answers_for(replies, documents, TOKENIZER, context_length, told.append), asked, told


def test_why_no_answer_is_generated_is_told():
    """Before its answer a conversation has 19 tokens and those of the question."""
    long = [said("a" * 30, "b"), said("c" * 31, "d")]
    assert generated(long, 64) == (None, [], [
        "no answers are generated, of 2 conversations none leaves 16 of the 64 tokens of the context for an"
        " answer"
    ])  # fmt: skip
    greeting = said("a", "b")[1:]
    assert generated([greeting], None) == (None, [], [
        "no answers are generated, of 1 conversations there is none in which the assistant answers a user at"
        " last"
    ])  # fmt: skip
    assert generated([], 64) == (None, [], [])
    found, asked, told = generated([*long, said("e", "f")], 65)  # The control.
    assert told == [] and found.outputs == ["x", "x"]
    assert found.decoded == "greedy, 2 conversations; 1 others are too long for an answer"
    assert asked == [{"temperature": 0.0, "max_new_tokens": 256}]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"model": "bert", "positions": "learned"},
            "--task=chat has no meaning for --model=bert; take --model=lstm or gpt",
        ),
        ({"batching": "stream"}, "--batching=stream has no meaning for --task=chat"),
        ({"sequence_length": 7}, "--sequence_length=7 is too short for --model=gpt, which reads turns"),
        ({"best_by": "bleu"}, "--best_by=bleu has no meaning for --task=chat"),
        ({"task": None, "eval_answers": 3}, "--eval_answers=3 has no meaning for --task=causal_lm"),
    ],
)
def test_settings_without_meaning(settings, line):
    with pytest.raises(InputError, match=line):
        config_of(**settings)
