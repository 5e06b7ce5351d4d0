"""GPT-2 in the library transformers, of which text is generated with its cache; it is optional,
with PyTorch.
"""

import time

import torch
import transformers

from lm_keras.config import Config

EOD = 0


class HuggingFaceCandidate:
    """A GPT-2 with random weights, in float32 or, as `--precision` says, bfloat16."""

    def __init__(self, config: Config):
        model = config.model
        torch.manual_seed(config.batches.seed)
        made = transformers.GPT2Config(
            vocab_size=config.data.vocab_size, n_positions=config.context_length, n_embd=model.embedding_dim,
            n_layer=model.num_layers, n_head=model.num_heads, n_inner=model.units, bos_token_id=EOD,
            eos_token_id=EOD,
        )  # fmt: skip
        short = config.learning.precision == "mixed_bfloat16"
        self._network = (
            transformers.GPT2LMHeadModel(made).eval().to(torch.bfloat16 if short else torch.float32)
        )
        self._vocab_size = made.vocab_size
        self.parameters = sum(parameter.numel() for parameter in self._network.parameters())

    @torch.no_grad()
    def sample(self, rows: int, prompt: int, tokens: int) -> float:
        """Return the seconds that `rows` rows of `tokens` new tokens take after a prompt."""
        ids = torch.randint(1, self._vocab_size, (rows, prompt))
        began = time.perf_counter()
        made = self._network.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=True, top_k=0,
            pad_token_id=EOD,
        )  # fmt: skip
        elapsed = time.perf_counter() - began
        if made.shape[1] != prompt + tokens:
            raise RuntimeError("a row ended early")
        return elapsed
