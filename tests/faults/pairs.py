"""What can be wrong with pairs of texts"""

from faults import SMALL, Fault, files

ENGLISH = [f"The cat sees tree {number}." for number in range(24)]
GERMAN = [f"Die Katze sieht Baum {number}." for number in range(24)]
RUSSIAN = [f"Кот видит дерево {number}." for number in range(24)]
COMMON = (*(flag for flag in SMALL if "sequence_length" not in flag), "--sequence_length=64")
TASK = ("--task=seq2seq", "--model=lstm", "--split=100/0/0", "--eval_pairs=0")
REMEDY = "correct it, or leave it out (--on_bad_text=skip leaves out all such records)"


def tsv(sources, targets):
    return "".join(f"{source}\t{target}\n" for source, target in zip(sources, targets, strict=True))


def parallel(name, how, sources, targets, line, *flags, code=1):
    """A fault in two files, line by line."""
    contents = {"a.en": sources, "a.de": targets}
    given = (*TASK, "--corpus=lines:a.en,a.de", *flags)
    return Fault(name, how, files(contents), given, line, code, common=COMMON)


def table(name, how, content, line, *flags, code=1):
    """A fault in a table of pairs."""
    given = (*TASK, "--corpus=tsv:a.tsv", *flags)
    return Fault(name, how, files({"a.tsv": content}), given, line, code, common=COMMON)


def told(name, how, sources, targets, line, *flags):
    """Something that is read all the same, and said."""
    line = f"a.tsv: the source is column 1 and the target column 2 / {line}"
    return table(name, how, tsv(sources, targets), line, "--header=no", *flags, code=0)


def text(lines):
    return "".join(f"{line}\n" for line in lines)


FAULTS = [
    parallel("files of different length", "a line missing in the middle", text(ENGLISH),
        text(GERMAN[:11] + GERMAN[12:]),
        "a.en has 24 lines and a.de has 23: expected as many, because lines with the same number are a pair; "
        "the first line without a partner is a.en:24 'The cat sees tree 23.'"),
    parallel("files of different length with a gap", "an empty line, too", text(ENGLISH),
        text([*GERMAN[:3], "", *GERMAN[4:11], *GERMAN[12:]]),
        "a.en has 24 lines and a.de has 23: expected as many, because lines with the same number are a pair; "
        "the first line with a text on one side only is a.en:4, and the first line without a partner is "
        "a.en:24 'The cat sees tree 23.'"),
    parallel("an empty side", "an empty line in the target", text(ENGLISH),
        text([*GERMAN[:3], "", *GERMAN[4:]]), f"a.en:4: the target is empty; {REMEDY}"),
    parallel("a NUL in a pair", "in the source", text([*ENGLISH[:3], "The\0cat.", *ENGLISH[4:]]),
        text(GERMAN),
        "a.en: a NUL byte at byte 66, line 4: expected UTF-8 text; fix the file, or pass "
        "--on_bad_text=replace or --on_bad_text=skip"),
    parallel("pairs with a byte order mark", "in both files", "\ufeff" + text(ENGLISH),
        "\ufeff" + text(GERMAN), "", code=0),
    parallel("pairs with line ends of Windows", "in one file", text(ENGLISH).replace("\n", "\r\n"),
        text(GERMAN), "", code=0),
    table("a table of pairs with one column", "sources only", text(ENGLISH),
        "a.tsv: its rows have one column, and this task needs a source and a target; write a tab between "
        "them"),
    table("a pair without a target", "an empty column", tsv(ENGLISH, GERMAN) + "So so.\t\n",
        f"a.tsv:25: the target is empty; {REMEDY}", "--header=no"),
    told("identical sides", "two of 24", ENGLISH, ENGLISH[:2] + GERMAN[2:],
        "a.tsv:1: the source and the target are the same text (2 of 24 train pairs); a network learns to "
        "copy from such pairs"),
    told("swapped languages", "one of 24", [*ENGLISH[:23], RUSSIAN[23]], [*RUSSIAN[:23], ENGLISH[23]],
        "a.tsv:24: the source and the target look swapped: their scripts are Cyrillic and Latin, and the "
        "other way round in most pairs to learn (1 of 24 train pairs)"),
    told("a token of the language in a source", "`<2de>`", ["<2de> a cat", *ENGLISH[1:]], GERMAN,
        "a.tsv:1: the source holds <2de>, which is read as text, piece by piece (1 of 24 train pairs); for a "
        "token of the language take it out and give --target_languages or --target_language_field"),
    told("a source longer than a row", "90 letters", ["e" * 90, *ENGLISH[1:]], GERMAN,
        "a.tsv:1: the source has 90 tokens, and its row has room for 63 (1 of 24 train sources are too long; "
        "the longest, a.tsv:1, has 90): the tokens behind these are not read"),
    table("a target longer than a row", "90 letters", tsv(ENGLISH, ["e" * 90, *GERMAN[1:]]),
        "a.tsv:1: the target has 90 tokens, and its row has room for 64 (1 of 24 train targets are too long; "
        "the longest, a.tsv:1, has 90); raise --sequence_length, or choose --too_long=cut_end",
        "--header=no"),
    table("pairs of a text", "`--task=seq2seq` with text:", tsv(ENGLISH, GERMAN),
        "--task=seq2seq needs the field 'source' of each record, and --corpus=text:a.tsv has none; take one "
        "of python-docs[:libraries|:names|:signatures|:questions], tsv:GLOB, csv:GLOB, jsonl:GLOB, "
        "lines:SOURCE,TARGET, tfds:NAME[/CONFIG][:SPLIT]", "--corpus=text:a.tsv"),
    table("languages of too few corpora", "two for one", tsv(ENGLISH, GERMAN),
        "--target_languages=de,fr names 2 languages for 1 corpus, tsv:a.tsv: expected one for each, or one "
        "for all; a text with several has them in a field, --target_language_field",
        "--target_languages=de,fr", "--header=no"),
]  # fmt: skip
