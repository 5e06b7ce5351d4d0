"""What can be wrong with the path of a text, with the file there, and with what else happens to it."""

import os
import socket

from faults import ENGLISH, Fault, files

EXPECTED = "expected a file or glob, looked from the folder FOLDER"
CHANGED = "a.txt has changed while it was read: expected the same text; start again when nobody writes to it"
WITHOUT_RIGHTS = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)  # root may read everything


def path(name, how, make, corpus, line="", code=1, **more):
    """A fault in where the text is."""
    return Fault(name, how, make, (f"--corpus=text:{corpus}",), line, code, **more)


def fine(name, how, make, corpus, **more):
    """Something that is no fault."""
    return path(name, how, make, corpus, code=0, **more)


def with_text(*names, then=lambda folder: None):
    """A function that writes the same text under some names, then does something else in the folder."""

    def make(folder):
        files(dict.fromkeys(names, ENGLISH))(folder)
        then(folder)

    return make


def listening(folder):
    """Leave a socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s"))


def many(folder):
    """100,000 files of two lines."""
    for number in range(100_000):
        (folder / f"{number}.txt").write_text(f"The cat number {number}\nsees a tree.\n")


def large(folder):
    """A text that takes a while to read."""
    (folder / "a.txt").write_text(ENGLISH * 10_000)
    (folder / "b.txt").write_text(ENGLISH)


def grow(folder, number):
    """Append a line."""
    with open(folder / "a.txt", "a") as file:
        file.write("More.\n")


def shrink(folder, number):
    """Cut the last byte off."""
    os.truncate(folder / "a.txt", (folder / "a.txt").stat().st_size - 1)


def rewrite(folder, number):
    """Write other letters, as many as there were."""
    with open(folder / "a.txt", "r+b") as file:
        file.seek(4)
        file.write(os.urandom(2).hex().encode())


def vanish(folder, number):
    """Delete the file as soon as the process has opened it to read its text."""
    try:
        opened = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{number}/fd")]
    except OSError:  # closed meanwhile
        return
    if str(folder / "a.txt") in opened and (folder / "run").exists():
        (folder / "a.txt").unlink()


def replace(folder, number):
    """Put another file into its place."""
    (folder / "c.txt").write_text(ENGLISH.replace("cat", "dog") * 10_000)
    os.replace(folder / "c.txt", folder / "a.txt")


FAULTS = [
    path("a missing file", "`poem.txt` where there is `poems.txt`", with_text("poems.txt"), "poem.txt",
        f"no file poem.txt (did you mean 'poems.txt'?): {EXPECTED}"),
    path("a glob without a match", "`deep/*.txt` where there is `deep/a.text`", with_text("deep/a.text"),
        "deep/*.txt", "no file matches deep/*.txt: looked from the folder FOLDER/deep, which has a.text; "
        "expected at least one file"),
    path("a glob in no folder", "`no/*.txt`", with_text(), "no/*.txt", "no file matches no/*.txt: the "
        "folder FOLDER/no is missing; expected at least one file"),
    path("a glob that matches folders", "`d*`", with_text("deep/a.txt"), "d*", "no file matches d*: only "
        "folders do, such as deep; end the glob with a file, such as /*.txt; expected at least one file"),
    fine("a folder beside the files", "`*` where there are a file and a folder", with_text("a.txt",
        "deep/b.txt"), "*"),
    path("a folder", "`deep`", with_text("deep/a.txt"), "deep", "deep is a folder: expected files; write "
        "deep/*.txt or deep/**/*.txt"),
    path("no file named", "`--corpus=text:`", with_text("a.txt"), "", "the corpus text: names no file: "
        "expected text:GLOB, such as text:data/*.txt"),
    fine("blanks in a name", "`my old  text.txt`", with_text("my old  text.txt"), "my old  text.txt"),
    fine("brackets in a name", "`a[1].txt`", with_text("a[1].txt"), "a[1].txt"),
    path("brackets in a folder", "`d[1]/*.txt` where there is a folder of that name", with_text("d[1]/a.txt"),
        "d[1]/*.txt", "no file matches d[1]/*.txt: looked from the folder FOLDER, where [...] stands for one "
        "of the characters in it; write [[] for a bracket; expected at least one file"),
    fine("brackets written as a glob", "`d[[]1]/*.txt`", with_text("d[1]/a.txt"), "d[[]1]/*.txt"),
    fine("Unicode in names", "`grün/月.txt`", with_text("grün/月.txt"), "gr*/月.txt"),
    fine("line feeds and bytes that are not UTF-8 in names", "`*.txt` where there are such files",
        with_text("a\nb.txt", os.fsdecode(b"\xff.txt")), "*.txt"),
    path("a fault in a file with a line feed in its name", "a file of 0 bytes", files({"a\nb.txt": ""}),
        "*.txt", r"a\nb.txt is empty: expected text; leave it out of the corpus or fill it"),
    path("a user that is unknown", "`~nobody-at-all/a.txt`", with_text(), "~nobody-at-all/a.txt",
        f"no file ~nobody-at-all/a.txt: {EXPECTED}"),
    path("a link to nowhere", "`ln -s nowhere a.txt`", with_text(then=lambda folder: os.symlink("nowhere",
        folder / "a.txt")), "*.txt",
        "a.txt is a symbolic link to nowhere, which does not exist: expected a link to a file; mend or "
        "delete the link"),
    path("a link to itself", "`ln -s a.txt a.txt`", with_text(then=lambda folder: os.symlink("a.txt",
        folder / "a.txt")), "*.txt",
        "cannot read a.txt: Too many levels of symbolic links; expected a readable file"),
    fine("links to the folder that they are in", "two links to `..`, read with `**`", with_text("d/a.txt",
        then=lambda folder: [os.symlink("..", folder / "d" / name) for name in "xy"]), "**/*.txt"),
    path("a named pipe", "`mkfifo`, nobody writes to it",
        with_text(then=lambda folder: os.mkfifo(folder / "p")), "p",
        "p is not a regular file: expected a file that can be read more than once"),
    path("a named pipe among files", "`mkfifo`, read with `*`", with_text("a.txt",
        then=lambda folder: os.mkfifo(folder / "p")), "*",
        "p is not a regular file: expected a file that can be read more than once"),
    path("a socket", "a Unix socket", with_text(then=listening), "s",
        "s is not a regular file: expected a file that can be read more than once"),
    path("a device", "`/dev/zero`", with_text(), "/dev/zero",
        "/dev/zero is not a regular file: expected a file that can be read more than once"),
    path("a format that is no text", "a file named a.tar.gz", with_text("a.tar.gz"), "*.gz",
        "a.tar.gz: a .tar.gz file is not text: expected .txt, .gz or .jsonl; unpack or convert it first"),
    path("a file without permission", "`chmod 0`", with_text("a.txt",
        then=lambda folder: (folder / "a.txt").chmod(0)), "a.txt",
        "cannot read a.txt: Permission denied; expected a readable file, check its permissions",
        before=WITHOUT_RIGHTS),
    path("a folder without permission", "`chmod 0` of one folder, read with `**`", with_text("a.txt",
        "d/b.txt",
        then=lambda folder: (folder / "d").chmod(0)), "**/*.txt",
        "cannot list the folder d: Permission denied; expected a readable folder, check its permissions or "
        "write a glob that leaves it out", before=WITHOUT_RIGHTS),
    fine("100,000 files", "each of two lines, in one folder", many, "*.txt", slow=True),
    path("a file that grows", "a line is appended every half millisecond", large, "a.txt", CHANGED,
        meanwhile=grow, times=3),
    path("a file that shrinks", "a byte is cut off every half millisecond", large, "a.txt", CHANGED,
        meanwhile=shrink, times=3),
    path("a file that is rewritten", "other letters, as many as before, every half millisecond", large,
        "a.txt", CHANGED, meanwhile=rewrite, times=3),
    path("a file that is replaced", "another file renamed over it, every half millisecond", large, "a.txt",
        CHANGED, meanwhile=replace, times=3),
    path("a file that vanishes", "deleted while it is read", large, "a.txt", "cannot read a.txt: No such "
        "file or directory; expected a readable file", meanwhile=vanish, times=3),
]  # fmt: skip
