"""The same network in PyTorch, trained and sampled from in a plain loop; PyTorch is optional."""

import time

import torch

from benchmarks.candidates import torch_gpt, torch_masked
from lm_keras.config import Config
from lm_keras.errors import InputError

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.0),
}

STEPS_AT_ONCE = 10
"""A GPU is asked for this number of steps before the clock is read."""


class _Network(torch.nn.Module):
    def __init__(self, vocab_size: int, embedding_dim: int, units: int, layers: int, dropout: float):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, embedding_dim)
        self.lstm = torch.nn.LSTM(embedding_dim, units, layers, dropout=dropout if layers > 1 else 0.0)
        self.dropout = torch.nn.Dropout(dropout)
        self.output = torch.nn.Linear(units, vocab_size)

    def forward(self, tokens, state=None):
        """Return logits [T, B, V] for tokens [T, B], and the state."""
        x, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(x)), state


def _gpt(config: Config) -> torch.nn.Module:
    model = config.model
    return torch_gpt.Network(
        config.data.vocab_size, model.embedding_dim, model.num_layers, model.num_heads, model.units,
        config.context_length,
        model.biases, model.dropout,
    )  # fmt: skip


NETWORKS = {"gpt": _gpt, "bert": torch_masked.BERT, "glm": torch_masked.GLM}
"""Stacks of Transformer blocks: modules with `batch(rows, length, device)`, which returns what they are
called with.
"""


class TransformerCandidate:
    """GPT-2, BERT or GLM in float32; on a GPU where there is one.

    Attributes:
        compiled: whether `torch.compile` makes the step.
        dtype: of the products, by autocast.
    """

    compiled, dtype = False, torch.float32

    def __init__(self, config: Config):
        learning, batches = config.learning, config.batches
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.manual_seed(batches.seed)
        self._network = NETWORKS[config.model.model](config).to(self._device)
        betas = (learning.beta_1 or 0.9, learning.beta_2 or 0.999)
        self._optimizer = torch_gpt.adamw(self._network, learning.learning_rate, betas, learning.weight_decay)
        self._clip_norm = learning.clip_norm
        self._shape = (batches.batch_size, batches.sequence_length)
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())
        self._loss = torch.compile(self._network) if self.compiled else self._network

    def train(self, seconds: float) -> tuple[int, float]:
        """Train for this number of seconds, after two steps that are not counted."""
        return _timed(self._step, self._device, seconds)

    def _step(self) -> None:
        batch = self._network.batch(*self._shape, self._device)
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device, self.dtype, enabled=self.dtype != torch.float32):
            loss = self._loss(*batch)
        loss.backward()
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()


class CompiledTransformer(TransformerCandidate):
    """The same, compiled."""

    compiled = True


class TransformerInBfloat16(TransformerCandidate):
    """The same with products in bfloat16."""

    dtype = torch.bfloat16


def of_family(config: Config):
    """Return the candidate of the family."""
    return TransformerCandidate(config) if config.model.model in NETWORKS else TorchLSTMCandidate(config)


def _timed(step, device: str, seconds: float) -> tuple[int, float]:
    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        step()
    wait()
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
        if not steps % STEPS_AT_ONCE:
            wait()
    wait()
    return steps, time.perf_counter() - began


class TorchLSTMCandidate:
    """`nn.Embedding`, `nn.LSTM` and `nn.Linear` in float32, with carried state for streams; on a GPU where
    there is one.

    There products may be in TF32, as TensorFlow's are.
    """

    def __init__(self, config: Config):
        model, learning, batches = config.model, config.learning, config.batches
        if learning.optimizer not in OPTIMIZERS:
            raise InputError(
                f"--optimizer={learning.optimizer}: --peer=torch has {', '.join(OPTIMIZERS)}; take one of"
                " them"
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.manual_seed(batches.seed)
        self._vocab_size = config.data.vocab_size
        self._network = _Network(
            self._vocab_size, model.embedding_dim, model.units, model.num_layers, model.dropout
        ).to(self._device)
        self._optimizer = OPTIMIZERS[learning.optimizer](
            self._network.parameters(), lr=learning.learning_rate
        )
        self._clip_norm, self._carried = learning.clip_norm, config.batching == "stream"
        self._shape, self._state = (batches.sequence_length + 1, batches.batch_size), None
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())

    def train(self, seconds: float) -> tuple[int, float]:
        """Train for this number of seconds, after two steps that are not counted."""
        return _timed(self._step, self._device, seconds)

    def _step(self) -> None:
        tokens = torch.randint(self._vocab_size, self._shape, device=self._device)
        self._optimizer.zero_grad(set_to_none=True)
        logits, state = self._network(tokens[:-1], self._state)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())
        loss.backward()
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self._optimizer.step()
        self._state = tuple(part.detach() for part in state) if self._carried else None

    @torch.no_grad()
    def sample(self, rows: int, prompt: int, tokens: int) -> float:
        """Return the seconds that `rows` rows of `tokens` new tokens take after a prompt of one token."""
        self._network.train(False)
        last, state, chosen = torch.ones(1, rows, dtype=torch.long, device=self._device), None, []
        began = time.perf_counter()
        for _ in range(tokens):
            logits, state = self._network(last, state)
            last = torch.multinomial(torch.softmax(logits[0], -1), 1).T
            chosen.append(last)
        torch.cat(chosen).tolist()
        elapsed = time.perf_counter() - began
        self._network.train()
        return elapsed
