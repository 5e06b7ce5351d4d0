"""What can be wrong with the bytes of a text, and what looks wrong and is not."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile

from faults import ENGLISH, Fault, files

TEXT = ENGLISH.encode()
REMEDY = "fix the file, or pass --on_bad_text=replace or --on_bad_text=skip"
BOMB_BYTES = 2**30


def text(name, how, content, line="", *flags, file="a.txt", code=1, **more):
    """A fault in the only file of a corpus."""
    return Fault(name, how, files({file: content}), (f"--corpus=text:{file}", *flags), line, code, **more)


def fine(name, how, content, *flags, **more):
    """Something that is no fault: the run is carried out and says nothing unusual."""
    return text(name, how, content, "", *flags, code=0, **more)


def bomb(byte):
    """A function that writes 1 GiB of one byte, packed to 1 MB."""

    def make(folder):
        with gzip.open(folder / "a.txt.gz", "wb", 1) as file:
            for _ in range(BOMB_BYTES >> 20):
                file.write(byte * 2**20)

    return make


def records(*more):
    """Twenty good JSON lines, and some more."""
    lines = [json.dumps({"text": f"The cat sees tree {number}.\n"}) for number in range(20)]
    return "\n".join([*lines, *more]) + "\n"


PACKED = gzip.compress(TEXT, mtime=0)
WESTERN = "it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)"
WINDOWS = (
    "a.txt: line ends of Windows: the carriage returns are part of the text; sed -i 's/\\r$//' a.txt takes"
    " them out"
)
TABLE = "".join(f'{number},"The cat sees tree {number}."\n' for number in range(60))
SKIP = "; --on_bad_text=skip leaves such lines out"
JQ = "expected one JSON object a line; convert it (jq -c"


def told(name, how, content, line, *flags, **more):
    """Something that is read all the same, and said."""
    return text(name, how, content, line, *flags, code=0, **more)


ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as archive:
    archive.writestr(zipfile.ZipInfo("word/document.xml"), "The cat")

FAULTS = [
    text("an empty file", "a file of 0 bytes", b"", "a.txt is empty: expected text; leave it out of the "
        "corpus or fill it"),
    text("nothing but blanks", "blanks, tabs and line ends", b" \n\t\r\n\n", "a.txt is empty: expected text; "
        "leave it out of the corpus or fill it"),
    text("bad UTF-8", "the byte E9 (Latin-1) in line 61", TEXT + b"caf\xe9\n", f"a.txt: bad UTF-8 (byte "
        f"0xE9) at byte {len(TEXT) + 3}, line 61: expected UTF-8 text; {WESTERN}"),
    text("bad UTF-8 in UTF-8", "the byte FF between letters that are no ASCII",
        "Grün\n".encode() * 60 + b"\xff\n",
        f"a.txt: bad UTF-8 (byte 0xFF) at byte 360, line 61: expected UTF-8 text; {REMEDY}"),
    text("another encoding", "Russian in KOI8-R", "Кошка видит дерево.\n".encode("koi8-r") * 60,
        "a.txt: bad UTF-8 (byte 0xEB) at byte 0, line 1: expected UTF-8 text; it looks like text in another "
        "encoding, such as WINDOWS-1251 or KOI8-R: convert it from that (iconv -f ENCODING -t UTF-8)"),
    text("a binary file", "256 bytes of all values, ten times", bytes(range(256)) * 10, "a.txt: a NUL byte "
        "at byte 0, line 1: expected UTF-8 text; it looks like a binary file: leave it out of the corpus, or "
        "take the text out of it"),
    text("a NUL", "the byte 00 in line 2", b"a\nb\0\n" + TEXT, f"a.txt: a NUL byte at byte 3, line 2: "
        f"expected UTF-8 text; {REMEDY}"),
    text("bad UTF-8, replaced", "the same with `--on_bad_text=replace`", TEXT + b"caf\xe9\n",
        f"a.txt: {WESTERN} / bad text in train: 1 replaced sequences", "--on_bad_text=replace", code=0),
    text("nothing left after skipping", "the byte E9 in the only line, `--on_bad_text=skip`", b"caf\xe9\n",
        "a.txt: nothing is left after skipping bad text: expected UTF-8 text; convert the file, or leave it "
        "out of the corpus", "--on_bad_text=skip"),
    fine("a byte order mark of UTF-8", "EF BB BF at the start", codecs.BOM_UTF8 + TEXT),
    *(
        text(f"a byte order mark of {encoding.upper()}", " ".join([f"the text in {encoding}", *flags]),
            mark + ENGLISH.encode(encoding),
            f"a.txt: the byte order mark of {name} at its start: expected UTF-8 text; convert it (iconv -f "
            f"{name} -t UTF-8)", *flags)
        for name, encoding, mark, *flags in [
            ("UTF-16", "utf-16-le", codecs.BOM_UTF16_LE),
            ("UTF-16", "utf-16-be", codecs.BOM_UTF16_BE, "--on_bad_text=replace"),
            ("UTF-32", "utf-32-le", codecs.BOM_UTF32_LE),
            ("UTF-32", "utf-32-be", codecs.BOM_UTF32_BE, "--on_bad_text=skip"),
        ]
    ),
    text("UTF-16 without a mark", "the text in utf-16-le", ENGLISH.encode("utf-16-le"), "a.txt: a NUL byte "
        "at byte 1, line 1: expected UTF-8 text; it looks like UTF-16LE: convert it (iconv -f UTF-16LE -t "
        "UTF-8)"),
    *(
        text(f"{name} under another name", f"{how} named a.txt, `--on_bad_text=replace`", content,
            f"a.txt is {line}", "--on_bad_text=replace")
        for name, how, content, line in [
            ("gzip", "a gzip file", PACKED, "a gzip file: expected that name to end in .gz; rename it to "
                "a.txt.gz"),
            ("bzip2", "a bzip2 file", bz2.compress(TEXT), "a bzip2 file: expected text or gzip; unpack it "
                "first (bunzip2)"),
            ("xz", "an xz file", lzma.compress(TEXT), "an xz file: expected text or gzip; unpack it first "
                "(unxz)"),
            ("Word", "a Word file", ZIPPED.getvalue(), "a Word file: expected text; save its text as UTF-8 "
                "in a .txt file"),
            ("PDF", "a PDF file", b"%PDF-1.7\n" + TEXT, "a PDF file: expected text; write its text as UTF-8 "
                "to a .txt file, or as JSON lines"),
        ]
    ),
    text("a table", "a .csv file with a column of texts", "id,text\n" + TABLE, "a.csv is a table of 2 "
        "columns (id, text): expected text; to learn a column, take --corpus=csv:a.csv "
        "--text_field=COLUMN; to learn the table as it stands, rename it to .txt", file="a.csv"),
    told("a table named as text", "the same as a.txt", "id,text\n" + TABLE, "a.txt looks like a table of 2 "
        "columns with commas between: it is read as text, commas included; to learn one column, take "
        "--corpus=csv:GLOB --text_field=COLUMN"),
    fine("prose that looks like other things", "verses with commas, tabs, braces and brackets",
        "[Verse 1]\n{chorus}, the cat,\tthe tree\n" * 60),
    text("a JSON array", "an array of objects over several lines", json.dumps([{"text": "The cat"}] * 60,
        indent=1), f"a.json is one JSON array: {JQ} '.[]' a.json > a.lines.jsonl)", file="a.json"),
    text("JSON over several lines", "an indented object", json.dumps({"text": "The cat"}, indent=1),
        f"a.json is JSON over several lines: {JQ} . a.json > a.lines.jsonl)", file="a.json"),
    fine("JSON lines in .ndjson", "twenty of them", records(), file="a.ndjson"),
    told("JSON lines named as text", "the same as a.txt", records(), "a.txt holds JSON lines: the text of "
        "each is read from its field 'text', as of a .jsonl file"),
    told("JSON lines with another field named as text", "`body` instead of `text`",
        records().replace('"text"', '"body"') * 5,
        "a.txt looks like JSON lines without the field 'text': it is read as text, braces included; name the "
        "field with the text with --text_field"),
    fine("a nested field", "`--text_field=meta/text`",
        "".join(json.dumps({"meta": {"text": f"The cat sees tree {number}.\n"}}) + "\n"
                for number in range(20)),
        "--text_field=meta/text", file="a.jsonl"),
    told("records without a text", "null, a missing field, a cut line and a number, `--on_bad_text=skip`",
        records('{"text": null}', '{"id": 1}', '{"text": "cut', '{"text": 5}'),
        "bad text in train: 4 skipped documents", "--on_bad_text=skip", file="a.jsonl"),
    text("no record with a text", "the wrong `--text_field`, `--on_bad_text=skip`", records(),
        "a.jsonl: nothing is left after skipping lines without a text: a.jsonl:1: no field 'txt' (did you "
        "mean 'text'?): the fields there are 'text'; name the one with the text with --text_field",
        "--on_bad_text=skip", "--text_field=txt", file="a.jsonl"),
    told("marks between documents", "`<|endoftext|>` behind each of sixty",
        "".join(f"sample {number}\n<|endoftext|>\n" for number in range(60)),
        "a.txt: <|endoftext|> is read as text, letter by letter; --document_separator='<|endoftext|>' "
        "divides files into documents there"),
    fine("marks that separate documents", "the same with `--document_separator`",
        "".join(f"sample {number}\n<|endoftext|>\n" for number in range(60)),
        "--document_separator=<|endoftext|>"),
    told("a separator that is nowhere", "`--document_separator=###`", TEXT, "the document separator '###' is "
        "nowhere in text:a.txt: each file is one document there", "--document_separator=###"),
    Fault("a separator for what is divided", "`--document_separator` for python-docs", files({}),
        ("--corpus=python-docs", "--document_separator=x"),
        "--document_separator=x has no meaning for --corpus=python-docs, whose documents are divided "
        "already; leave it out"),
    told("a byte order mark in the middle", "two files with EF BB BF put together",
        (codecs.BOM_UTF8 + TEXT) * 2,
        r"a.txt: byte order marks (U+FEFF) in the middle of the text are read as letters; if files were put "
        r"together there, take the marks out: sed -i 's/\xEF\xBB\xBF//g' a.txt"),
    Fault("training text as validation text", "a copy of a file of `--corpus`", files({"a.txt": ENGLISH,
        "b.txt": ENGLISH}), ("--corpus=text:a.txt", "--valid_corpus=text:b.txt"),
        "b.txt is part of the training text, too (1 of 1 documents of text:b.txt, 100.0% of its text): the "
        "validation loss is of text that was learnt; leave it out of one of both", 0),
    Fault("training text in validation text", "the first twenty lines of `--corpus`", files({"a.txt": ENGLISH,
        "b.txt": "".join(ENGLISH.splitlines(True)[:20])}),
        ("--corpus=text:a.txt", "--valid_corpus=text:b.txt"),
        "100.0% of the validation text, text:b.txt, is in the training text, too: that part of its loss "
        "is of text that was learnt; leave it out of one of both", 0),
    fine("a document that comes 300 times", "and a hundred others once",
        "".join(json.dumps({"text": document}) + "\n" for document in
                [*(f"The cat sees tree {number}.\n" for number in range(100)), *["removed\n"] * 300]),
        file="a.jsonl"),
    told("line ends of Windows", "CR LF after each line", TEXT.replace(b"\n", b"\r\n"), WINDOWS),
    told("no line end", "U+2028, U+2029, U+0085, CR, VT, FF between words, no LF",
        "The\u2028cat\u2029sees\x85the\rtree\vand\fsleeps".encode(),
        r"a.txt: carriage returns without line feeds are part of the text; if they end lines, tr '\r' '\n' "
        r"makes them line feeds"),
    fine("a line of 10 MB", "10,000,000 bytes of words without LF, characters", b"The cats. " * 10**6,
        "--split=100/0/0", slow=True),
    fine("a line of 10 MB in pieces", "the same, sentencepiece", b"The cats. " * 10**6, "--split=100/0/0",
        "--tokenizer=sentencepiece", "--vocab_size=270", slow=True),
    fine("a word of 10 MB", "10,000,000 letters without blank or LF, sentencepiece", b"abcdefghij" * 10**6,
        "--split=100/0/0", "--tokenizer=sentencepiece", "--vocab_size=280", slow=True),
    text("a text shorter than a sequence", "20 words, `--sequence_length=73`", "cat\n" * 20,
        "the training text has 72 tokens, fewer than one sequence of --sequence_length=73; give more text or "
        "a smaller --sequence_length", "--sequence_length=73"),
    Fault("validation shorter than a sequence", "`--valid_corpus` of 1 character", files({"a.txt": ENGLISH,
        "b.txt": "c"}), ("--corpus=text:a.txt", "--valid_corpus=text:b.txt"), "", 0),
    Fault("validation shorter than a window", "the same with `--batching=window`", files({"a.txt": ENGLISH,
        "b.txt": "c"}), ("--corpus=text:a.txt", "--valid_corpus=text:b.txt", "--batching=window"), "", 0),
    text("nothing left to validate on", "a text of 3 lines", "a long line\nb\nc\n", "the valid split of "
        "text:a.txt comes out empty: expected enough lines, or words of a single line, to cut 16 bytes "
        "there; use more text, or pass --valid_corpus"),
    fine("two gzip members", "`cat a.gz b.gz`", PACKED + PACKED, file="a.gz"),
    fine("zeros after gzip", "512 NULs after the end, as on a tape", PACKED + b"\0" * 512, file="a.gz"),
    text("garbage after gzip", "7 letters after the end", PACKED + b"garbage",
        "a.gz is not a sound gzip file (Not a gzipped file (b'ga')); fetch or pack it again", file="a.gz"),
    text("truncated gzip", "without the last 9 bytes", PACKED[:-9], "a.gz is a truncated gzip file: its end "
        "is missing; fetch or pack it again", file="a.gz"),
    text("a wrong sum in gzip", "one bit of the CRC-32 flipped",
        PACKED[:-6] + bytes([PACKED[-6] ^ 1]) + PACKED[-5:],
        "a.gz is not a sound gzip file (CRC check failed 0x356ecbc2 != 0x356fcbc2); fetch or pack it again",
        file="a.gz"),
    text("gzip that is none", "text named a.gz", TEXT, "a.gz is not a sound gzip file (Not a gzipped file "
        "(b'Th')); fetch or pack it again", file="a.gz"),
    text("an empty gzip file", "a.gz of 0 bytes", b"", "a.gz is empty: expected text; leave it out of the "
        "corpus or fill it", file="a.gz"),
    Fault("a gzip bomb of NULs", "1 GiB in 5 MB", bomb(b"\0"), ("--corpus=text:a.txt.gz",),
        "a.txt.gz: a NUL byte at byte 0, line 1: expected UTF-8 text; it looks like a binary file: leave it "
        "out of the corpus, or take the text out of it", slow=True),
    Fault("a gzip bomb of letters", "1 GiB without LF in 5 MB, nothing held out", bomb(b"a"),
        ("--corpus=text:a.txt.gz", "--split=100/0/0"), "", 0, slow=True),
    fine("odd JSON lines", "BOM, CR LF, blank lines, NaN, an integer of 5,000 digits, arrays 100 deep",
        "\ufeff" + records('{"n": NaN, "text": "a"}\r\n\r\n  \n'
                           f'{{"n": {"9" * 5000}, "text": "b"}}\r\n'
                           f'{{"n": {"[" * 100 + "]" * 100}, "text": "c\\u2028d"}}'), file="a.jsonl"),
    *(
        text(name, how, records(line), f"a.jsonl:21: {message}" + ("" if REMEDY in message else SKIP),
            file="a.jsonl")
        for name, how, line, message in [
            ("no JSON", "plain text in a JSON line", "The cat", "not JSON (Expecting value: line 1 column 1 "
                "(char 0)): expected one JSON object a line"),
            ("JSON too deep", "100,000 brackets", "[" * 10**5, "not JSON (maximum recursion depth exceeded "
                "while decoding a JSON array from a unicode string): expected one JSON object a line"),
            ("no object", "an array in a JSON line", "[1]", "a JSON array: expected an object with the text "
                "in the field 'text'"),
            ("another field", "`Text` instead of `text`", '{"Text": "a"}', "no field 'text' (did you mean "
                "'Text'?): the fields there are 'Text'; name the one with the text with --text_field"),
            ("a number for a text", '`{"text": 5}`', '{"text": 5}', "the field 'text' is a JSON number: "
                "expected a string; no other field holds one"),
            ("NaN for a text", '`{"text": NaN}`', '{"text": NaN}', "the field 'text' is a JSON number: "
                "expected a string; no other field holds one"),
            ("the same field twice", '`{"text": "a", "text": "b"}`', '{"text": "a", "text": "b"}',
                "the field 'text' comes more than once in an object: expected it once; rename one"),
            ("a lone surrogate in JSON", "the escape `\\ud800`", '{"text": "a\\ud800"}', f"a lone surrogate "
                f"U+D800 at character 1 of the text: expected text; {REMEDY}"),
            ("a NUL in JSON", "the escape `\\u0000`", '{"text": "a\\u0000"}', f"a NUL at character 1 of the "
                f"text: expected text; {REMEDY}"),
        ]
    ),
]  # fmt: skip
