"""Folders with a tokenizer and a chat template, in the styles of models that people use; and conversations.

`python tests/chat_models.py` writes what `transformers` makes of some conversations into
conversations/golden_conversations.json.
"""

import json
import random
import tempfile
from pathlib import Path
from typing import NamedTuple

GOLDEN = Path(__file__).parent / "conversations" / "golden_conversations.json"

CHATML = """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
{%- endif %}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{% endif %}"""

MARKED = """{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' ~ message['role'] ~ '\\n' ~ message['content'] ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

LLAMA3 = """{%- set ns = namespace(date=none, text='') -%}
{{- bos_token }}
{%- for message in messages %}
    {%- set ns.text = message['content'] | trim %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if strftime_now is not defined %}{{- 'no clock' }}{%- endif %}
    {{- ns.text + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

MISTRAL = """{%- if messages[0]['role'] == 'system' %}
    {%- set system, turns = messages[0]['content'], messages[1:] %}
{%- else %}
    {%- set system, turns = '', messages %}
{%- endif %}
{{- bos_token }}
{%- for message in turns %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate.') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system %}
            {{- ' [INST] ' + system + '\\n\\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- ' [INST] ' + message['content'] + ' [/INST]' }}
        {%- endif %}
    {%- else %}
        {{- ' ' + message['content'].strip() + eos_token }}
    {%- endif %}
{%- endfor %}"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}
{% set system = '<<SYS>>\\n' + messages[0]['content'].strip() + '\\n<</SYS>>\\n\\n' %}
{% set turns = messages[1:] %}
{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}
{% for message in turns %}{% if loop.index0 == 0 %}{% set text = system + message['content'] %}
{% else %}{% set text = message['content'] %}{% endif %}
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

QWEN3 = """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if ns.last == messages|length - 1 and message.role == 'user' and message.content is string
        and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content, thought = message.content, '' %}
        {%- if '</think>' in message.content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and thought %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

PHI = """{% for message in messages %}
{{ '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{- raise_exception('No system') }}{%- endif %}{% for message in messages %}
{%- if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}
{%- endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

INSTRUCTION = """{% macro shown(message) %}### {{ message.role | capitalize }}:
{{ message.content | replace('\\r', '') }}
{% endmacro %}
{% for message in messages %}{% if not message.content %}{% continue %}{% endif %}
{{ shown(message) }}
{% endfor %}{% if add_generation_prompt %}### Assistant:
{% endif %}"""


class Style(NamedTuple):
    """A chat template, and the tokenizer of its model.

    Attributes:
        template: in jinja.
        tokenizer: `level`, bytes as GPT-2's; `prepend` or `first`, as LLaMA's before and after its repair.
        special: the names of special tokens.
        plain: added tokens that are no special ones.
        rstrip: whether special tokens strip white space behind them, as Phi's.
        begin, end: bos_token and eos_token.
    """

    template: str
    tokenizer: str
    special: tuple[str, ...]
    begin: str | None
    end: str
    plain: tuple[str, ...] = ()
    rstrip: bool = False


_CHATML = ("<|im_start|>", "<|im_end|>")
_OF_LLAMA3 = ("<|begin|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

STYLES = {
    "chatml": Style(CHATML, "level", _CHATML, "<|im_start|>", "<|im_end|>"),
    "marked": Style(MARKED, "level", _CHATML, None, "<|im_end|>"),
    "llama3": Style(LLAMA3, "level", _OF_LLAMA3, "<|begin|>", "<|end_of_text|>"),
    "mistral": Style(MISTRAL, "first", ("<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>"),
    "llama2": Style(LLAMA2, "prepend", ("<s>", "</s>"), "<s>", "</s>"),
    "qwen3": Style(
        QWEN3, "level", ("<|endoftext|>", *_CHATML), None, "<|im_end|>", ("<think>", "</think>", "<tool>")
    ),
    "zephyr": Style(ZEPHYR, "prepend", ("<s>", "</s>"), "<s>", "</s>"),
    "phi": Style(
        PHI, "first",
        ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<s>", "<|endoftext|>", rstrip=True,
    ),
    "gemma": Style(GEMMA, "first", ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<bos>", "<eos>"),
    "instruction": Style(INSTRUCTION, "level", ("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>"),
}  # fmt: skip

WORDS = [
    "the", "quick", "brown", "fox", "and", "a", "user", "assistant", "system", "model", "of", "hello",
    "world", "answer", "question", "think", "INST", "SYS", "over", "lazy", "dog", "Paris", "capital",
    "France", "is", "what", "how", "are", "you",
]  # fmt: skip


def _bytes_of_gpt2() -> list[str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(0x100 + n) for n in range(len(others)))]


def _with_merges(vocabulary: dict[str, int], mark: str) -> list[list[str]]:
    """Add words to a vocabulary of letters, with and without a space before; return what is merged."""
    merges = []
    for word in (
        [mark + word for word in WORDS]
        + WORDS
        + ["\n\n".replace("\n", "\u010a") if mark == "\u0120" else mark * 2]
    ):
        parts = list(word)
        while len(parts) > 1:
            first, second, *rest = parts
            if [first, second] not in merges:
                merges.append([first, second])
            vocabulary.setdefault(first + second, len(vocabulary))
            parts = [first + second, *rest]
    return merges


def tokenizer_of(style: Style) -> dict:
    """Return a tokenizer.json."""
    common = {"version": "1.0", "truncation": None, "padding": None, "post_processor": None}
    flags = dict.fromkeys(("single_word", "lstrip", "normalized"), False)
    if style.tokenizer == "level":
        vocabulary = {name: number for number, name in enumerate(_bytes_of_gpt2())}
        merges = _with_merges(vocabulary, "\u0120")
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        parts = {"normalizer": None, "pre_tokenizer": level, "decoder": level}
        model = {"byte_fallback": False, "unk_token": None, "fuse_unk": False}
    else:
        letters = [chr(code) for code in range(33, 127)]
        names = ["<unk>", *(style.special if style.tokenizer == "prepend" else ()), "\u2581", *letters]
        names += [f"<0x{byte:02X}>" for byte in range(256)]
        vocabulary = {name: number for number, name in enumerate(names)}
        merges = _with_merges(vocabulary, "\u2581")
        spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, spaces]}
        meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
        first = style.tokenizer == "first"
        back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
        decoders = [
            back,
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]
        parts = {
            "normalizer": None if first else prepend,
            "pre_tokenizer": meta if first else None,
            "decoder": {"type": "Sequence", "decoders": decoders},
        }
        model = {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True}
    ids = dict(vocabulary)
    for name in (*style.special, *style.plain):
        ids.setdefault(name, len(ids))
    added = [
        {"id": ids[name], "content": name, **flags, "rstrip": style.rstrip, "special": name in style.special}
        for name in (*style.special, *style.plain)
    ]
    model |= {
        "type": "BPE", "dropout": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "ignore_merges": False, "vocab": vocabulary, "merges": merges,
    }  # fmt: skip
    return {**common, **parts, "added_tokens": sorted(added, key=lambda one: one["id"]), "model": model}


def write_tokenizer(folder: Path, name: str) -> Path:
    """Write the tokenizer and the chat template of a style."""
    style = STYLES[name]
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": style.end}
    settings |= {"bos_token": style.begin} if style.begin else {}
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("tokenizer.json", tokenizer_of(style)), ("tokenizer_config.json", settings)):
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    (folder / "chat_template.jinja").write_bytes(style.template.encode())
    return folder


PIECES = [
    *WORDS, "Hello", "world!", "\n", "\n\n", " ", "  ", "\t", "é", "日本", "🙂", "<", ">", "|", "[", "]",
    "</", "1234", "don't", "{{ x }}", "{% if %}", "'", '"', "\\", "\\n", "<think>", "</think>", "<tool>",
    "\r\n",
]  # fmt: skip


def conversation(draw: random.Random, style: Style, unsafe: bool = False) -> list[dict[str, str]]:
    """Return a random conversation; an unsafe one has names of special tokens in its messages."""
    pieces = [*PIECES, *style.special, *(name[:-2] for name in style.special)] if unsafe else PIECES

    def content() -> str:
        found = [draw.choice(pieces) for _ in range(draw.randint(1, 8))]
        return (
            draw.choice(["", " ", "\n"]) + draw.choice([" ", ""]).join(found) + draw.choice(["", " ", "\n"])
        )

    first = [{"role": "system", "content": content()}] if draw.random() < 0.4 else []
    first = [] if style.template is GEMMA else first
    turns = [{"role": ("user", "assistant")[n % 2], "content": content()} for n in range(draw.randint(1, 5))]
    return first + turns


def golden_conversations(name: str) -> list[list[dict[str, str]]]:
    """Return those whose tokens are recorded."""
    draw = random.Random(name)
    return [conversation(draw, STYLES[name]) for _ in range(6)]


if __name__ == "__main__":
    import transformers

    found = {}
    for name in STYLES:
        with tempfile.TemporaryDirectory() as folder:
            theirs = transformers.PreTrainedTokenizerFast.from_pretrained(write_tokenizer(Path(folder), name))
        found[name] = [
            [
                theirs.apply_chat_template(one, add_generation_prompt=prompt, return_dict=False)
                for prompt in (False, True)
            ]
            for one in golden_conversations(name)
        ]
    GOLDEN.write_text(json.dumps(found) + "\n")
