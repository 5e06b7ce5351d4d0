"""GPT-2 in PyTorch: for races with nanoGPT's recipe for a CPU, and beside our own step; PyTorch is optional.

Recipe: https://github.com/karpathy/nanoGPT, README, "I only have a macbook".
"""

import math
import time

import numpy as np
import torch
from torch.nn import functional

from lm_keras.config import Config
from lm_keras.data.preparation import prepare

LAYERS, HEADS, WIDTH, CONTEXT, ROWS = 4, 4, 128, 64, 12
STEPS, WARMUP, RATE, LAST_RATE = 2_000, 100, 1e-3, 1e-4
BETAS, DECAY, CLIP_NORM = (0.9, 0.99), 0.1, 1.0


class Block(torch.nn.Module):
    """Attention and a feed-forward part, each behind a norm."""

    def __init__(self, width: int, heads: int, units: int, biases: bool, dropout: float):
        super().__init__()
        self.heads, self.rate, self.dropout = heads, dropout, torch.nn.Dropout(dropout)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width, bias=biases) for _ in range(2))
        self.mixed = torch.nn.Linear(width, 3 * width, bias=biases)
        self.out = torch.nn.Linear(width, width, bias=biases)
        self.wide = torch.nn.Linear(width, units, bias=biases)
        self.narrow = torch.nn.Linear(units, width, bias=biases)

    def attended(self, x, mask=None, causal=False):
        """Return what the attention adds to x [B, T, D]; a query sees the keys that the mask says, else all
        or those before.
        """
        rows, length, width = x.shape
        parts = self.mixed(x).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        seen = functional.scaled_dot_product_attention(*parts, mask, is_causal=causal, dropout_p=rate)
        return self.out(seen.transpose(1, 2).reshape(rows, length, width))

    def forward(self, x, mask=None):
        """Return x [B, T, D] after both parts; causal where there is no mask."""
        x = x + self.dropout(self.attended(self.norms[0](x), mask, mask is None))
        wide = functional.gelu(self.wide(self.norms[1](x)), approximate="tanh")
        return x + self.dropout(self.narrow(wide))


class Network(torch.nn.Module):
    """GPT-2: learned positions, pre-norm blocks, tied output."""

    def __init__(
        self, vocab_size: int, width: int, layers: int, heads: int, units: int, context: int, biases: bool,
        dropout: float
    ):  # fmt: skip
        super().__init__()
        self.tokens = torch.nn.Embedding(vocab_size, width)
        self.positions = torch.nn.Embedding(context, width)
        self.dropout = torch.nn.Dropout(dropout)
        self.blocks = torch.nn.Sequential(
            *(Block(width, heads, units, biases, dropout) for _ in range(layers))
        )
        self.norm = torch.nn.LayerNorm(width, bias=biases)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                inner = name.endswith(("out.weight", "narrow.weight"))
                torch.nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * layers) if inner else 1.0))

    def batch(self, rows: int, length: int, device: str) -> tuple:
        """Return random tokens, and those that come next."""
        tokens = torch.randint(len(self.tokens.weight), (rows, length + 1), device=device)
        return tokens[:, :-1], tokens[:, 1:]

    def forward(self, tokens, targets):
        """Return the mean nats a target."""
        x = self.dropout(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])
        logits = self.norm(self.blocks(x)) @ self.tokens.weight.T
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def adamw(
    network: torch.nn.Module, rate: float, betas: tuple[float, float], decay: float
) -> torch.optim.AdamW:
    """Return an optimizer that decays matrices."""
    decayed = [weight for weight in network.parameters() if weight.ndim == 2]
    others = [weight for weight in network.parameters() if weight.ndim != 2]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, rate, betas)


class TorchGPTCandidate:
    """The GPT on the text of a run; its settings beside the text's are the recipe's."""

    def __init__(self, config: Config):
        data = prepare(config.data)
        self._text = {
            name: torch.from_numpy(np.array(store.tokens, np.int64)) for name, store in data.splits.items()
        }
        torch.manual_seed(config.batches.seed)
        self._network = Network(
            data.tokenizer.vocab_size, WIDTH, LAYERS, HEADS, 4 * WIDTH, CONTEXT, biases=False, dropout=0.0
        )
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())
        self._optimizer = adamw(self._network, RATE, BETAS, DECAY)

    def run(self) -> float:
        """Train as long as the recipe says, and return the seconds of it."""
        began = time.perf_counter()
        for step in range(STEPS):
            rate = RATE * (step + 1) / (WARMUP + 1)
            if step >= WARMUP:
                done = (step - WARMUP) / (STEPS - WARMUP)
                rate = LAST_RATE + (RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            loss = self._network(*self._random_rows())
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), CLIP_NORM)
            self._optimizer.step()
        return time.perf_counter() - began

    def _random_rows(self):
        text = self._text["train"]
        begins = torch.randint(len(text) - CONTEXT, (ROWS, 1))
        rows = text[begins + torch.arange(CONTEXT + 1)]
        return rows[:, :-1], rows[:, 1:]

    @torch.no_grad()
    def evaluate(self) -> float:
        """Return the mean nats a target of the validation text in windows, as its random batches have it on
        average.
        """
        text = self._text["valid"]
        count = (len(text) - 1) // CONTEXT
        rows = (
            text[: count * CONTEXT].view(count, CONTEXT),
            text[1 : count * CONTEXT + 1].view(count, CONTEXT),
        )
        losses = [
            (float(self._network(*part)), len(part[0])) for part in zip(*(whole.split(256) for whole in rows))
        ]
        return sum(loss * size for loss, size in losses) / count
