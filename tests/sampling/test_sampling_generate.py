import itertools

import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.errors import InputError
from lm_keras.sampling.continuation import find_stop, held_back
from lm_keras.sampling.generate import STREAM_POSITIONS, Sampler
from lm_keras.sampling.notices import Notices
from lm_keras.text import ByteTokenizer, CharTokenizer, WordTokenizer

V = 13
PROMPTS = ["ab", "", "a€ #b cab"]


@pytest.fixture(scope="module")
def sampler(tiny, tokenizer):
    return Sampler(tiny, tokenizer)


def says(scripted, tokenizer, text, prompt=""):
    """Return a sampler whose model continues `prompt` with `text` and then ends the document."""
    return Sampler(scripted(tokenizer.encode(text), context=1 + len(tokenizer.encode(prompt))), tokenizer)


def test_more_rows_than_memory_holds(sampler):
    with pytest.raises(InputError) as caught:
        sampler.generate(["a", "b"], num_samples=2**31 - 1)
    assert (
        str(caught.value)
        == "num_samples=2147483647 of 2 prompts takes 4,294,967,294 rows of 13 logits at once, and"
        " 1,073,741,824 logits are allowed; generate fewer at a time, each with a seed of its own"
    )


def test_same_seed_same_text_other_seed_other_text(sampler, tiny, tokenizer):
    first = sampler.generate(PROMPTS, max_new_tokens=40, seed=1)
    assert first == sampler.generate(PROMPTS, max_new_tokens=40, seed=1)
    assert first == Sampler(tiny, tokenizer).generate(PROMPTS, max_new_tokens=40, seed=1)
    assert first != sampler.generate(PROMPTS, max_new_tokens=40, seed=2)
    assert first != sampler.generate(PROMPTS, max_new_tokens=40, seed=-1)
    greedy = {sampler.generate(["ab"], max_new_tokens=40, seed=seed, temperature=0)[0] for seed in range(4)}
    assert len(greedy) == 1


def test_a_prompt_has_the_same_text_in_every_batch(sampler, mixing, tokenizer):
    def together_and_alone(sampler):
        together = sampler.generate(PROMPTS, max_new_tokens=30, seed=4)
        return together, [sampler.generate([prompt], max_new_tokens=30, seed=4)[0] for prompt in PROMPTS]

    together, alone = together_and_alone(sampler)
    assert together == alone
    together, alone = together_and_alone(Sampler(mixing, tokenizer))
    assert together != alone


def test_a_prompt_is_read_once_for_all_its_samples(tiny, tokenizer, monkeypatch):
    sampler = Sampler(tiny, tokenizer)
    rows, prefill = [], sampler._network._prefill
    monkeypatch.setattr(
        sampler._network, "_prefill", lambda *given: rows.append(len(given[0])) or prefill(*given)
    )
    many = sampler.generate(["abc ab", "b"], max_new_tokens=9, num_samples=3, seed=2)
    assert set(rows) == {2}
    rows.clear()
    alone = [
        sampler.generate([prompt], max_new_tokens=9, num_samples=3, seed=2) for prompt in ("abc ab", "b")
    ]
    assert many == alone[0] + alone[1]


def test_each_prompt_may_have_a_seed_of_its_own(sampler):
    together = sampler.generate(PROMPTS, max_new_tokens=30, seed=[4, 9, 4])
    alone = [
        sampler.generate([prompt], max_new_tokens=30, seed=seed)[0]
        for prompt, seed in zip(PROMPTS, (4, 9, 4))
    ]
    assert together == alone != sampler.generate(PROMPTS, max_new_tokens=30, seed=4)
    with pytest.raises(
        InputError, match="seed has 2 numbers for 3 prompts; give one for each, or one for all"
    ):
        sampler.generate(PROMPTS, seed=[1, 2])


