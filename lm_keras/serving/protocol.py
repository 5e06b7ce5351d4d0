"""What a request asks for by the OpenAI protocol, and what it may ask for."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from lm_keras.answers.chat import ANSWER_TOKENS
from lm_keras.errors import InputError
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.serving.bodies import Fields, Refused, shortened
from lm_keras.serving.settings import ServeOptions

MOST_STOPS, STOP_CHARACTERS = 16, 1000
"""Stop strings of a request, and characters of each."""

MOST_TOLD = 20
"""Likely tokens that are told with each token."""

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "no_repeat_ngram", "num_beams", "length_penalty", "long_prompt",
)  # fmt: skip
"""Fields that are settings of sampling by the same name."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request to generate.

    Attributes:
        model: its name.
        prompts: the texts, or the conversations, that go on.
        settings: of sampling; `num_samples` for each prompt.
        generates: whether anything is to be generated at all.
        logprobs: how many likely tokens are told with each token; None: not even its own log-probability.
        echo: whether texts begin with their prompts.
        stream: whether the text is sent as it comes.
        with_usage: whether a stream ends with the counts of tokens.
    """

    model: str
    prompts: list[Any]
    settings: SamplingSettings
    generates: bool = True
    logprobs: int | None = None
    echo: bool = False
    stream: bool = False
    with_usage: bool = False


def completion_asked(body: dict[str, Any], options: ServeOptions) -> Asked:
    """Return what a body of `/v1/completions` asks for."""
    fields = Fields(body)
    model, prompts = _model(fields), fields.texts("prompt", options.max_queue)
    echo = fields.yes("echo")
    most = fields.whole("max_tokens", 0 if echo else 1, options.max_tokens, min(100, options.max_tokens))
    samples = fields.whole("n", 1, options.max_batch, 1)
    fields.only("best_of", samples)
    fields.only("suffix", "")
    logprobs = fields.whole("logprobs", 0, MOST_TOLD)
    streamed = _streamed(fields)
    more = {"max_new_tokens": max(1, most), "num_samples": samples, "top_logprobs": logprobs or 0}
    settings = _settings(fields, more)
    fields.end()
    return _checked(Asked(model, prompts, settings, most > 0, logprobs, echo, *streamed), options)


def chat_asked(body: dict[str, Any], options: ServeOptions) -> Asked:
    """Return what a body of `/v1/chat/completions` asks for."""
    fields = Fields(body)
    model = _model(fields)
    messages = fields.needed("messages", "a list of messages", lambda v: isinstance(v, list))
    usual = min(ANSWER_TOKENS, options.max_tokens)
    old = fields.whole("max_tokens", 1, options.max_tokens)
    most = fields.whole("max_completion_tokens", 1, options.max_tokens, old or usual)
    for name in ("tools", "tool_choice", "functions", "function_call", "audio", "prediction"):
        fields.only(name, [], "none")
    fields.only("parallel_tool_calls", True, False)
    fields.only("n", 1)
    fields.only("modalities", ["text"])
    fields.only("response_format", {"type": "text"})
    told = fields.whole("top_logprobs", 0, MOST_TOLD, 0)
    if not (logprobs := fields.yes("logprobs")) and told:
        raise Refused(400, f"top_logprobs={told} needs logprobs=true; add it", "top_logprobs")
    streamed = _streamed(fields)
    settings = _settings(fields, {"max_new_tokens": most, "top_logprobs": told})
    fields.end()
    if settings.num_beams > 1:
        raise Refused(400, "num_beams has no meaning in a conversation; leave it out", "num_beams")
    asked = Asked(model, [messages], settings, True, told if logprobs else None, False, *streamed)
    return _checked(asked, options)


def _checked(asked: Asked, options: ServeOptions) -> Asked:
    beams = asked.settings.num_beams
    if asked.stream and beams > 1:
        raise Refused(400, f"num_beams={beams} cannot be streamed; leave one of them out", "stream")
    if asked.logprobs is not None and beams > 1:
        raise Refused(400, "logprobs has no meaning with num_beams; leave one of them out", "logprobs")
    if beams > options.max_batch:
        raise Refused(400, f"num_beams={beams} is above the limit of {options.max_batch}", "num_beams")
    if asked.stream and not asked.generates:
        raise Refused(400, "max_tokens=0 leaves nothing to stream; leave stream out", "stream")
    return asked


def _model(fields: Fields) -> str:
    return fields.needed("model", "the name of a model, see /v1/models", lambda v: isinstance(v, str))


def _streamed(fields: Fields) -> tuple[bool, bool]:
    stream = fields.yes("stream")
    options = fields.value("stream_options", "an object", lambda v: isinstance(v, dict), {})
    of_stream = Fields(options)
    with_usage = of_stream.yes("include_usage")
    of_stream.only("include_obfuscation", False)
    of_stream.end()
    if options and not stream:
        raise Refused(400, "stream_options needs stream=true; add it", "stream_options")
    return stream, with_usage


def _settings(fields: Fields, more: dict[str, Any]) -> SamplingSettings:
    """Return the settings of sampling that a body gives."""
    given = fields.given(SAMPLING)
    stop = fields.value("stop", "a text, or a list of texts", lambda v: isinstance(v, str | list))
    stops = [stop] if isinstance(stop, str) else stop or []
    if len(stops) > MOST_STOPS or any(len(one) > STOP_CHARACTERS for one in stops if isinstance(one, str)):
        limits = f"{MOST_STOPS} texts of {STOP_CHARACTERS} characters"
        raise Refused(400, f"stop is too long; expected at most {limits}", "stop")
    bias = fields.value("logit_bias", "an object of token ids and numbers", lambda v: isinstance(v, dict), {})
    try:
        biases = {int(token): value for token, value in bias.items()}
    except ValueError:
        raise Refused(400, "logit_bias has a key that is no token id", "logit_bias") from None
    seed = fields.whole("seed", -(2**63), 2**63 - 1, 0)
    try:
        return SamplingSettings(**given, **more, stop=stops or None, logit_bias=biases or None, seed=seed)
    except InputError as error:
        param = next((name for name in (*SAMPLING, "stop", "logit_bias") if name in str(error)), None)
        raise Refused(400, shortened(str(error)), param) from None
    except TypeError:  # A text where a number is compared.
        raise Refused(400, "a setting of sampling has the wrong type; see /v1/models") from None


@dataclasses.dataclass(frozen=True)
class GivenTexts:
    """A request on given texts: to score, to classify, to tag or to translate.

    Attributes:
        model: its name.
        texts: of the request; for `/v1/tag` also lists of words.
        settings: what the method of the model takes beside them.
    """

    model: str
    texts: list[Any]
    settings: dict[str, Any]


def texts_asked(
    body: dict[str, Any], options: ServeOptions, names: Sequence[str], words: bool = False
) -> GivenTexts:
    """Return what a body asks of given texts.

    Args:
        body: of the request.
        options: of the server.
        names: of the settings that it may have.
        words: whether texts may be lists of words.
    """
    fields = Fields(body)
    model = _model(fields)
    if words and _has_words(body.get("input")):
        texts = fields.needed("input", "a list", lambda v: len(v) <= options.max_queue)
    else:
        texts = fields.texts("input", options.max_queue)
    if "num_beams" in names:
        fields.whole("num_beams", 1, options.max_batch)
    settings = fields.given(names)
    fields.end()
    return GivenTexts(model, texts, settings)


def _has_words(value: Any) -> bool:
    """Tell whether a value is a list of lists of words, perhaps with strings among them."""
    return (
        isinstance(value, list)
        and any(isinstance(one, list) for one in value)
        and all(isinstance(word, str) for one in value for word in (one if isinstance(one, list) else [one]))
    )
