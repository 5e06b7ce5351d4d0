"""The Transformer of pairs in PyTorch, trained for a given time, and a search with it."""

import time

import numpy as np
import torch

from benchmarks.candidates import torch_pairs
from benchmarks.candidates.pairs_of_text import padded
from lm_keras import schedules
from lm_keras.config import Config

SENTENCES = 50
"""Sources that are searched at a time."""


class Candidate(torch_pairs.Candidate):
    """The network of a run in its precision."""

    def __init__(self, config: Config):
        self.dtype = torch.bfloat16 if config.learning.precision == "mixed_bfloat16" else torch.float32
        super().__init__(config)
        self._config = config

    def run(self, seconds: float, our_steps: int) -> int:
        """Train for a time, and return the steps.

        Args:
            seconds: of training.
            our_steps: those of our run in the same time, whose learning rate is taken.
        """
        learning = self._config.learning
        factor = schedules.build(learning.learning_rate_schedule, our_steps, learning.warmup_steps)
        began, steps, done = time.perf_counter(), 0, 0.0
        while done < 1:
            for group in self._optimizer.param_groups:
                group["lr"] = learning.learning_rate * factor(int(our_steps * done))
            self._step()
            steps, done = steps + 1, (time.perf_counter() - began) / seconds
        return steps

    @torch.no_grad()
    def translate(self, texts: list[str], beams: int, penalty: float) -> list[str]:
        """Return the target of each source that a search finds, its log-probability in float32.

        Args:
            texts: the sources.
            beams: hypotheses of a source that are kept.
            penalty: alpha of ((5 + n) / 6)^alpha, by which the log-probability of n tokens is divided; 0 or
                more.
        """
        tokenizer, room = self._pairs.tokenizer, self._config.batches.sequence_length - 1
        sources = [np.append(tokenizer.encode(text)[:room], tokenizer.eod_id) for text in texts]
        self._network.eval()
        found = [""] * len(texts)
        order = np.argsort([len(source) for source in sources], kind="stable")
        for begin in range(0, len(order), SENTENCES):
            numbers = order[begin : begin + SENTENCES]
            for number, ids in zip(numbers, self._search([sources[n] for n in numbers], beams, penalty)):
                found[number] = tokenizer.decode(ids)
        self._network.train()
        return found

    def _search(self, sources: list[np.ndarray], beams: int, penalty: float) -> list[list[int]]:
        """Return the best target of each source without its end."""
        begin, end = self._pairs.tokenizer.begin_id, self._pairs.tokenizer.eod_id
        source, there = (torch.from_numpy(part).repeat_interleave(beams, 0) for part in padded(sources))
        memory, rows = self._network.encode(source, there), len(sources)
        most = min(self._config.batches.sequence_length - 1, int(1.5 * source.shape[1]) + 10)
        tokens = torch.full((rows * beams, 1), begin)
        scores = torch.full((rows, beams), -torch.inf)
        scores[:, 0] = 0.0  # All beams are equal at first.
        ended: list[list[tuple[float, list[int]]]] = [[] for _ in sources]
        for length in range(1, most + 1):
            logits = self._network.decode(memory, there, tokens)[:, -1]
            nats = torch.log_softmax(logits, -1).view(rows, beams, -1)
            total = scores[..., None] + nats
            for row, beam in (total[..., end] > -torch.inf).nonzero().tolist():
                value = float(total[row, beam, end]) / ((5 + length) / 6) ** penalty
                ended[row].append((value, tokens[row * beams + beam, 1:].tolist()))
            total[..., end] = -torch.inf
            scores, places = total.flatten(1).topk(beams)
            before = (torch.arange(rows)[:, None] * beams + places // nats.shape[-1]).flatten()
            tokens = torch.cat([tokens[before], (places % nats.shape[-1]).view(-1, 1)], 1)
            # A longer target has a lower log-probability, and at best the divisor of the longest.
            best = torch.tensor([max(own)[0] for own in ended])
            if bool((scores[:, 0] / ((5 + most) / 6) ** penalty < best).all()):
                break
        return [max(own)[1] for own in ended]