def test_the_likeliest_tokens_are_those_of_the_logits(sampler, tiny, tokenizer):
    (found,) = sampler.sample(["ab"], max_new_tokens=6, seed=3, top_logprobs=4)
    text = [0, *tokenizer.encode("ab")]
    for token, score, best in zip(found.token_ids, found.log_probabilities, found.likeliest):
        own = tf.nn.log_softmax(tiny(tf.constant([text])))[0, -1].numpy()
        assert [chosen for chosen, _ in best] == np.argsort(-own)[:4].tolist()
        np.testing.assert_allclose(
            [*(value for _, value in best), score], [*np.sort(-own)[:4] * -1, own[token]], atol=1e-4
        )
        text.append(token)


def test_samples_come_prompt_by_prompt_and_do_not_depend_on_their_number(sampler):
    many = sampler.generate(PROMPTS, max_new_tokens=20, num_samples=5)
    few = sampler.generate(PROMPTS, max_new_tokens=20, num_samples=2)
    assert len(many) == 15 and len(set(many[:5])) > 1
    assert [many[0:2], many[5:7], many[10:12]] == [few[0:2], few[2:4], few[4:6]]
    assert few[::2] == sampler.generate(PROMPTS, max_new_tokens=20)


def test_fewer_tokens_are_the_beginning_of_more_tokens(sampler):
    long = sampler.sample(PROMPTS, max_new_tokens=150, seed=8)
    short = sampler.sample(PROMPTS, max_new_tokens=7, seed=8)
    assert [row.token_ids for row in short] == [row.token_ids[:7] for row in long]


def test_top_k_of_one_equals_greedy(sampler):
    greedy = sampler.generate(PROMPTS, max_new_tokens=30, temperature=0)
    assert sampler.generate(PROMPTS, max_new_tokens=30, temperature=1.5, top_k=1, seed=9) == greedy
    assert sampler.generate(PROMPTS, max_new_tokens=30, temperature=1.5, top_k=2, seed=9) != greedy


def test_settings_prompts_and_batch_sizes_do_not_retrace(tiny, tokenizer):
    sampler = Sampler(tiny, tokenizer)
    sampler.generate(["a"], max_new_tokens=3)
    before = sampler.traces
    sampler.generate(["abc", "", "b"], max_new_tokens=70, temperature=0.3, top_k=3, top_p=0.8, seed=2)
    sampler.generate(["abc"], num_samples=4, stop=["a#", "N"], max_new_tokens=9, temperature=0)
    list(sampler.stream("c", max_new_tokens=11, temperature=2))
    assert before == sampler.traces == 2
    sampler.generate(["ab" * 50], max_new_tokens=2)
    sampler.generate(["ab" * 100] * 3, max_new_tokens=3)
    assert sampler.traces == 2


def test_the_first_token_follows_the_models_distribution(sampler, tiny, tokenizer):
    rows = sampler.sample(["b#"], max_new_tokens=1, num_samples=3000, seed=3)
    counts = np.bincount([row.token_ids[0] for row in rows], minlength=V)
    logits = tiny(np.array([[0, *tokenizer.encode("b#")]]))[0, -1].numpy().astype(np.float64)
    logits[1] = -np.inf  # the unknown token

    def error(probabilities):
        probabilities = probabilities / probabilities.sum()
        return abs(counts / 3000 - probabilities).max()

    assert error(np.exp(logits)) < 4 * 0.5 / np.sqrt(3000)
    assert error(np.exp(logits / 2)) > 4 * 0.5 / np.sqrt(3000)


def test_neither_the_unknown_token_nor_the_blank_is_sampled(tiny, tokenizer, monkeypatch):
    def sampled():
        rows = Sampler(tiny, tokenizer).sample(["a"], max_new_tokens=1, num_samples=500, temperature=30.0)
        return {row.token_ids[0] for row in rows}

    assert sampled() == set(range(V)) - {1}
    monkeypatch.setattr(type(tokenizer), "mask_id", V - 1)
    assert sampled() == set(range(V)) - {1, V - 1}
    monkeypatch.setattr(type(tokenizer), "mask_id", None)
    monkeypatch.setattr(type(tokenizer), "unknown_id", None)
    assert sampled() == set(range(V))


def test_log_probabilities_are_of_the_models_own_distribution(sampler, tiny, tokenizer):
    row = sampler.sample(["ab"], max_new_tokens=1, temperature=0.2, top_k=2, seed=6)[0]
    logits = tiny(np.array([[0, *tokenizer.encode("ab")]]))[0, -1].numpy()
    expected = logits[row.token_ids[0]] - np.log(np.exp(logits).sum())
    assert row.log_probabilities == pytest.approx([expected], abs=1e-5)


