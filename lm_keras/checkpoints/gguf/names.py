"""What GGUF calls the settings and weights of the models that `lm_keras.checkpoints.foreign` knows."""

import re
from typing import Any, NamedTuple

import numpy as np

_LLAMA_KEYS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}

_GPT2_KEYS = {
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "vocab_size": "vocab_size",
}

_LLAMA_TENSORS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "output": "lm_head",
    "blk.N.attn_norm": "layers.N.input_layernorm",
    "blk.N.attn_q": "layers.N.self_attn.q_proj",
    "blk.N.attn_k": "layers.N.self_attn.k_proj",
    "blk.N.attn_v": "layers.N.self_attn.v_proj",
    "blk.N.attn_q_norm": "layers.N.self_attn.q_norm",
    "blk.N.attn_k_norm": "layers.N.self_attn.k_norm",
    "blk.N.attn_output": "layers.N.self_attn.o_proj",
    "blk.N.ffn_norm": "layers.N.post_attention_layernorm",
    "blk.N.ffn_gate": "layers.N.mlp.gate_proj",
    "blk.N.ffn_up": "layers.N.mlp.up_proj",
    "blk.N.ffn_down": "layers.N.mlp.down_proj",
}

_GPT2_TENSORS = {
    "token_embd": "wte",
    "position_embd": "wpe",
    "output_norm": "ln_f",
    "output": "lm_head",
    "blk.N.attn_norm": "h.N.ln_1",
    "blk.N.attn_qkv": "h.N.attn.c_attn",
    "blk.N.attn_output": "h.N.attn.c_proj",
    "blk.N.ffn_norm": "h.N.ln_2",
    "blk.N.ffn_up": "h.N.mlp.c_fc",
    "blk.N.ffn_down": "h.N.mlp.c_proj",
}

ROPE_FREQUENCIES = "rope_freqs.weight"
"""By what each frequency of rotary positions is divided, [d / 2]: how a file holds the scaling of LLaMA 3."""


class Architecture(NamedTuple):
    """A family of networks of GGUF.

    Attributes:
        model_type: the one of Hugging Face's that a file becomes.
        keys: settings, without the name of the architecture: those of a config.json by those of a file.
        tensors: names of weights, N for the number of a block: those of a folder by those of a file.
        turns: rows of queries and keys whose pairs of rotary positions stand side by side, not half a head
            apart.
        transposed: weights that have rows and columns exchanged there.
    """

    model_type: str
    keys: dict[str, str]
    tensors: dict[str, str]
    turns: re.Pattern = re.compile("(?!)")
    transposed: re.Pattern = re.compile("(?!)")

    def name_there(self, name: str) -> str:
        """Return the name in a folder, without prefix, of a tensor of a file; one that is unknown stays."""
        return _renamed(name, self.tensors)

    def name_in_file(self, name: str) -> str:
        """Return the name in a file of a tensor of a folder."""
        return _renamed(name, {theirs: ours for ours, theirs in self.tensors.items()})

    def to_file(self, name: str, value: np.ndarray, heads: dict[str, int]) -> np.ndarray:
        """Return a weight as a file has it.

        Args:
            name: in a folder.
            value: as a folder has it.
            heads: of `q` and `k`.
        """
        value = value.T if self.transposed.fullmatch(name) else value
        if found := self.turns.fullmatch(name):
            pairs = value.reshape(heads[found[1]], 2, -1, *value.shape[1:])
            return pairs.swapaxes(1, 2).reshape(value.shape)
        return value

    def to_folder(self, name: str, value: np.ndarray, heads: dict[str, int]) -> np.ndarray:
        """Return a weight as a folder has it; the arguments as for `to_file`.

        Example: two heads of four rows; a file has the pairs (0, 2) and (1, 3) of each side by side.

            >>> rows = np.arange(8)[:, None]
            >>> llama = ARCHITECTURES["llama"]
            >>> there = llama.to_file("layers.0.self_attn.q_proj.weight", rows, {"q": 2})
            >>> there[:, 0].tolist()
            [0, 2, 1, 3, 4, 6, 5, 7]
            >>> llama.to_folder("layers.0.self_attn.q_proj.weight", there, {"q": 2})[:, 0].tolist()
            [0, 1, 2, 3, 4, 5, 6, 7]
        """
        if found := self.turns.fullmatch(name):
            pairs = value.reshape(heads[found[1]], -1, 2, *value.shape[1:])
            value = pairs.swapaxes(1, 2).reshape(value.shape)
        return value.T if self.transposed.fullmatch(name) else value


def _renamed(name: str, names: dict[str, str]) -> str:
    stem, _, kind = name.rpartition(".")
    number = re.search(r"\.(\d+)\.", stem)
    found = names.get(re.sub(r"\.\d+\.", ".N.", stem, count=1)) if kind in ("weight", "bias") else None
    if found is None:
        return name
    return f"{found.replace('N', number[1]) if number else found}.{kind}"


ARCHITECTURES = {
    "llama": Architecture(
        "llama", _LLAMA_KEYS, _LLAMA_TENSORS,
        turns=re.compile(r"layers\.\d+\.self_attn\.(q|k)_proj\.(?:weight|bias)"),
    ),
    "qwen2": Architecture("qwen2", _LLAMA_KEYS, _LLAMA_TENSORS),
    "qwen3": Architecture("qwen3", _LLAMA_KEYS, _LLAMA_TENSORS),
    "gpt2": Architecture(
        "gpt2", _GPT2_KEYS, _GPT2_TENSORS,
        transposed=re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight"),
    ),
}  # fmt: skip
"""By `general.architecture`."""

WRITTEN_AS = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2"}
"""The architecture of each model type of Hugging Face."""

OPTIONAL = ("attention.head_count_kv", "attention.key_length", "rope.freq_base", "vocab_size")
"""Settings that a file may lack."""

FIXED: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "use_parallel_residual": (False,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "rope.scale_linear": (1.0,),
    "attention.sliding_window": (0,),
    "rope.scaling.finetuned": (True, False),
    "tensor_data_layout": ("Meta AI original pth",),
}
"""Settings that may have these values only, which change no number."""
