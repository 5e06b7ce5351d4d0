"""llama.cpp's own logits and tokens of a GGUF file, by cyllama 0.2.18, a wheel with llama.cpp inside."""

import numpy as np
from cyllama.llama import llama_cpp


class _Model(llama_cpp.LlamaModel):
    n_vocab = property(lambda self: self.get_vocab().n_vocab)  # cyllama asks for it and lacks it.


class Client:
    """A model that llama.cpp has loaded."""

    def __init__(self, path, context=64):
        llama_cpp.disable_logging()
        self.model = _Model(str(path), llama_cpp.LlamaModelParams(), verbose=False)
        settings = llama_cpp.LlamaContextParams()
        settings.n_ctx = context
        settings.type_k = settings.type_v = settings.flash_attn_type = 0  # Keys and values in 32 bits.
        self.context = llama_cpp.LlamaContext(self.model, settings, verbose=False)
        self.vocabulary = self.model.get_vocab()

    def tokenize(self, text):
        """Return the ids of a text without the token that begins it; names of special tokens are text."""
        return list(self.vocabulary.tokenize(text, False, False))

    def logits(self, ids):
        """Return the logits [T, V] of one row."""
        self.context.kv_cache_clear()
        return np.stack([self._step(token, position) for position, token in enumerate(ids)])

    def greedy(self, ids, count, without=()):
        """Return the ids of a greedy continuation, of which none is one of some tokens."""
        found = self.logits(ids)[-1]
        chosen = []
        for position in range(len(ids), len(ids) + count):
            found[list(without)] = -np.inf
            chosen.append(int(found.argmax()))
            found = self._step(chosen[-1], position)
        return chosen

    def _step(self, token, position):
        batch = llama_cpp.LlamaBatch(n_tokens=1, embd=0, n_seq_max=1, verbose=False)
        batch.add(int(token), position, [0], True)
        self.context.decode(batch)
        return np.array(self.context.get_logits_ith(0), np.float32)
