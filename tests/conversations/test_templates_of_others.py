"""Chat templates of other projects: the tokens that `transformers` makes, and none of a message's letters."""

import importlib.util
import json
import random

import chat_models
import numpy as np
import pytest

from lm_keras.conversations.messages import Message, read_messages
from lm_keras.conversations.template import CHATML, ChatTemplate, template_of
from lm_keras.errors import InputError
from lm_keras.text.byte import ByteTokenizer
from lm_keras.text.model_folder import read_tokenizer

every_style = pytest.mark.parametrize("name", chat_models.STYLES)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    made = {}
    for name in chat_models.STYLES:
        tokenizer = read_tokenizer(chat_models.write_tokenizer(folder / name, name))
        made[name] = template_of(tokenizer), tokenizer
    return made


@every_style
def test_tokens_are_those_that_transformers_makes(models, name):
    template, tokenizer = models[name]
    golden = json.loads(chat_models.GOLDEN.read_text())[name]
    for messages, expected in zip(chat_models.golden_conversations(name), golden, strict=True):
        for prompt, ids in zip((False, True), expected):
            assert template.encode(read_messages(messages), tokenizer, prompt).ids.tolist() == ids


@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="transformers is not installed")
@every_style
def test_random_conversations_as_transformers_reads_them(models, name, tmp_path):
    import transformers

    folder = chat_models.write_tokenizer(tmp_path, name)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    template, tokenizer = models[name]
    draw = random.Random(5)
    for _ in range(200):
        messages, prompt = chat_models.conversation(draw, chat_models.STYLES[name]), draw.random() < 0.5
        expected = theirs.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
        assert template.encode(read_messages(messages), tokenizer, prompt).ids.tolist() == expected


def specials_in(ids, tokenizer):
    return [token for token in ids.tolist() if token in tokenizer.special_tokens.values()]


@every_style
def test_names_of_special_tokens_in_messages_never_become_tokens(models, name):
    template, tokenizer = models[name]
    draw = random.Random(3)
    for _ in range(30):
        messages = read_messages(chat_models.conversation(draw, chat_models.STYLES[name], unsafe=True))
        harmless = [Message(role, "word") for role, _ in messages]
        ids = template.encode(messages, tokenizer, True).ids
        expected = specials_in(template.encode(harmless, tokenizer, True).ids, tokenizer)
        assert specials_in(ids, tokenizer) == expected


def test_the_check_of_special_tokens_can_fail(models):
    template, tokenizer = models["chatml"]
    text = template.render([Message("user", "a<|im_end|>b")])
    written = [token for name, token in tokenizer.special_tokens.items() for _ in range(text.count(name))]
    harmless = template.encode([Message("user", "word")], tokenizer).ids
    assert len(written) == 1 + len(specials_in(harmless, tokenizer))


@every_style
def test_what_is_learnt_is_what_the_assistant_says_and_the_end_of_its_turn(models, name):
    template, tokenizer = models[name]
    messages = [Message("user", "What is the capital of France?"), Message("assistant", "It is Paris.")]
    messages += [Message("user", "hello"), Message("assistant", "<think>\nfox\n</think>\n\nHello, dog")]
    ids, learnt = template.encode(messages, tokenizer)
    runs = np.split(ids, np.flatnonzero(np.diff(learnt)) + 1)[1::2]
    ends = {"llama3": "<|eot_id|>", "phi": "<|end|>", "gemma": "<end_of_turn>"}
    end = tokenizer.special_tokens[ends.get(name, chat_models.STYLES[name].end)]
    texts = []
    for run in runs:
        if name != "instruction":  # Whose template writes no end of a turn.
            assert run[-1] == end
            run = run[:-1]
        texts.append(tokenizer.decode(run.tolist()).strip())
    assert texts == ["It is Paris.", "<think>\nfox\n</think>\n\nHello, dog"]


def test_the_built_in_template_is_rendered_as_jinja_does():
    built_in, other = ChatTemplate(), ChatTemplate("{# #}" + CHATML)
    tokenizer = ByteTokenizer("none").with_special_tokens(["<|im_start|>", "<|im_end|>"])
    draw = random.Random(2)
    for _ in range(40):
        messages = read_messages(
            chat_models.conversation(draw, chat_models.STYLES["chatml"], unsafe=draw.random() < 0.5)
        )
        prompt = draw.random() < 0.5
        assert built_in.render(messages, prompt) == other.render(messages, prompt)
        for ours, theirs in zip(*(one.encode(messages, tokenizer, prompt) for one in (built_in, other))):
            np.testing.assert_array_equal(ours, theirs)


def test_messages_that_a_template_rewrites_are_read_but_not_learnt():
    upper = ChatTemplate("{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}")
    tokenizer = ByteTokenizer("none").with_special_tokens(["<|im_end|>"])
    ids = upper.encode([Message("user", "abc"), Message("assistant", "de")], tokenizer, True).ids
    assert tokenizer.decode(ids.tolist()) == "ABCDE" and len(ids) == 7
    with pytest.raises(InputError, match="changes the messages of this conversation"):
        upper.encode([Message("user", "abc"), Message("assistant", "de")], tokenizer)
    with pytest.raises(InputError, match="changes the messages of this conversation"):
        upper.encode([Message("user", "a<|im_end|>")], tokenizer, True)


def test_of_several_templates_the_default_is_taken(tmp_path):
    folder = chat_models.write_tokenizer(tmp_path, "chatml")
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "{{ eos_token }}!"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": named}))
    tokenizer = read_tokenizer(folder)
    assert template_of(tokenizer).render([Message("user", "Hi")]) == "<|im_end|>!"
    (folder / "chat_template.jinja").write_text("a file comes first")
    assert read_tokenizer(folder).chat_template == "a file comes first"
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_tokenizer(folder)


def test_template_and_variables_are_saved_with_the_tokenizer(models, tmp_path):
    from lm_keras.text import load_tokenizer

    _, tokenizer = models["mistral"]
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    messages = [Message("user", "Hi"), Message("assistant", "Ho")]
    assert template_of(loaded).render(messages) == template_of(tokenizer).render(messages)
    assert loaded.fingerprint() == tokenizer.fingerprint()
