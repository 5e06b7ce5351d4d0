"""What docs/reference/huggingface.md says of settings, weights and other files, from the tables in the code.

`python tests/checkpoints/page_of_folders.py` writes it.
"""

import json
from pathlib import Path

from lm_keras.checkpoints import foreign
from lm_keras.checkpoints.foreign import files, keys, tensors
from lm_keras.checkpoints.foreign.rope import ROPE_KEYS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "huggingface.md"
NEXT = "\n## Tokenizers\n"
"""What stands behind these sections."""

TITLES = {
    "gpt2": "GPT-2", "llama": "LLaMA", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3",
    "bert": "BERT", "marian": "Marian",
}  # fmt: skip

SETTINGS = """## config.json

`model_type` has to be `gpt2`, `llama`, `mistral`, `qwen2`, `qwen3`, `bert` or `marian`. Every key has one of
three outcomes:

- **used**: its value makes a setting of the run.
- **only**: one value, or a few with the same meaning, can be computed here. Any other value is refused.
- **no effect**: it changes no logits here. Its value comes back with `--to_hf`.

A key that is in no table is refused, because the network may depend on it. A key that begins with `_` is the
library's own and has no effect. A missing key counts as its default in the config classes of transformers
5.24. The tables show that default in a column of its own or in brackets. `scripts/convert.py --to_hf` writes
the keys that the run began with, except those that the run has changed. `architectures` and `dtype` describe
the folder that is written.
"""

WEIGHTS = """## Weights

Logits equal those of transformers within 1e-4 (in float32), or the folder is refused with the name of the
tensor or file.

| component | outcome |
|---|---|
| `{weights}`, or several files and `{index}` | exact |
| numbers of {floats} | exact as float32, in which `--to_hf` writes them |
| numbers of other types (float8, integers), quantized weights | refused |
| numbers that are not finite | refused |
| names with or without `{prefixes}` | exact |
| {renamed} | exact |
| {buffers} | no effect: no weights |
| {unused} | left out, with a line: nothing here uses them |
| a tensor that is missing, occurs twice or has another shape | refused |
| a tensor of another network: one layer too many, a classifier, `lm_head.bias` | refused |
| {outputs} where `tie_word_embeddings` is false | exact; refused if it is missing |
| the same where it is true: equal to the embedding, or in its place | exact |
| the same where it is true: other numbers than the embedding | exact, with a line: the run is untied |
| {bias} in a BERT | exact: it is added, as in transformers; a {usual} that differs is left out, with a line |
| a BERT without {head}* | exact hidden states, with a line: it predicts nothing |
| {copies} in a Marian | exact: no weights of their own; refused if they differ from `{table}` |
| an index that names files outside of the folder, a damaged or cut file | refused |
| {older} alone | refused: save the model as safetensors |
"""

FILES = """## Other files

A run keeps these files as they are, in its `huggingface.json`. Runs that begin with it (`--init_from`) keep
them too, and `--to_hf` writes them back. The library's defaults for generating (`temperature`, `top_p` and
others) are not used here. Give the flags of the sampler.

| file | outcome |
|---|---|
{kept}
| `{adapter}` | refused: an adapter changes another model; merge it first |
| {descriptions}, and names that begin with a dot | left out |
| any other file, such as weights in other formats | left out, with a line that names it |
"""


def sections() -> str:
    """Return the sections, from `## config.json` to the end of `## Other files`."""
    tables = [
        f"### {TITLES[name]} (`model_type`"
        f" {name})\n\n{_table([key for key in kind.keys if key not in keys.COMMON])}"
        for name, kind in foreign.KINDS.items()
    ]
    tables.append(f"### `rope_parameters` of all but GPT-2 and BERT\n\n{_table(ROPE_KEYS)}")
    tables.append(f"### All types\n\n{_table(keys.COMMON)}")
    return "\n".join([SETTINGS, *tables, _weights(), _files()])


def _table(rows) -> str:
    lines = ["| key | default | here |", "|---|---|---|"]
    together = {}
    for key in rows:
        if key.rule == keys.FREE:
            together.setdefault(key.what, []).append(key)
            continue
        names = _code(key.name) + (f" or {_code(key.alias)}" if key.alias else "")
        if key.rule == keys.USED:
            lines.append(f"| {names} | {_value(key.default)} | used: {key.what} |")
        else:
            lines.append(f"| {names} | {_value(key.default)} | only {_accepted(key)} ({key.what}) |")
    for what, free in together.items():
        names = [
            _code(key.name) + ("" if key.default is keys.ABSENT else f" ({_value(key.default)})")
            for key in free
        ]
        lines.append(f"| {', '.join(names)} | | no effect on the network: {what} |")
    return "\n".join(lines) + "\n"


def _accepted(key) -> str:
    shown = [
        (
            f"a list of `{json.dumps(value[0])}`"
            if isinstance(value, list) and value
            else f"`{json.dumps(value)}`"
        )
        for value in key.values
    ]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _weights() -> str:
    kinds = foreign.KINDS.values()
    bert, marian = foreign.KINDS["bert"], foreign.KINDS["marian"]
    return WEIGHTS.format(
        weights=tensors.WEIGHTS, index=tensors.INDEX, floats=", ".join(tensors.FLOATS),
        prefixes="`, `".join(dict.fromkeys(kind.prefix for kind in kinds)),
        renamed=" and ".join(f"`{old}` for `{new}`" for kind in kinds for old, new in kind.renamed),
        buffers=", ".join(dict.fromkeys(_pattern(kind.buffers) for kind in kinds)),
        unused=", ".join(_pattern(kind.unused) for kind in kinds if kind.unused),
        outputs=" or ".join(dict.fromkeys(_code(kind.output) for kind in kinds)),
        bias=_code(bert.bias[1]), usual=_code(bert.bias[0]), head=_code(bert.head),
        copies=" and ".join(map(_code, marian.copies)), table=marian.embedding,
        older=", ".join(map(_code, tensors.OLDER)),
    )  # fmt: skip


def _files() -> str:
    kept = "\n".join(f"| {_code(name)} | {what} |" for name, what in files.KEPT.items())
    described = ", ".join(map(_code, files.DESCRIPTIONS))
    return FILES.format(kept=kept, adapter=files.ADAPTER, descriptions=described)


def _code(text: str) -> str:
    return f"`{text}`"


def _pattern(text: str) -> str:
    """Return a regular expression as names, N standing for numbers."""
    return ", ".join(
        _code(part).replace("|", "\\|") for part in _alternatives(text.replace(r"\d+", "N").replace("\\", ""))
    )


def _alternatives(text: str) -> list[str]:
    depth, parts = 0, [""]
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _value(value) -> str:
    return "-" if value is keys.ABSENT else f"`{json.dumps(value)}`"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition("## config.json\n")
    _, found, after = rest.partition(NEXT)
    PAGE.write_text(before + sections() + found + after, encoding="utf-8")