@pytest.mark.parametrize("prompt", ["", "abc"])
def test_the_end_of_a_document_ends_the_text(scripted, tokenizer, prompt):
    sampler = says(scripted, tokenizer, "a€é b", prompt)
    (row,) = sampler.sample([prompt], max_new_tokens=50)
    assert (row.text, row.ended_by, row.token_ids[-1]) == ("a€é b", "eod", 0)
    (row,) = sampler.sample([prompt], max_new_tokens=3)
    assert (row.text, row.ended_by, len(row.token_ids)) == ("a\ufffd", "length", 3)


def test_a_stop_string_may_span_tokens_and_calls(scripted, tokenizer):
    sampler = says(scripted, tokenizer, "ab ###c" * 30)
    (row,) = sampler.sample([""], max_new_tokens=500, stop="##")
    assert (row.text, row.ended_by, len(row.token_ids)) == ("ab ", "stop", 5)
    assert sampler.generate([""], stop=["€", "c", "##"]) == ["ab "]
    long = "b ###c" + "ab ###c" * 11
    assert sampler.generate([""], stop=[long], max_new_tokens=200) == ["a"]
    assert sampler.generate([""], stop=["Nb"], max_new_tokens=8) == ["ab ###ca"]


def test_the_stop_string_of_one_row_does_not_end_the_others(scripted, tokenizer):
    sampler = says(scripted, tokenizer, "aab#cc" + "c" * 90)
    # The script goes by position: the second prompt is two tokens longer and enters it two tokens later.
    assert sampler.generate(["", "NN"], stop="ab", max_new_tokens=70) == ["a", "b#cc" + "c" * 66]


LONG_CHARACTERS = ["ab " + "aé€c" * 9, "€" * 20, "é#" * STREAM_POSITIONS]
STOPPED = list(itertools.product([None, "c#", ["€c", "##", "é#é#é€"]], LONG_CHARACTERS))


@pytest.mark.parametrize(("stop", "text"), others_slow(STOPPED, STOPPED[::2]))
def test_streaming_equals_generate_for_characters_of_several_tokens(scripted, tokenizer, stop, text):
    sampler = says(scripted, tokenizer, text)
    for count in (1, 4, 8, 9, 200):
        (whole,) = sampler.generate([""], max_new_tokens=count, stop=stop)
        pieces = list(sampler.stream("", max_new_tokens=count, stop=stop))
        assert "".join(pieces) == whole
        assert not any("\ufffd" in piece for piece in pieces[:-1])


def test_streaming_equals_generate_for_any_bytes(sampler):
    texts = set()
    for seed in range(12):
        setting = {"max_new_tokens": 45, "seed": seed, "temperature": 1.5, "stop": ["ab#", "c c", "#\ufffd"]}
        (whole,) = sampler.generate(["b"], **setting)
        assert "".join(sampler.stream("b", **setting)) == whole
        texts.add(whole)
    assert len(texts) == 12 and any("\ufffd" in text for text in texts)


def test_streaming_hands_out_text_before_the_end_and_holds_back_a_possible_stop(scripted, tokenizer):
    sampler = says(scripted, tokenizer, "a" * 15 + "#" + "b" * 9)
    assert list(sampler.stream("")) == ["a" * 8, "a" * 7 + "#", "b" * 8, "b"]
    assert list(sampler.stream("", stop="#c")) == ["a" * 8, "a" * 7, "#" + "b" * 8, "b"]
    assert list(sampler.stream("", stop="#b")) == ["a" * 8, "a" * 7]
    assert "".join(sampler.stream("", stop="bN")) == "a" * 15 + "#" + "b" * 9


