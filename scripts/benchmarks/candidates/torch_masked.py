"""BERT and GLM in PyTorch, beside our own step; PyTorch is optional."""

import torch
from torch.nn import functional

from benchmarks.candidates.torch_gpt import Block
from lm_keras.config import Config


class _PostNormBlock(Block):
    def forward(self, x, mask=None):
        x = self.norms[0](x + self.dropout(self.attended(x, mask)))
        wide = functional.gelu(self.wide(x))
        return self.norms[1](x + self.dropout(self.narrow(wide)))


def _begin(network: torch.nn.Module) -> None:
    """Draw all matrices from N(0, 0.02)."""
    for weight in network.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.02)


class BERT(torch.nn.Module):
    """Learned positions, post-norm blocks, a head over the masked positions, tied output."""

    def __init__(self, config: Config):
        super().__init__()
        model, self.vocab_size = config.model, config.data.vocab_size
        width, length = model.embedding_dim, config.batches.sequence_length
        self.count = max(1, round(length * model.mask_rate))
        self.tokens = torch.nn.Embedding(self.vocab_size, width)
        self.positions = torch.nn.Embedding(config.context_length, width)
        self.segments = torch.nn.Embedding(2, width)
        self.norm, self.dropout = torch.nn.LayerNorm(width), torch.nn.Dropout(model.dropout)
        sizes = (width, model.num_heads, model.units, True, model.dropout)
        self.blocks = torch.nn.ModuleList(_PostNormBlock(*sizes) for _ in range(model.num_layers))
        self.head, self.head_norm = torch.nn.Linear(width, width), torch.nn.LayerNorm(width)
        self.bias = torch.nn.Parameter(torch.zeros(self.vocab_size))
        _begin(self)

    def batch(self, rows: int, length: int, device: str) -> tuple:
        """Return random tokens, masked positions, and targets."""
        tokens = torch.randint(self.vocab_size, (rows, length), device=device)
        places = torch.rand(rows, length, device=device).argsort(1)[:, : self.count]
        targets = tokens.gather(1, places)
        return tokens.scatter(1, places, 1), places, targets

    def forward(self, tokens, places, targets):
        """Return the mean nats a target."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x)
        x = x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))
        features = self.head_norm(functional.gelu(self.head(x)))
        logits = features @ self.tokens.weight.T + self.bias
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class GLM(torch.nn.Module):
    """Two learned positions, pre-norm blocks, a mask for the part that sees no later tokens, tied output."""

    def __init__(self, config: Config):
        super().__init__()
        model, length = config.model, config.batches.sequence_length
        self.vocab_size = config.data.vocab_size + 3
        hidden = max(1, round(length * model.mask_rate))
        spans = -(-hidden // 2)
        self.length = length + max(2 * spans, 1)
        self.count = max(hidden + spans, length) if model.long_spans else hidden + spans
        width = model.embedding_dim
        self.tokens = torch.nn.Embedding(self.vocab_size, width)
        self.positions = torch.nn.Embedding(config.context_length, width)
        self.within = torch.nn.Embedding(config.context_length + 2, width)
        sizes = (width, model.num_heads, model.units, model.biases, model.dropout)
        self.blocks = torch.nn.ModuleList(Block(*sizes) for _ in range(model.num_layers))
        self.norm, self.dropout = (
            torch.nn.LayerNorm(width, bias=model.biases),
            torch.nn.Dropout(model.dropout),
        )
        _begin(self)

    def batch(self, rows: int, length: int, device: str) -> tuple:
        """Return random tokens, places, what each token sees, where it predicts, and targets."""
        whole = torch.arange(self.length, device=device)
        begins = torch.randint(length, (rows, 1), device=device)
        order = (whole - begins).clamp(min=0)
        seen = order[:, None, None, :] <= order[:, None, :, None]
        tokens = torch.randint(self.vocab_size, (rows, self.length), device=device)
        places = (begins + torch.arange(self.count, device=device)).clamp(max=self.length - 1)
        targets = torch.randint(self.vocab_size, places.shape, device=device)
        return tokens, torch.minimum(whole, begins), order.clamp(max=length + 1), seen, places, targets

    def forward(self, tokens, place, within, seen, places, targets):
        """Return the mean nats a target."""
        x = self.dropout(self.tokens(tokens) + self.positions(place) + self.within(within))
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x.gather(1, places[..., None].expand(-1, -1, x.shape[-1])))
        return functional.cross_entropy((x @ self.tokens.weight.T).flatten(0, 1), targets.flatten())
