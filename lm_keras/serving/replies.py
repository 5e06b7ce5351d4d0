"""What goes out by the OpenAI protocol: the JSON of texts, tokens, labels and targets."""

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from lm_keras.evaluation.scorer import ScoredToken
from lm_keras.serving.jobs import Growth
from lm_keras.serving.models import ServedModel
from lm_keras.text.tokenizer import Tokenizer

LEAST = -9999.0
"""Stands for a log-probability of minus infinity, which JSON does not have."""

_STOPS = ("eod", "stop")
"""The reasons why a text ends that the protocol calls `stop`; it calls the others `length`."""


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Return a token as text: its characters; its bytes where they are no whole characters; or its name where
    it stands for none.
    """
    if token >= tokenizer.vocab_size:
        return f"<{token}>"
    if token in tokenizer.special_ids:
        return tokenizer.label(token)
    content = tokenizer.token_bytes(token)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def token_bytes(tokenizer: Tokenizer, token: int) -> list[int]:
    """Return the bytes of a token; none where it stands for no text."""
    return list(tokenizer.token_bytes(token)) if token < tokenizer.vocab_size else []


def texts_of(tokenizer: Tokenizer, tokens: Iterable[int]) -> list[str]:
    """Return the text that each token of a whole text adds; a token within a character adds none."""
    decoder = tokenizer.decoder()
    texts = [decoder.push([token]) for token in tokens]
    return [*texts[:-1], texts[-1] + decoder.finish()] if texts else []


def nats(score: float) -> float:
    """Return a log-probability as JSON can hold it."""
    return round(max(LEAST, score), 6)


class ChoiceWriter:
    """Writes one text of a reply, as it grows.

    Args:
        tokenizer: of the model.
        prompt: the text before it.
        logprobs: how many likely tokens are told with each; None: no log-probabilities.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: str, logprobs: int | None):
        self._tokenizer, self._most, self._offset = tokenizer, logprobs, 0
        self._decoder = tokenizer.decoder(before=prompt)

    def said(self, growth: Growth) -> list[str]:
        """Return the text that each new token adds; a token within a character adds none."""
        last = len(growth.ids) - (growth.ended_by == "eod")
        special = self._tokenizer.special_ids
        texts = [
            "" if number >= last or token in special else self._decoder.push([token])
            for number, token in enumerate(growth.ids)
        ]
        if texts and growth.ended_by not in ("", "stop"):
            texts[-1] += self._decoder.finish()
        return texts

    def completion(self, growth: Growth, echoed: Sequence[ScoredToken] = ()) -> dict[str, Any] | None:
        """Return the `logprobs` of `/v1/completions`.

        Args:
            growth: new tokens.
            echoed: the tokens of the prompt, if they are told, too.
        """
        if self._most is None:
            return None
        before = [(one.id, one.log_probability, one.likeliest) for one in echoed]
        texts = texts_of(self._tokenizer, [one.id for one in echoed]) + self.said(growth)
        told = [*before, *zip(growth.ids, growth.scores, growth.likeliest)]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [nats(score) for _, score, _ in told],
            "top_logprobs": [
                self._by_name([*best[: self._most], (token, score)]) for token, score, best in told
            ],
            "text_offset": offsets,
            "token_ids": [token for token, _, _ in told],
            "bytes": [token_bytes(self._tokenizer, token) for token, _, _ in told],
        }

    def _by_name(self, tokens: Iterable[tuple[int, float]]) -> dict[str, float]:
        """Return the log-probabilities of tokens by their texts; those of one text get their number, too."""
        found: dict[str, float] = {}
        for token, score in dict(tokens).items():
            name = token_text(self._tokenizer, token)
            found[f"{name}<{token}>" if name in found else name] = nats(score)
        return found

    def chat(self, growth: Growth) -> dict[str, Any] | None:
        """Return the `logprobs` of `/v1/chat/completions`."""
        if self._most is None:
            return None
        content = [
            {
                **self._token(token, score),
                "token": text,
                "id": token,
                "top_logprobs": [self._token(*one) for one in best[: self._most]],
            }
            for text, token, score, best in zip(
                self.said(growth), growth.ids, growth.scores, growth.likeliest
            )
        ]
        return {"content": content, "refusal": None}

    def _token(self, token: int, score: float) -> dict[str, Any]:
        return {
            "token": token_text(self._tokenizer, token),
            "logprob": nats(score),
            "bytes": token_bytes(self._tokenizer, token),
        }


class Reply:
    """The frame of a reply: its id, its time and its model.

    Args:
        served: the model.
        kind: `completion` or `chat`.
        with_usage: whether the last piece of a stream has the counts of tokens.
    """

    def __init__(self, served: ServedModel, kind: str, with_usage: bool = False):
        self._chat, self._with_usage = kind == "chat", with_usage
        self._frame = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": f"step-{served.lm.step}",
        }

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """Return a reply that is sent at once."""
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._frame, "object": kind, "choices": choices, "usage": usage}

    def piece(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
        """Return a piece of a stream."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        counts = {"usage": usage} if self._with_usage else {}
        return {**self._frame, "object": kind, "choices": choices, **counts}

    def choice(
        self,
        index: int,
        text: str,
        logprobs: dict[str, Any] | None,
        ended_by: str,
        delta: bool = False,
        begins: bool = False,
    ) -> dict[str, Any]:
        """Return a text, or with `delta` a piece of it, its first one if it `begins`, as one choice."""
        said: dict[str, Any] = {"text": text}
        if self._chat and delta:
            said = {"delta": {**({"role": "assistant"} if begins else {}), "content": text}}
        elif self._chat:
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {
            "index": index,
            **said,
            "logprobs": logprobs,
            "finish_reason": ("stop" if ended_by in _STOPS else "length") if ended_by else None,
        }


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return how many tokens were read and generated."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def scored(tokenizer: Tokenizer, tokens: Iterable[ScoredToken]) -> dict[str, Any]:
    """Return what `/v1/score` tells of a text."""
    found = list(tokens)
    texts = texts_of(tokenizer, [one.id for one in found])
    return {
        "nats": nats(-sum(one.log_probability for one in found)) if found else 0.0,
        "tokens": [
            {
                "token": text,
                "id": one.id,
                "bytes": token_bytes(tokenizer, one.id),
                "logprob": nats(one.log_probability),
                "rank": one.rank,
                "top_logprobs": [
                    {"token": token_text(tokenizer, token), "id": token, "logprob": nats(score)}
                    for token, score in one.likeliest
                ],
            }
            for one, text in zip(found, texts)
        ],
    }


def listed(served: ServedModel, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the reply of an address that answers text by text."""
    data = [{"object": "item", "index": index, **item} for index, item in enumerate(items)]
    return {"object": "list", "model": served.name, "step": served.lm.step, "data": data}
