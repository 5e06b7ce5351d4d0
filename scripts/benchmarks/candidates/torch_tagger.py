"""Tagging in PyTorch by a bidirectional LSTM, whose tags come from softmax or from a linear-chain CRF.

Shapes: B texts, T tokens of the longest, K its words, C tags.
"""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional, utils

from lm_keras.config import Config
from lm_keras.data.preparation import PreparedData
from lm_keras.data.store import TokenStore
from lm_keras.objectives.scores import span_scores
from lm_keras.objectives.viterbi import best_tags

IMPOSSIBLE = -1e4
"""Score of a tag that cannot follow: I-X behind another type or behind O."""

NO_TAG = -1

TEXTS = 32
"""Of a batch."""

Example = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The tokens of a text, places of its words' first tokens, and the tags of the words."""


def examples_of(store: TokenStore) -> list[Example]:
    """Return the texts of a store that have words."""
    tokens, tags = np.asarray(store.tokens), np.asarray(store.columns["tag"])
    found = []
    for begin, end in zip(store.documents, store.ends):
        words = np.flatnonzero(tags[begin:end] != NO_TAG)
        if len(words):
            found.append((tokens[begin:end].astype(np.int64), words, tags[begin:end][words].astype(np.int64)))
    return found


class Tagger(torch.nn.Module):
    """Embedding, bidirectional LSTM and scores of tags.

    Args:
        config: settings of the network.
        vocab_size: of the tokenizer.
        names: of the C tags.
        crf: learn the score of a whole sequence of tags, with scores of transitions, in place of each tag's
            own.

    Reference: Lafferty, McCallum and Pereira (2001); Huang, Xu and Yu (2015), section 2.
    """

    def __init__(self, config: Config, vocab_size: int, names: Sequence[str], crf: bool):
        super().__init__()
        model, self.names, self.crf = config.model, names, crf
        count = len(names)
        self.embedding = torch.nn.Embedding(vocab_size, model.embedding_dim)
        torch.nn.init.normal_(self.embedding.weight, std=0.1)
        self.dropout = torch.nn.Dropout(model.dropout)
        self.lstm = torch.nn.LSTM(
            model.embedding_dim, model.units, model.num_layers, batch_first=True, bidirectional=True,
            dropout=model.dropout if model.num_layers > 1 else 0.0,
        )  # fmt: skip
        self.output = torch.nn.Linear(2 * model.units, count)
        self.transitions, self.first, self.last = (
            torch.nn.Parameter(torch.zeros(shape)) for shape in ((count, count), count, count)
        )
        self.register_buffer("allowed", torch.zeros(count, count))
        self.register_buffer("may_begin", torch.zeros(count))
        for inside, name in enumerate(self.names):
            if name.startswith("I-"):
                self.may_begin[inside] = IMPOSSIBLE
                for before, other in enumerate(self.names):
                    if other == "O" or other[2:] != name[2:]:
                        self.allowed[before, inside] = IMPOSSIBLE

    def forward(self, examples: list[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores [B, K, C], and the tags [B, K], `NO_TAG` beyond the words."""
        lengths, counts = [len(e[0]) for e in examples], [len(e[1]) for e in examples]
        tokens = torch.zeros(len(examples), max(lengths), dtype=torch.long)
        words = torch.zeros(len(examples), max(counts), dtype=torch.long)
        tags = torch.full_like(words, NO_TAG)
        for row, (text, places, names) in enumerate(examples):
            tokens[row, : len(text)] = torch.from_numpy(text)
            words[row, : len(places)] = torch.from_numpy(places)
            tags[row, : len(names)] = torch.from_numpy(names)
        x = utils.rnn.pack_padded_sequence(
            self.dropout(self.embedding(tokens)), lengths, batch_first=True, enforce_sorted=False
        )
        x, _ = utils.rnn.pad_packed_sequence(self.lstm(x)[0], batch_first=True)
        x = torch.gather(x, 1, words[..., None].expand(-1, -1, x.shape[-1]))
        return self.output(self.dropout(x)), tags

    def loss(self, examples: list[Example]) -> torch.Tensor:
        """Return the negative log-likelihood of the tags, a word."""
        return self.loss_of(*self(examples))

    def loss_of(self, scores: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        """Return the same of scores [B, K, C] and tags [B, K]."""
        there = tags != NO_TAG
        if not self.crf:
            return functional.cross_entropy(scores[there], tags[there])
        transitions, first = self.transitions + self.allowed, self.first + self.may_begin
        known, rows = tags.clamp(min=0), torch.arange(len(tags))
        of_tags = scores.gather(2, known[..., None])[..., 0]
        steps = torch.where(there[:, 1:], of_tags[:, 1:] + transitions[known[:, :-1], known[:, 1:]], 0.0)
        behind = there.sum(1) - 1
        chosen = first[known[:, 0]] + of_tags[:, 0] + steps.sum(1) + self.last[known[rows, behind]]
        sums = first + scores[:, 0]  # [B, C], of all sequences that end with a tag
        for word in range(1, tags.shape[1]):
            following = torch.logsumexp(sums[:, :, None] + transitions, 1) + scores[:, word]
            sums = torch.where(there[:, word, None], following, sums)
        return (torch.logsumexp(sums + self.last, 1) - chosen).sum() / there.sum()

    @torch.no_grad()
    def tags(self, examples: list[Example]) -> list[list[str]]:
        """Return the best tags of each text, by Viterbi."""
        scores, tags = self(examples)
        found = []
        for row, count in zip(scores, (tags != NO_TAG).sum(1)):
            row = row[:count]
            best = self.best(row) if self.crf else best_tags(torch.log_softmax(row, -1).numpy(), self.names)
            found.append([self.names[tag] for tag in best])
        return found

    def best(self, scores: torch.Tensor) -> list[int]:
        """Return the tags with the highest score of scores [K, C] and transitions."""
        best, origins = self.first + self.may_begin + scores[0], []
        for row in scores[1:]:
            highest, origin = (best[:, None] + self.transitions + self.allowed).max(0)
            best = highest + row
            origins.append(origin)
        path = [int((best + self.last).argmax())]
        for origin in reversed(origins):
            path.append(int(origin[path[-1]]))
        return path[::-1]


def trained(config: Config, data: PreparedData, crf: bool, seed: int) -> tuple[float, float, float]:
    """Train in batches of `TEXTS` texts, with Adam and a cosine for the learning rate down to 0.

    Args:
        config: the settings of a run, of which network, epochs, learning rate and clipping count.
        data: its text.
        crf: see `Tagger`.
        seed: of weights, dropout and order.

    Returns:
        The strict span F1 on validation text and on test text, with the weights that are best on the former,
        and the seconds that it took.
    """
    torch.manual_seed(seed)
    random, texts = np.random.default_rng(seed), {name: examples_of(s) for name, s in data.splits.items()}
    learning, train = config.learning, texts["train"]
    network = Tagger(config, data.tokenizer.vocab_size, data.labels.names, crf)
    optimizer = torch.optim.Adam(network.parameters(), learning.learning_rate)
    epochs = config.batches.epochs
    steps = epochs * (len(train) // TEXTS)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    began, best = time.perf_counter(), (-1.0, -1.0)
    for _ in range(epochs):
        order = random.permutation(len(train))
        for begin in range(0, len(order) - TEXTS + 1, TEXTS):
            optimizer.zero_grad()
            network.loss([train[number] for number in order[begin : begin + TEXTS]]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), learning.clip_norm or float("inf"))
            optimizer.step()
            schedule.step()
        valid = _f1(network, texts["valid"])
        if valid > best[0]:
            best = valid, _f1(network, texts["test"])
    return *best, time.perf_counter() - began


def _f1(network: Tagger, examples: list[Example]) -> float:
    network.eval()
    found = []
    for begin in range(0, len(examples), 2 * TEXTS):
        found += network.tags(examples[begin : begin + 2 * TEXTS])
    network.train()
    return span_scores([[network.names[tag] for tag in tags] for _, _, tags in examples], found)["span_f1"]
