"""The Transformer of an encoder and a decoder in PyTorch; PyTorch is optional.

Pools of 100 batches are sorted by length and cut into batches, which come in random order. A batch is padded
to its longest source and target.
"""

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from benchmarks.candidates.pairs_of_text import PairsOfText, read
from benchmarks.candidates.torch_gpt import adamw
from lm_keras.config import Config

POOL = 100
"""Batches of a pool."""

ACTIVATIONS = {
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_erf": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


class _Attention(torch.nn.Module):
    """Attention of x [B, T, D] to itself or to a memory [B, S, D], behind a norm."""

    def __init__(self, width: int, heads: int, rate: float, cross: bool):
        super().__init__()
        self.heads, self.rate = heads, 0.0 if cross else rate
        self.norm, self.out = torch.nn.LayerNorm(width), torch.nn.Linear(width, width)
        self.query = torch.nn.Linear(width, width) if cross else None
        self.mixed = torch.nn.Linear(width, (2 if cross else 3) * width)

    def forward(self, x, mask, memory=None):
        rows, length, width = x.shape
        normal = self.norm(x)
        mixed = self.mixed(normal if memory is None else memory)
        parts = mixed.view(rows, mixed.shape[1], -1, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if memory is not None:
            queries = self.query(normal).view(rows, length, self.heads, -1).transpose(1, 2)
            parts = (queries, *parts)
        rate = self.rate if self.training else 0.0
        seen = functional.scaled_dot_product_attention(*parts, mask, dropout_p=rate)
        return self.out(seen.transpose(1, 2).reshape(rows, length, width))


class _Block(torch.nn.Module):
    def __init__(self, config: Config, cross: bool):
        super().__init__()
        model = config.model
        width, units = model.embedding_dim, model.units
        self.own = _Attention(width, model.num_heads, model.dropout, False)
        self.cross = _Attention(width, model.num_heads, model.dropout, True) if cross else None
        self.norm, self.dropout = torch.nn.LayerNorm(width), torch.nn.Dropout(model.dropout)
        self.wide, self.narrow = torch.nn.Linear(width, units), torch.nn.Linear(units, width)
        self.activation = ACTIVATIONS[model.activation]

    def forward(self, x, mask, memory=None, memory_mask=None):
        x = x + self.dropout(self.own(x, mask))
        if self.cross is not None:
            x = x + self.dropout(self.cross(x, memory_mask, memory))
        return x + self.dropout(self.narrow(self.activation(self.wide(self.norm(x)))))


class _Transformer(torch.nn.Module):
    """Pre-norm, sinusoidal positions, one table for source, target and output."""

    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        model = config.model
        width, length = model.embedding_dim, config.batches.sequence_length
        self.tokens = torch.nn.Embedding(vocab_size, width)
        torch.nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.dropout, self.scale = torch.nn.Dropout(model.dropout), math.sqrt(width)
        self.bias = torch.nn.Parameter(torch.zeros(vocab_size))
        encoder_layers = model.encoder_layers or model.num_layers
        self.encoder = torch.nn.ModuleList(_Block(config, False) for _ in range(encoder_layers))
        self.decoder = torch.nn.ModuleList(_Block(config, True) for _ in range(model.num_layers))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(2))
        angles = torch.arange(length)[:, None] * 10_000 ** (-2.0 * torch.arange(width // 2) / width)
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], 1))

    def embedded(self, tokens):
        """Return embedded tokens with their positions, [B, T, D]."""
        return self.dropout(self.tokens(tokens) * self.scale + self.positions[: tokens.shape[1]])

    def forward(self, source, source_there, tokens):
        """Return logits [B, T, V]."""
        return self.decode(self.encode(source, source_there), source_there, tokens)

    def encode(self, source, source_there):
        """Return the sources [B, S] as vectors [B, S, D]."""
        seen, memory = source_there[:, None, None], self.embedded(source)
        for block in self.encoder:
            memory = block(memory, seen)
        return self.norms[0](memory)

    def decode(self, memory, source_there, tokens):
        """Return the logits [B, T, V] of what follows each token of a target."""
        seen, x = source_there[:, None, None], self.embedded(tokens)
        causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
        for block in self.decoder:
            x = block(x, causal, memory, seen)
        return functional.linear(self.norms[1](x), self.tokens.weight, self.bias)


class Candidate:
    """The network of a run in float32."""

    dtype = torch.float32

    def __init__(self, config: Config):
        torch.manual_seed(config.batches.seed)
        self._pairs: PairsOfText = read(config)
        self._network = _Transformer(config, self._pairs.tokenizer.vocab_size)
        learning = config.learning
        betas = (learning.beta_1 or 0.9, learning.beta_2 or 0.999)
        self._optimizer = adamw(self._network, learning.learning_rate, betas, learning.weight_decay)
        self._clip_norm, self._smoothing = learning.clip_norm, config.label_smoothing
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())
        self._batches = self._endless()

    def train(self, seconds: float) -> tuple[float, float, float]:
        """Train for this number of seconds after two steps; return target tokens, the seconds, and the
        seconds of the processor.
        """
        for _ in range(2):
            self._step()
        tokens, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            tokens += self._step()
        return tokens, time.perf_counter() - began, time.process_time() - cpu

    def _endless(self) -> Iterator[np.ndarray]:
        random, lengths, size = np.random.default_rng(1), self._pairs.lengths, self._pairs.per_step
        while True:
            order = random.permutation(len(lengths))
            for begin in range(0, len(order), POOL * size):
                pool = order[begin : begin + POOL * size]
                pool = pool[np.argsort(lengths[pool], kind="stable")]
                parts = [pool[k : k + size] for k in range(0, len(pool), size)]
                yield from (parts[k] for k in random.permutation(len(parts)))

    def _step(self) -> int:
        arrays = self._pairs.padded(next(self._batches))
        batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            logits = self._network(batch["source"], batch["source_there"], batch["tokens"])
            targets = batch["targets"].masked_fill(~batch["there"], -100)
            loss = functional.cross_entropy(
                logits.float().flatten(0, 1), targets.flatten(), label_smoothing=self._smoothing
            )
        loss.backward()
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()
        return int(arrays["there"].sum())


class InBfloat16(Candidate):
    """The same with products in bfloat16."""

    dtype = torch.bfloat16