@pytest.mark.parametrize(
    ("text", "stop", "begin", "held"),
    [
        ("xabc", ("abc", "b"), 2, 0),
        ("xabc", ("abc", "bc"), 1, 0),
        ("xab", ("abc", "bd"), None, 2),
        ("aab", ("aabaac",), None, 3),
        ("aabaa", ("aabaac",), None, 5),
        ("anything", (), None, 0),
        ("", ("#",), None, 0),
    ],
)
def test_stop_strings_are_found_and_held_back(text, stop, begin, held):
    assert find_stop(text, stop) == begin
    assert begin is not None or held_back(text, stop) == held


def test_unknown_parts_of_a_prompt_are_named_once(sampler, tokenizer, monkeypatch):
    assert sampler.unknown_parts("abc é€") == []
    assert sampler.unknown_parts("axb z xyx") == ["x", "z", "y"]
    assert sampler.unknown_parts("a\tb") == ["\t"]
    assert sampler.unknown_parts("a\t\nb") == ["\t", "\n"]
    assert len(sampler.generate(["xyz"], max_new_tokens=4)) == 1
    # A tokenizer of words: one token, known or not.
    monkeypatch.setattr(
        tokenizer, "_encode", lambda text: np.array([1 if w != "known" else 2 for w in text.split()])
    )
    assert sampler.unknown_parts("known others known") == ["others"]
    monkeypatch.setattr(type(tokenizer), "unknown_id", None)
    assert sampler.unknown_parts("others") == []


def test_texts_that_end_at_once_are_told(scripted, tiny, tokenizer):
    said = []
    ends = Sampler(scripted([]), tokenizer, said.append)
    assert ends.generate(["", ""]) == ["", ""]
    ends.sample([""], temperature=0.0)
    ends.sample([""], num_beams=2, max_new_tokens=3)
    seed, bias = "another seed gives another text, and ", "logit_bias=0:-1000 keeps it from ending"
    assert said == [
        f"the model ended 2 of 2 texts at once, with a probability of up to 1; {seed}{bias}",
        f"the model ended the text at once, with a probability of 1; {bias}",
        f"the model ended the text at once, with a probability of 1; {bias}",
    ]
    # The advice helps, and a text that begins is not told.
    for how in ({}, {"temperature": 0.0}, {"num_beams": 2}):
        (text,) = ends.generate([""], logit_bias="0:-1000", max_new_tokens=5, **how)
        assert text and len(said) == 3
    list(Sampler(tiny, tokenizer, said.append).stream("ab", max_new_tokens=3, logit_bias={0: -1000.0}))
    assert len(said) == 3


@pytest.mark.parametrize(
    ("kind", "stop", "line"),
    [
        (CharTokenizer("ab\né", "nfc"), "a\nb", None),
        (CharTokenizer("ab", "nfc"), "aqbq?", "can never come: the vocabulary has no 'q', '?'"),
        (CharTokenizer("ab\né", "nfc"), "be\u0301", "can never come: the vocabulary has no 'e', '\u0301', "
            "its texts have 'bé' instead"),
        (CharTokenizer("abn\n", "none"), r"\n", r"can never come: the vocabulary has no '\\'; it has a "
            r"backslash and a letter where bash writes $'\n'"),
        (ByteTokenizer("none"), r"\n", r"has a backslash and a letter where bash writes $'\n'"),
        (ByteTokenizer("none"), "€ü🙂\n", None),
        (WordTokenizer(["ab", "c"], "none"), "b c\n", None),
        (WordTokenizer(["ab", "c"], "none"), "b, c", "can never come: the vocabulary has no ','"),
    ],
)  # fmt: skip
def test_stop_strings_that_never_come_are_told(kind, stop, line):
    said = []
    notices = Notices(kind, said.append)
    notices.tell_stops((stop, "a"))
    notices.tell_stops((stop,))  # Once.
    assert said == ([f"the stop string {stop!r} {line}"] if line else [])


def test_a_sampler_tells_of_stop_strings(sampler, tiny, tokenizer):
    said = []
    told = Sampler(tiny, tokenizer, said.append)
    for _ in range(2):
        told.generate(["a"], stop=["€", "x"], max_new_tokens=2)
        list(told.stream("a", stop="y", max_new_tokens=2, logit_bias={0: -1000.0}))
    never = "can never come: the vocabulary has no"
    assert [line for line in said if "stop" in line] == [
        f"the stop string {one!r} {never} {one!r}" for one in "xy"
    ]


