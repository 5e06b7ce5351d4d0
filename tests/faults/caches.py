"""What can be wrong with the folder in which tokenized text is kept, and with the disk under it."""

import os

from faults import ENGLISH, Fault
from faults.paths import WITHOUT_RIGHTS
from lm_keras.config import DataConfig
from lm_keras.data.preparation import prepare

CORPUS = ("--corpus=text:a.txt",)
AGAIN = "it is made again from the text"
NO_SPACE = "free space there or choose another folder with --cache_dir or LM_KERAS_CACHE"


def filled(folder):
    """Write a text and fill the cache with it."""
    (folder / "a.txt").write_text(ENGLISH)
    config = DataConfig(corpus=f"text:{folder}/a.txt", tokenizer="char", cache_dir=str(folder / "cache"))
    prepare(config)


def damaged(name, how, harm, file="tokens", reason="other content than was written"):
    """A fault in one file of the cached training text, or of the cached tokenizer."""
    kind = "tokenizers" if file == "tokenizer.json" else "tokens"

    def make(folder):
        filled(folder)
        found = sorted((folder / "cache" / kind).glob(f"*/{file}"), key=lambda path: path.stat().st_size)
        harm(found[-1])  # The training text is the largest.

    said = f"{file} has {reason}" if reason.startswith("other") else f"{file}: {reason}"
    return Fault(name, how, make, CORPUS, f"cache/{kind}/HASH is damaged ({said}); {AGAIN}", 0)


def flip(path):
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def make_older(path):
    """Take away what older versions did not write."""
    (path.parent / "sums.json").unlink()


def text_only(folder):
    """Write a text."""
    (folder / "a.txt").write_text(ENGLISH)


def without_tokens(folder):
    """Write a text, and make a cache that cannot be written."""
    text_only(folder)
    (folder / "cache").mkdir(mode=0o555)


def read_only(folder):
    """Fill the cache, then forbid to write to it."""
    filled(folder)
    for path, _, _ in os.walk(folder / "cache"):
        os.chmod(path, 0o555)


def closed(folder):
    """Fill the cache, then close the folder of the tokenizer to everybody."""
    filled(folder)
    (entry,) = (folder / "cache" / "tokenizers").iterdir()
    entry.chmod(0)


FAULTS = [
    damaged("a flipped bit in the cached tokens", "one bit of `tokens`", flip),
    damaged("a flipped bit in the cached tokenizer", "one bit of `tokenizer.json`", flip, "tokenizer.json"),
    damaged("truncated tokens", "the last byte cut off `tokens`", lambda path: os.truncate(path,
        path.stat().st_size - 1)),
    damaged("empty tokens", "`tokens` cut to 0 bytes", lambda path: os.truncate(path, 0)),
    damaged("missing tokens", "`tokens` deleted", lambda path: path.unlink(), reason="No such file or "
        "directory"),
    damaged("an empty store.json", "cut to 0 bytes", lambda path: os.truncate(path, 0), "store.json"),
    damaged("empty sums", "`sums.json` cut to 0 bytes", lambda path: os.truncate(path, 0), "sums.json"),
    damaged("a cache of an older format", "without `sums.json`", make_older, "sums.json",
        "No such file or directory"),
    Fault("a closed folder in the cache", "`chmod 0`", closed, CORPUS, f"cache/tokenizers/HASH is damaged "
        f"(sums.json: Permission denied); {AGAIN}", 0, before=WITHOUT_RIGHTS),
    Fault("a full cache that is read-only", "`chmod 555`", read_only, CORPUS, "", 0, before=WITHOUT_RIGHTS),
    Fault("an empty cache that is read-only", "`chmod 555`", without_tokens, CORPUS, f"cannot write "
        f"cache/tokenizers: Permission denied; {NO_SPACE}", before=WITHOUT_RIGHTS),
    Fault("a file in the place of the cache", "a file named `cache`", lambda folder: (text_only(folder),
        (folder / "cache").touch()), CORPUS, f"cannot write cache/tokenizers: Not a directory; {NO_SPACE}"),
    Fault("no home folder", "`HOME=`, no `--cache_dir`, no `LM_KERAS_CACHE`", text_only, (*CORPUS,
        "--cache_dir="),
        "tokenized text has no folder (this user has no home folder, and HOME is not set); name one "
        "with --cache_dir or the environment variable LM_KERAS_CACHE",
        before=("env", "-u", "LM_KERAS_CACHE", "HOME=")),
    Fault("a home folder that is not there", "`HOME=/proc/none`", text_only, (*CORPUS, "--cache_dir="),
        "cannot write /proc/none: No such file or directory; free space there or choose another folder with "
        "--cache_dir or LM_KERAS_CACHE", before=("env", "-u", "LM_KERAS_CACHE", "HOME=/proc/none")),
    Fault("a full disk", "`prlimit --fsize=2000`", text_only, CORPUS, f"cannot write cache/tokens/HASH: File "
        f"too large; {NO_SPACE}", before=("prlimit", "--fsize=2000")),
    Fault("two processes that fill the cache", "the same command twice at once", text_only, CORPUS, "", 0,
        at_once=2, times=3),
]  # fmt: skip
