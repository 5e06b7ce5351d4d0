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

_REASONS = {"eod": "stop", "stop": "stop", "length": "length", "context": "length"}
"""What the protocol calls the reasons why a text ends."""


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Return a token as text: its characters, or its name where it stands for none."""
    if token >= tokenizer.vocab_size:
        return f"<{token}>"
    if token in tokenizer.special_ids:
        return tokenizer.label(token)
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


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
        return [
            "" if number >= last or token in special else self._decoder.push([token])
            for number, token in enumerate(growth.ids)
        ]

    def completion(self, growth: Growth, echoed: Sequence[ScoredToken] = ()) -> dict[str, Any] | None:
        """Return the `logprobs` of `/v1/completions`.

        Args:
            growth: new tokens.
            echoed: the tokens of the prompt, if they are told, too.
        """
        if self._most is None:
            return None
        before = [(one.id, one.log_probability, one.likeliest) for one in echoed]
        texts = [token_text(self._tokenizer, one.id) for one in echoed] + self.said(growth)
        told = [*before, *zip(growth.ids, growth.scores, growth.likeliest)]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [nats(score) for _, score, _ in told],
            "top_logprobs": [
                {token_text(self._tokenizer, one): nats(score) for one, score in best[: self._most]}
                for _, _, best in told
            ],
            "text_offset": offsets,
            "token_ids": [token for token, _, _ in told],
        }

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
        known = token < self._tokenizer.vocab_size
        content = list(self._tokenizer.token_bytes(token)) if known else []
        return {"token": token_text(self._tokenizer, token), "logprob": nats(score), "bytes": content}


class Reply:
    """The frame of a reply: its id, its time and its model.

    Args:
        served: the model.
        kind: `completion` or `chat`.
    """

    def __init__(self, served: ServedModel, kind: str):
        self._chat = kind == "chat"
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
        return {**self._frame, "object": kind, "choices": choices, **({"usage": usage} if usage else {})}

    def choice(
        self,
        index: int,
        text: str,
        logprobs: dict[str, Any] | None,
        ended_by: str,
        delta: bool = False,
    ) -> dict[str, Any]:
        """Return a text, or with `delta` a piece of it, as one of the choices."""
        said: dict[str, Any] = {"text": text}
        if self._chat and delta:
            said = {"delta": {"content": text}}
        elif self._chat:
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {
            "index": index,
            **said,
            "logprobs": logprobs,
            "finish_reason": _REASONS[ended_by] if ended_by else None,
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
    return {
        "nats": nats(-sum(one.log_probability for one in found)) if found else 0.0,
        "tokens": [
            {
                "token": token_text(tokenizer, one.id),
                "id": one.id,
                "logprob": nats(one.log_probability),
                "rank": one.rank,
                "top_logprobs": [
                    {"token": token_text(tokenizer, token), "id": token, "logprob": nats(score)}
                    for token, score in one.likeliest
                ],
            }
            for one in found
        ],
    }


def listed(served: ServedModel, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the reply of an address that answers text by text."""
    data = [{"object": "item", "index": index, **item} for index, item in enumerate(items)]
    return {"object": "list", "model": served.name, "step": served.lm.step, "data": data}