def test_settings_that_would_do_nothing_are_refused(sampler):
    for settings, message in (
        ({"logit_bias": {1: 3.0}}, "logit_bias has the token 1, which stands for no text and is never "
            "chosen; leave it out"),
        ({"logit_bias": "2:1,3:1,2:5"}, "logit_bias='2:1,3:1,2:5' has a token twice; give each token one "
            "bias"),
        ({"length_penalty": 0.5}, "length_penalty=0.5 has no meaning without a search; give num_beams too, "
            "or leave it out"),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            sampler.generate(["a"], **settings)
        assert str(caught.value) == message
    sampler.generate(["a"], max_new_tokens=1, logit_bias={1: -3.0})  # As it wishes anyway.


def test_penalties_see_all_that_is_kept_of_a_long_prompt(tiny, tokenizer):
    """Of 9 tokens the last 4 are kept, `#cab`; the first of them begins no document, and counts like the
    others.
    """
    model = type(tiny)()
    model.context_length = 8
    sampler = Sampler(model, tokenizer)
    for beams in (1, 3):
        how = {"max_new_tokens": 4, "long_prompt": "keep_end", "no_repeat_ngram": 1, "num_beams": beams}
        for bias in (None, {tokenizer.encode("#")[0]: 50.0}):
            (row,) = sampler.sample(["aaaab#cab"], **how, logit_bias=bias)
            assert not set(row.token_ids) & set(tokenizer.encode("#cab"))
    # What is not kept may come, and the token that begins a document is no text of the prompt: it may end it.
    (row,) = sampler.sample(["b#cab"], max_new_tokens=1, no_repeat_ngram=1, logit_bias={0: 50.0})
    assert row.token_ids == (0,)


def test_no_prompts_give_no_texts(sampler):
    assert sampler.generate([]) == []


def test_new_weights_are_followed_without_a_new_trace(tokenizer, tiny):
    model = type(tiny)(seed=5)
    sampler = Sampler(model, tokenizer)
    before = sampler.generate(["ab"], max_new_tokens=30)
    for own, other in zip(
        (model.table, model.recurrent, model.output_matrix), (tiny.table, tiny.recurrent, tiny.output_matrix)
    ):
        own.assign(other)
    after = sampler.generate(["ab"], max_new_tokens=30)
    assert before != after == Sampler(tiny, tokenizer).generate(["ab"], max_new_tokens=30)
    assert sampler.traces == 2


def test_a_model_that_diverged_is_an_error(tokenizer, tiny):
    for value in (np.nan, np.inf):
        model = type(tiny)()
        model.output_matrix.assign(model.output_matrix * value)
        for temperature in (0.0, 1.0):
            with pytest.raises(InputError, match=r"logits are not finite.*use an earlier checkpoint"):
                Sampler(model, tokenizer).generate(["a"], temperature=temperature)


def test_a_tokenizer_of_another_model_is_an_error(tokenizer, tiny, monkeypatch):
    monkeypatch.setattr(tokenizer, "vocab_size", 99)
    with pytest.raises(
        InputError, match="13 logits, but the tokenizer has 99 tokens; use the tokenizer that"
    ):
        Sampler(tiny, tokenizer)
    # Padded logits are allowed, and never sampled.
    monkeypatch.setattr(tokenizer, "vocab_size", 7)
    rows = Sampler(tiny, tokenizer).sample(["a"], max_new_tokens=1, num_samples=300, temperature=30.0)
    assert {row.token_ids[0] for row in rows} == {0, 2, 3, 4, 5, 6}


def test_a_prompt_of_words_is_continued_in_its_line(scripted):
    words = WordTokenizer([*"abcdefghij"], "none")
    for prompt, context, expected in [
        ("a", 2, " b c\nd"),
        ("a ", 2, "b c\nd"),
        ("a\n", 3, "b c\nd"),
        ("", 1, "b c\nd"),
    ]:
        sampler = Sampler(scripted(words.encode("b c\nd")[:-1], context), words)
        assert sampler.generate([prompt]) == [expected]
        assert "".join(sampler.stream(prompt)) == expected
