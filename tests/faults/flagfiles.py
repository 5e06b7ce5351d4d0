"""What can be wrong with flags and flagfiles."""

import os

from faults import ENGLISH, Fault, files

LOOKED = "expected a text file with a flag a line, looked from the folder FOLDER"


def flagfile(name, how, contents, line, code=1, then=lambda folder: None):
    """A fault in `a.flags` or what it includes."""

    def make(folder):
        files({"a.txt": ENGLISH, **contents})(folder)
        then(folder)

    return Fault(name, how, make, ("--corpus=text:a.txt", "--flagfile=a.flags"), line, code)


def flags(name, how, *words, line):
    """A fault on the command line."""
    return Fault(name, how, files({"a.txt": ENGLISH}), words, line)


FAULTS = [
    flagfile("a flagfile that includes itself", "`--flagfile=a.flags` in a.flags",
        {"a.flags": "--flagfile=a.flags\n"},
        "the flagfile a.flags includes itself (a.flags > a.flags); delete one of these --flagfile lines"),
    flagfile("a cycle of flagfiles", "a includes b, which includes ./a", {"a.flags": "--flagfile=b.flags\n",
        "b.flags": "--flagfile=./a.flags\n"},
        "the flagfile ./a.flags includes itself (a.flags > b.flags > ./a.flags); delete one of these "
        "--flagfile lines"),
    flagfile("a flagfile included twice", "a includes b twice", {"a.flags": "--flagfile=b.flags\n--flagfile "
            "b.flags\n".replace(" b", "=b"), "b.flags": "--steps=3\n"}, "", 0),
    flagfile("a missing flagfile", "a.flags is not there", {}, f"cannot read the flagfile a.flags: No such "
        f"file or directory; {LOOKED}"),
    flagfile("a missing nested flagfile", "a includes b, which is not there",
        {"a.flags": "--flagfile=b.flags\n"},
        f"cannot read the flagfile b.flags, which a.flags includes: No such file or directory; {LOOKED}"),
    flagfile("a flagfile that is a folder", "a.flags is a folder", {}, f"cannot read the flagfile a.flags: "
        f"no regular file; {LOOKED}", then=lambda folder: (folder / "a.flags").mkdir()),
    flagfile("a flagfile that is a named pipe", "`mkfifo`, nobody writes to it", {}, f"cannot read the "
        f"flagfile a.flags: no regular file; {LOOKED}", then=lambda folder: os.mkfifo(folder / "a.flags")),
    flagfile("a flagfile in Latin-1", "the byte E9", {"a.flags": b"# caf\xe9\n--steps=3\n"},
        "the flagfile a.flags is not UTF-8 (byte 0xE9 at byte 5); expected a text file with a flag a line"),
    flagfile("a flagfile of Windows", "a byte order mark of UTF-8, CR LF",
        {"a.flags": "\ufeff--steps=3\r\n--log_every=1\r\n"}, "", 0),
    flagfile("U+2028 in a flagfile", "within a value, where it ends no line",
        {"a.flags": "--sample_prompt=a\u2028--steps=b\n"}, "", 0),
    flagfile("a line of a flagfile that is no flag", "`steps=3`", {"a.flags": "# good\nsteps=3\n"},
        "line 2 of the flagfile a.flags is 'steps=3'; expected a flag, --name=value, or a comment after #"),
    flagfile("a misspelt flag", "`--hiden_units=3`", {"a.flags": "--hiden_units=3\n"}, "--hiden_units is "
        "unknown (did you mean --hidden_units?); see --help for all flags"),
    flagfile("a NUL in a flagfile", "`--corpus=text:a\\0`", {"a.flags": "--corpus=text:a\0\n"},
        r"--corpus='text:a\x00' has a NUL or bytes that are not UTF-8; expected a text, leave them out or "
        r"rename the file"),
    flags("bytes that are not UTF-8 in a flag", "the byte FF in `--run_dir`", "--corpus=text:a.txt",
        os.fsdecode(b"--run_dir=\xff"),
        line=r"--run_dir='\udcff' has a NUL or bytes that are not UTF-8; expected a text, leave them out or "
        r"rename the file"),
    flags("bytes that are not UTF-8 in a prompt", "the byte FF in `--sample_prompt`", "--corpus=text:a.txt",
        os.fsdecode(b"--sample_prompt=\xff"),
        line=r"--sample_prompt='\udcff' has a NUL or bytes that are not UTF-8; expected a text, leave them "
        r"out or rename the file"),
    flags("bytes that are not UTF-8 left over", "a word of the byte FF", os.fsdecode(b"\xff"),
        line=r"'\udcff' is left over on the command line; every setting is a flag, --name=value, see --help"),
    flags("a line feed in a path", "`--corpus=text:a\\n`", "--corpus=text:a\n", line=r"--corpus='text:a\n' "
        r"has a line feed, a space at its end or bytes that are not UTF-8, which no flagfile can hold; leave "
        r"them out"),
    flags("an unknown user in a path", "`--run_dir=~nobody-at-all/x`", "--corpus=text:a.txt",
        "--run_dir=~nobody-at-all/x",
        line="--run_dir=~nobody-at-all/x: user 'nobody-at-all' is unknown; write ./~nobody-at-all/x for a "
        "path that begins with ~, or the whole path"),
    flags("the best weights of no run", "`--init_checkpoint=best` without `--init_from`",
        "--corpus=text:a.txt", "--init_checkpoint=best",
        line="--init_checkpoint=best has no meaning without --init_from; give that too, or leave it out"),
    flags("a number that is none", "`--steps=1e3`", "--steps=1e3", line="--steps=1e3: expected a whole "
        "number of at least 1"),
    flags("a number that is 0 in float32", "`--learning_rate=1e-46`", "--corpus=text:a.txt",
        "--learning_rate=1e-46",
        line="--learning_rate=1e-46 becomes 0 in float32, in which everything is computed; expected a number "
        "above 0, at least 1.2e-38"),
    flags("a number that reaches its bound in float32", "`--dropout=0.999999999`", "--corpus=text:a.txt",
        "--dropout=0.999999999",
        line="--dropout=0.999999999 becomes 1 in float32, in which everything is computed; expected a number "
        "of at least 0 and below 1"),
    flags("a split that is none", "`--split=90/10`", "--corpus=text:a.txt", "--split=90/10",
        line="--split=90/10: expected three percentages such as 90/5/5"),
    flags("flags that contradict each other", "`--steps=3 --epochs=2`", "--steps=3", "--epochs=2",
        line="--steps=3 and --epochs=2 contradict each other; give one of them, and clear the other one, if "
        "a flagfile sets it, with --steps= or --epochs="),
]  # fmt: skip
