"""Tokenizers of other projects' kinds, learnt by the library from a short text: whatever parts one finds in a
tokenizer.json.
"""

import json

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

TEXT = [
    "The cat sat on the mat, and the dog ran to the log.\n",
    "  Indented: it's 12 345 kg -- isn't it?\r\n\n",
    "Über die Straße läuft ein Fuchs, naïve Füchse.\n",
    "床前明月光,疑是地上霜。\n",
] * 9

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<unk>", "<s>", "</s>", "[MASK]"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def trained(model, size, *, special=SPECIAL, norm=None, pre=None, dec=None, trainer=None, **how):
    made = tokenizers.Tokenizer(model)
    if norm:
        made.normalizer = norm
    if pre:
        made.pre_tokenizer = pre
    if dec:
        made.decoder = dec
    kind = trainer or getattr(trainers, f"{type(model).__name__}Trainer".replace("BPE", "Bpe"))
    made.train_from_iterator(TEXT, kind(vocab_size=size, special_tokens=special, show_progress=False, **how))
    return made


def byte_level(size=420, prefix=False, use_regex=True, split=None, whole=True, model=None, **how):
    level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level]) if split else level
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if whole else []
    return trained(
        model or models.BPE(), size, pre=pre, dec=decoders.ByteLevel(), initial_alphabet=alphabet, **how
    )


def llama(strip=1, prepend=True):
    steps = [normalizers.Prepend("▁")] * prepend + [normalizers.Replace(" ", "▁")]
    after = [decoders.Strip(" ", strip, 0)] if strip else []
    made = trained(
        models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True), 380, special=SPECIAL + BYTES,
        norm=normalizers.Sequence(steps),
        dec=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after]),
    )  # fmt: skip
    content = json.loads(made.to_str())
    content["added_tokens"] = [t for t in content["added_tokens"] if not t["content"].startswith("<0x")]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def bytes_twice():
    """Byte-level, and with tokens such as `<0x41>` for bytes that it lacks, which its decoder reads as these
    six characters.
    """
    content = json.loads(byte_level(size=90, whole=False).to_str())
    content["model"]["byte_fallback"] = True
    for name in BYTES:
        content["model"]["vocab"][name] = len(content["model"]["vocab"])
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def unigram(byte_fallback=False, norm=None, scheme="always", split=True):
    steps = {"replacement": "▁", "prepend_scheme": scheme, "split": split}
    made = trained(
        models.Unigram(), 150, norm=norm, pre=pre_tokenizers.Metaspace(**steps),
        dec=decoders.Metaspace(**steps),
        unk_token="<unk>",
    )  # fmt: skip
    if byte_fallback:
        content = json.loads(made.to_str())
        content["model"]["byte_fallback"] = True
        content["model"]["vocab"] += [[name, -20.0] for name in BYTES]
        content["decoder"] = {"type": "Sequence", "decoders": [content["decoder"], {"type": "ByteFallback"},
            {"type": "Fuse"}]}  # fmt: skip
        made = tokenizers.Tokenizer.from_str(json.dumps(content))
    return made


def with_added(made, *tokens):
    made.add_tokens(list(tokens))
    return made


def _words(pre, dec=None, model=None):
    return trained(model or models.WordLevel(unk_token="<unk>"), 60, pre=pre, dec=dec)


MAKERS = {
    "gpt2": lambda: byte_level(),
    "gpt2 prefix": lambda: byte_level(prefix=True),
    "gpt2 no regex": lambda: byte_level(use_regex=False),
    "gpt2 few bytes": lambda: byte_level(size=90, whole=False),
    "gpt2 few bytes, unknown": lambda: byte_level(size=90, whole=False, model=models.BPE(unk_token="<unk>")),
    "gpt2 nfc": lambda: byte_level(norm=normalizers.NFC()),
    "gpt2 plain": lambda: byte_level(
        norm=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    ),
    "gpt2 added": lambda: with_added(
        byte_level(), AddedToken("dog ran", lstrip=True), AddedToken("né", rstrip=True), "\n\n"
    ),
    "gpt2 added words": lambda: with_added(byte_level(), AddedToken("the", single_word=True), "<|user|>"),
    "gpt2 added, lowered": lambda: with_added(
        byte_level(norm=normalizers.Lowercase()), AddedToken("The", normalized=True),
        AddedToken("Né", normalized=True)
    ),
    "gpt2 bytes twice": lambda: bytes_twice(),
    "llama3": lambda: byte_level(split=LLAMA_3, use_regex=False, model=models.BPE(ignore_merges=True)),
    "whitespace, bytes": lambda: trained(
        models.BPE(), 400, dec=decoders.ByteLevel(),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        pre=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.ByteLevel(add_prefix_space=True)]),
    ),
    "llama": llama,
    "gemma": lambda: llama(strip=0, prepend=False),
    "unigram": unigram,
    "unigram first": lambda: unigram(scheme="first"),
    "unigram never": lambda: unigram(scheme="never"),
    "unigram whole": lambda: unigram(split=False),
    "unigram bytes": lambda: unigram(byte_fallback=True),
    "unigram nmt": lambda: unigram(
        norm=normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"),
            " ")])
    ),
    "words": lambda: _words(pre_tokenizers.Whitespace()),
    "words by blanks": lambda: _words(pre_tokenizers.WhitespaceSplit()),
    "words of five": lambda: trained(
        models.BPE(unk_token="<unk>"), 90, pre=pre_tokenizers.FixedLength(5), dec=decoders.Fuse()
    ),
    "scripts and digits": lambda: trained(
        models.BPE(), 120, dec=decoders.Fuse(),
        pre=pre_tokenizers.Sequence([
            pre_tokenizers.UnicodeScripts(), pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.CharDelimiterSplit("x"),
        ]),
    ),
    "suffix": lambda: trained(
        models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), 140, pre=pre_tokenizers.BertPreTokenizer(),
        dec=decoders.BPEDecoder(), end_of_word_suffix="</w>", norm=normalizers.Lowercase(),
    ),
    "wordpiece": lambda: trained(
        models.WordPiece(unk_token="<unk>", max_input_chars_per_word=9), 160,
        dec=decoders.WordPiece(cleanup=False),
        pre=pre_tokenizers.BertPreTokenizer(), norm=normalizers.BertNormalizer(lowercase=True),
    ),
    "wordpiece cleaned": lambda: trained(
        models.WordPiece(unk_token="<unk>"), 160, dec=decoders.WordPiece(),
        pre=pre_tokenizers.WhitespaceSplit(),
        norm=normalizers.Strip(),
    ),
    "replaced": lambda: trained(
        models.BPE(unk_token="<unk>"), 120, norm=normalizers.Replace(Regex(r"\s"), "_"),
        dec=decoders.Sequence([decoders.Strip("e", 0, 1), decoders.Replace(Regex("[aeiou]"), "*"),
            decoders.Fuse(), decoders.Replace("_", " ")]),
    ),
}  # fmt: skip
"""Kinds of tokenizers by name."""
