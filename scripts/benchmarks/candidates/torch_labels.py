"""Classification in PyTorch: batches of examples of about the same length; PyTorch is optional.

Pools of 100 batches are sorted by length and cut into batches, which come in random order. A batch is padded
to its longest example.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from benchmarks.candidates.labels_of_text import Examples, read
from benchmarks.candidates.torch_masked import _PostNormBlock
from lm_keras.config import Config

POOL = 100
"""Batches of a pool."""


class _LSTM(torch.nn.Module):
    def __init__(self, config: Config, vocab_size: int, labels: int):
        super().__init__()
        model = config.model
        self.tokens = torch.nn.Embedding(vocab_size, model.embedding_dim)
        self.dropout = torch.nn.Dropout(model.dropout)
        self.lstm = torch.nn.LSTM(
            model.embedding_dim, model.units, model.num_layers, batch_first=True,
            bidirectional=model.bidirectional, dropout=model.dropout if model.num_layers > 1 else 0.0,
        )  # fmt: skip
        self.output = torch.nn.Linear((2 if model.bidirectional else 1) * model.units, labels)

    def forward(self, tokens, there):
        """Return logits [B, C] of the largest features of tokens [B, T]."""
        x, _ = self.lstm(self.dropout(self.tokens(tokens)))
        x = self.dropout(x).masked_fill(~there[..., None], -torch.inf)
        return self.output(x.amax(1))


class _BERT(torch.nn.Module):
    def __init__(self, config: Config, vocab_size: int, labels: int):
        super().__init__()
        model = config.model
        width = model.embedding_dim
        self.tokens = torch.nn.Embedding(vocab_size, width)
        self.positions = torch.nn.Embedding(config.context_length, width)
        self.norm, self.dropout = torch.nn.LayerNorm(width), torch.nn.Dropout(model.dropout)
        sizes = (width, model.num_heads, model.units, True, model.dropout)
        self.blocks = torch.nn.ModuleList(_PostNormBlock(*sizes) for _ in range(model.num_layers))
        self.pooler, self.output = torch.nn.Linear(width, width), torch.nn.Linear(width, labels)

    def forward(self, tokens, there):
        """Return logits [B, C] of the first of tokens [B, T]."""
        x = self.dropout(self.norm(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]))
        for block in self.blocks:
            x = block(x, there[:, None, None])
        return self.output(self.dropout(torch.tanh(self.pooler(x[:, 0]))))


NETWORKS = {"lstm": _LSTM, "bert": _BERT}


class Candidate:
    """The network of a run in float32."""

    dtype = torch.float32

    def __init__(self, config: Config):
        torch.manual_seed(config.batches.seed)
        self._examples: Examples = read(config)
        self._network = NETWORKS[config.model.model](
            config, self._examples.vocab_size, self._examples.labels_count
        )
        learning = config.learning
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), learning.learning_rate, weight_decay=learning.weight_decay
        )
        self._clip_norm = learning.clip_norm
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())
        self._batches = self._endless()

    def train(self, seconds: float) -> tuple[float, float]:
        """Train for this number of seconds after two steps; return tokens of the text, and the seconds."""
        for _ in range(2):
            self._step()
        tokens, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            tokens += self._step()
        return tokens, time.perf_counter() - began

    def _endless(self) -> Iterator[np.ndarray]:
        random, lengths, size = np.random.default_rng(1), self._examples.lengths, self._examples.per_step
        while True:
            order = random.permutation(len(lengths))
            for begin in range(0, len(order), POOL * size):
                pool = order[begin : begin + POOL * size]
                pool = pool[np.argsort(lengths[pool], kind="stable")]
                parts = [pool[k : k + size] for k in range(0, len(pool), size)]
                yield from (parts[k] for k in random.permutation(len(parts)))

    def _step(self) -> int:
        tokens, lengths, labels = self._examples.padded(next(self._batches))
        there = torch.arange(tokens.shape[1])[None] < torch.from_numpy(lengths)[:, None]
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            logits = self._network(torch.from_numpy(tokens), there)
            loss = functional.cross_entropy(logits.float(), torch.from_numpy(labels))
        loss.backward()
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()
        return int(lengths.sum()) - len(lengths) * self._examples.frame


class InBfloat16(Candidate):
    """The same with products in bfloat16."""

    dtype = torch.bfloat16
