"""Answers to a question by transformers and llama.cpp, of the folder or file that a run goes out as. Both are
optional: `pip install torch transformers cyllama==0.2.18`.
"""

import tempfile
import time
from pathlib import Path

import lm_keras
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import template_of
from lm_keras.training import conversion

CONTEXT = 512
"""Tokens that llama.cpp has room for."""


class Peer:
    """A model of others, made from a run.

    Args:
        run_dir: folder of the run.
    """

    def __init__(self, run_dir: str):
        self._tokenizer = lm_keras.load(run_dir).tokenizer
        with tempfile.TemporaryDirectory() as folder:
            self._load(run_dir, Path(folder))

    def _load(self, run_dir: str, folder: Path) -> None:
        """Write the run into a folder as the peer reads it, and have it read that."""
        raise NotImplementedError

    def _greedy(self, ids: list[int], tokens: int) -> int:
        """Return how many tokens follow `ids`, at most `tokens`."""
        raise NotImplementedError

    def answer(self, question: str, tokens: int) -> tuple[int, float]:
        """Return how many tokens a greedy answer of at most `tokens` has, and the seconds that it took."""
        began = time.perf_counter()
        messages = [Message("user", question)]
        encoded = template_of(self._tokenizer).encode(messages, self._tokenizer, add_generation_prompt=True)
        return self._greedy(encoded.ids.tolist(), tokens), time.perf_counter() - began


class Transformers(Peer):
    """In float32, with its cache."""

    def _load(self, run_dir: str, folder: Path) -> None:
        import torch
        import transformers

        self._torch = torch
        conversion.from_run(run_dir, "last", str(folder / "model"))
        self._network = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=torch.float32
        ).eval()

    def _greedy(self, ids: list[int], tokens: int) -> int:
        given = self._torch.tensor([ids])
        with self._torch.no_grad():
            found = self._network.generate(
                given, attention_mask=self._torch.ones_like(given), do_sample=False, max_new_tokens=tokens
            )
        return found.shape[1] - len(ids)


class LlamaCpp(Peer):
    """In float32, by a thread for each core."""

    kind = "f32"

    def _load(self, run_dir: str, folder: Path) -> None:
        from cyllama.llama import llama_cpp

        from lm_keras.surroundings import usable_cores

        llama_cpp.disable_logging()
        self._llama, path = llama_cpp, folder / "model.gguf"
        conversion.gguf_from_run(run_dir, "last", str(path), self.kind)
        self._model = llama_cpp.LlamaModel(str(path), llama_cpp.LlamaModelParams(), verbose=False)
        settings = llama_cpp.LlamaContextParams()
        settings.n_ctx = CONTEXT
        settings.n_threads = settings.n_threads_batch = usable_cores()
        self._context = llama_cpp.LlamaContext(self._model, settings, verbose=False)

    def _greedy(self, ids: list[int], tokens: int) -> int:
        self._context.kv_cache_clear()
        sampler = self._llama.LlamaSampler(self._llama.LlamaSamplerChainParams())
        sampler.add_greedy()
        vocabulary = self._model.get_vocab()
        self._context.decode(self._llama.llama_batch_get_one(ids, 0))
        for count in range(1, tokens + 1):
            token = sampler.sample(self._context, -1)
            if vocabulary.is_eog(token) or count == tokens:
                return count
            self._context.decode(self._llama.llama_batch_get_one([token], len(ids) + count - 1))
        return tokens


class LlamaCppInt8(LlamaCpp):
    """With the 8-bit weights of llama.cpp."""

    kind = "q8_0"
