"""What `scripts/sample.py` prints: streamed text, colours, JSON, a conversation."""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from lm_keras.errors import InputError
from lm_keras.sampling.continuation import Continuation
from lm_keras.sampling.prompts import as_read, check_text
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.text.tokenizer import Tokenizer

_SHADES = ((0.5, "\x1b[32m"), (0.1, "\x1b[33m"), (0.01, "\x1b[35m"), (0.0, "\x1b[31m"))
"""Colours by the least probability that has them: green, yellow, magenta, red."""

_PLAIN = "\x1b[0m"


def show(lm, prompt: str, settings: dict[str, Any], stream: bool, color: bool, as_json: bool) -> None:
    """Print continuations of a prompt to standard output, and the speed to standard error.

    Args:
        lm: a `lm_keras.api.TrainedModel`.
        prompt: what is continued, as it was given.
        settings: fields of `SamplingSettings`.
        stream: whether a single one appears while it is generated.
        color: whether tokens have a colour that says how likely they were.
        as_json: one JSON object a continuation instead.
    """
    if color and as_json:
        raise InputError("--color and --json contradict each other; leave one of them out")
    prompt, said = as_read(prompt, lm.tokenizer, lm.unknown_parts)
    sys.stderr.writelines(f"{line}\n" for line in said)
    unknown = lm.unknown_parts(prompt)
    if unknown:
        sys.stderr.write(f"the model does not know {', '.join(map(repr, unknown))} of the prompt\n")
    if lm.answer.fills(prompt):
        return _show_filled(lm, prompt, settings, color, as_json)
    if settings.get("top_logprobs") and not as_json:
        raise InputError(
            f"--top_logprobs={settings['top_logprobs']} is told by --json alone; add --json, or leave it out"
        )
    before, began, out = lm.tokens_generated, time.perf_counter(), sys.stdout
    if as_json:
        for found in lm.sample([prompt], **settings):
            out.write(json.dumps(described(prompt, found, lm.tokenizer)) + "\n")
    elif color:
        texts = [prompt + colored(found, lm.tokenizer, prompt) for found in lm.sample([prompt], **settings)]
        out.write("\n---\n".join(texts) + "\n")
    elif stream and settings.get("num_samples", 1) == settings.get("num_beams", 1) == 1:
        _stream(lm.stream(prompt, **settings), prompt, out)
    else:
        texts = lm.generate([prompt], **settings)
        out.write("\n---\n".join(prompt + text for text in texts) + "\n")
    out.flush()
    seconds, tokens = time.perf_counter() - began, lm.tokens_generated - before
    first = ", compiling included" if not before else ""
    sys.stderr.write(f"{tokens:,} tokens in {seconds:.1f} s, {tokens / seconds:,.0f} a second{first}\n")


def _show_filled(lm, prompt: str, settings: dict[str, Any], color: bool, as_json: bool) -> None:
    """Print a text with its masks filled, and the likeliest words of each with their probabilities."""
    others, means = {"color": False, **dataclasses.asdict(SamplingSettings())}, lm.answer.fill_settings
    for name, value in {"color": color, **settings}.items():
        if name not in means and value != others[name]:
            more = " (--top_logprobs says how many words are listed)" if "top_logprobs" in means else ""
            raise InputError(f"--{name}={value} has no meaning where masks are filled; leave it out{more}")
    began, out = time.perf_counter(), sys.stdout
    texts = lm.fillings(prompt, {name: value for name, value in settings.items() if name in means})
    for number, found in enumerate(texts):
        if as_json:
            blanks = [[{"text": text, "probability": p} for text, p in words] for words in found.words]
            out.write(json.dumps({"prompt": prompt, "text": found.text, "blanks": blanks}) + "\n")
        else:
            lines = [", ".join(f"{text!r} {p:.3f}" for text, p in words) for words in found.words]
            between = ["---"] if number else []
            out.write(
                "\n".join([*between, found.text, *(f"{n}. {line}" for n, line in enumerate(lines, 1))]) + "\n"
            )
    out.flush()
    filled = sum(len(found.words) for found in texts)
    sys.stderr.write(f"{filled:,} masks in {time.perf_counter() - began:.1f} s\n")


def _stream(pieces: Iterator[str], prompt: str, out: TextIO) -> None:
    # Where there is no piece a line on standard error says why: it comes before anything is written to this
    # one.
    first = next(pieces, "")
    for piece in itertools.chain([prompt + first], pieces):
        out.write(piece)
        out.flush()
    out.write("\n")


def described(prompt: str, found: Continuation, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what `--json` prints of a continuation."""
    likeliest = [
        [{"id": i, "token": tokenizer.label(i), "log_probability": round(score, 6)} for i, score in best]
        for best in found.likeliest
    ]
    return {
        "prompt": prompt,
        "text": found.text,
        "ended_by": found.ended_by,
        "score": found.score,
        "token_ids": list(found.token_ids),
        "tokens": [tokenizer.label(i) for i in found.token_ids],
        "log_probabilities": [round(score, 6) for score in found.log_probabilities],
        "likeliest": likeliest if any(likeliest) else None,
    }


def colored(found: Continuation, tokenizer: Tokenizer, prompt: str) -> str:
    """Return a continuation in which each token has the colour of its probability under the model."""
    decoder, parts, left = tokenizer.decoder(before=prompt), [], len(found.text)
    for number, (token, score) in enumerate(zip(found.token_ids, found.log_probabilities), 1):
        ends = found.ended_by == "eod" and number == len(found.token_ids)
        text = "" if ends else decoder.push([token])[:left]
        left -= len(text)
        shade = next(code for least, code in _SHADES if score >= _LOG[least])
        parts.append(f"{shade}{text}{_PLAIN}" if text else "")
    return "".join(parts) + decoder.finish()[:left]


_LOG = {0.5: -0.6931, 0.1: -2.3026, 0.01: -4.6052, 0.0: float("-inf")}


def converse(lm, settings: dict[str, Any], stream: bool, color: bool, as_json: bool) -> None:
    """Continue each line of standard input, with the model loaded once; end at the end of the input.

    Ctrl-C ends the text that is being generated, and at an empty prompt the conversation.
    """
    each_line("prompt", lambda prompt: show(lm, prompt, settings, stream, color, as_json))


def each_line(name: str, answer: Callable[[str], None]) -> None:
    """Answer each line of standard input; end at its end. An error is told, and the next line is read.

    Args:
        name: of a line, for messages.
        answer: called with each line. Ctrl-C ends what it does; at the question for a line, the conversation.
    """
    asking = sys.stdin.isatty()
    while True:
        if asking:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        text = line.removesuffix("\n")
        try:
            check_text(name, text)
            answer(text)
        except InputError as error:
            sys.stderr.write(f"error: {error}\n")
        except KeyboardInterrupt:
            if not asking:
                raise
            sys.stdout.write("\n")
