"""What can be wrong with labels and tags"""

from faults import SMALL, Fault, files

ROWS = "".join(
    f"The {word} cat sees tree {number}.\t{'good' if number % 2 else 'bad'}\n"
    for word in ("old", "red")
    for number in range(12)
)
HEADED = "text\tlabel\n" + ROWS
SENTENCES = "".join(
    f"Ann\tB-person\nLee\tI-person\nsees\tO\ntree\tO\n{number}\tO\n\n" for number in range(24)
)
WITH = {
    "tsv": ("--task=classification", "--model=lstm"),
    "csv": ("--task=classification", "--model=lstm"),
    "jsonl": ("--task=classification", "--model=lstm"),
    "conll": ("--task=tagging", "--model=lstm"),
}
COMMON = (*(flag for flag in SMALL if "sequence_length" not in flag), "--sequence_length=64")


def labels(name, how, content, line, *flags, scheme="tsv", valid=None, code=1, **more):
    """A fault in the training examples of a run, or in the validation examples."""
    contents = {f"a.{scheme}": content, **({f"b.{scheme}": valid} if valid is not None else {})}
    corpora = [f"--corpus={scheme}:a.{scheme}", "--split=100/0/0"]
    corpora += [f"--valid_corpus={scheme}:b.{scheme}"] if valid is not None else []
    given = (*WITH[scheme], *corpora, *flags)
    return Fault(name, how, files(contents), given, line, code, common=COMMON, **more)


def told(name, how, content, line, *flags, **more):
    """Something that is read all the same, and said."""
    return labels(name, how, content, line, *flags, code=0, **more)


FAULTS = [
    told("a table with names", "a .tsv file", HEADED,
        "a.tsv: its first row names the columns, 'text', 'label'; --header=no reads it as data"),
    told("a table without names", "a .tsv file", ROWS,
        "a.tsv: the text is column 1 and the label column 2"),
    told("a header with other names", "`review` and `mood`", "review\tmood\n" + ROWS,
        "a.tsv: its first row names the columns, 'review', 'mood'; --header=no reads it as data / "
        "a.tsv: the text is column 1 and the label column 2"),
    told("a header read as data", "`--header=no`", HEADED,
        "a.tsv: its first row, 'text', 'label', looks like names, and is read as data / a.tsv: the text "
        "is column 1 and the label column 2", "--header=no"),
    labels("a row with more columns", "a tab in a text", ROWS + "So\tso.\tgood\n",
        "a.tsv:25: 3 columns, and the first row has 2; write a space for a tab within a text, correct "
        "it, or leave it out (--on_bad_text=skip leaves out all such records)"),
    labels("a row with fewer columns", "no label", ROWS + "So so.\n",
        "a.tsv:25: 1 column, and the first row has 2; correct it, or leave it out (--on_bad_text=skip "
        "leaves out all such records)"),
    labels("a table of one column", "texts only", ROWS.replace("\tgood", "").replace("\tbad", ""),
        "a.tsv: its rows have one column, and this task needs a text and a label; write a tab between "
        "them"),
    labels("a missing column", "`--label_field=mood`", HEADED,
        "a.tsv: no column 'mood': its columns are 'text', 'label'; name the one with the label with "
        "--label_field, by name or number", "--label_field=mood"),
    labels("an empty text among labels", "blanks", ROWS + " \tgood\n",
        "a.tsv:25: the text is empty; correct it, or leave it out (--on_bad_text=skip leaves out all "
        "such records)"),
    labels("an empty label", "nothing behind the tab", ROWS + "So so.\t\n",
        "a.tsv:25: the label is empty; correct it, or leave it out (--on_bad_text=skip leaves out all "
        "such records)"),
    told("bad records skipped", "`--on_bad_text=skip`", ROWS + " \tgood\nSo\tso.\tgood\n",
        "a.tsv: the text is column 1 and the label column 2 / bad text in train: 2 skipped documents",
        "--on_bad_text=skip"),
    labels("a single class", "one label", ROWS.replace("bad", "good"),
        "all 24 labels of the training text, tsv:a.tsv, are 'good': expected at least two different "
        "ones; check --label_field, or add examples of others"),
    labels("a label that training lacks", "a third one in valid", ROWS,
        "b.tsv:1: the label 'fair' is not in the training text: expected 'bad', 'good'; correct it, or "
        "add such examples to --corpus", valid="So so.\tfair\n"),
    told("labels that differ in case", "`Good`", HEADED + "So so.\tGood\n",
        "a.tsv: its first row names the columns, 'text', 'label'; --header=no reads it as data / the "
        "labels 'Good' (1) and 'good' (12) differ only in case or spaces, and are different labels"),
    told("equal texts with different labels", "a text twice", HEADED + "The red cat sees tree 3.\tbad\n",
        "a.tsv: its first row names the columns, 'text', 'label'; --header=no reads it as data / "
        "a.tsv:17 and a.tsv:26 have the same text and the labels 'good' and 'bad'; texts with more than "
        "one label: 1"),
    told("the same text in training and validation", "a text in both", HEADED,
        "b.tsv:2 is part of the training text, too (1 of 2 documents of tsv:b.tsv, 80.0% of its text): "
        "the validation loss is of text that was learnt; leave it out of one of both / a.tsv: its first "
        "row names the columns, 'text', 'label'; --header=no reads it as data / b.tsv: its first row "
        "names the columns, 'text', 'label'; --header=no reads it as data / 1 of 31 tokens (3.23%) of "
        "the valid text are unknown to the tokenizer: what they stand for is lost, so bits per byte are "
        "left out; byte and sentencepiece lose nothing",
        valid="text\tlabel\nThe red cat sees tree 3.\tgood\nSo so.\tbad\n"),
    told("a text longer than a row", "90 letters", HEADED + "e" * 90 + "\tgood\n",
        "a.tsv: its first row names the columns, 'text', 'label'; --header=no reads it as data / "
        "a.tsv:26: 90 tokens, and a row has room for 63 of an example (1 of 25 train examples are "
        "longer; the longest, a.tsv:26, has 90): --too_long=cut_end, the tokens behind that are not "
        "read"),
    labels("a text longer than a row, refused", "90 letters, `--too_long=error`",
        HEADED + "e" * 90 + "\tgood\n",
        "a.tsv:26: 90 tokens, and a row has room for 63 of an example (1 of 25 train examples are "
        "longer; the longest, a.tsv:26, has 90); raise --sequence_length to 91, or choose "
        "--too_long=windows, cut_end or cut_start",
        "--too_long=error"),
    labels("a quote that is not closed", "in a .csv file", "text,label\na,good\n\"b,bad\nc,good\n",
        "a.csv:3: a quote is opened in this row and not closed; write a quote within a quoted field "
        "twice, and close the field", scheme="csv"),
    labels("JSON without a label", "in a line", '{"text": "a", "label": 1}\n{"text": "b"}\n',
        "a.jsonl:2: no field 'label': name the one with the label with --label_field, or leave the line "
        "out", scheme="jsonl"),
    labels("a word without a tag", "one column in a line", SENTENCES + "Ann\tB-person\nsees\n",
        "a.conll:146: 1 column, and the first word has 2: the word 'sees' has no tag; correct it, or "
        "leave it out (--on_bad_text=skip leaves out all such records)", scheme="conll"),
    labels("a tag that training lacks", "in valid", SENTENCES,
        "b.conll:1: the tag 'B-place' is not in the training text (did you mean 'B-person'?): expected "
        "'B-person', 'I-person', 'O'; correct it, or add such examples to --corpus",
        scheme="conll", valid="Rome\tB-place\n"),
    told("a tag that continues nothing", "I-person behind O", SENTENCES + "sees\tO\nAnn\tI-person\n",
        "a.conll:146: the tag 'I-person' continues no span and is read as the beginning of one, as in "
        "conlleval (1 such tags in train)", scheme="conll"),
    told("tags in IOB1", "I- at the beginnings", SENTENCES.replace("B-", "I-"),
        "the train tags are those of IOB1; they are kept as IOB2", scheme="conll"),
    labels("a tag that is none of a span", "`person`", SENTENCES + "Ann\tperson\n",
        "a.conll:145: the tag 'person' is none of a span, and others are: expected O, or B- or I- "
        "before the type; correct it, or name the column of the tags with --label_field", scheme="conll"),
    labels("words that no row holds", "90 letters", SENTENCES + "e" * 90 + "\tO\n",
        "a.conll:145: 91 tokens, and a row has room for 63 of an example (1 of 25 train examples are "
        "longer; the longest, a.conll:145, has 91); raise --sequence_length to 92, or choose "
        "--too_long=windows, cut_end or cut_start", scheme="conll"),
    labels("labels of a text", "`--task=classification` with text:", ROWS,
        "--task=classification needs the field 'label' of each record, and --corpus=text:a.tsv has "
        "none; take one of python-docs[:libraries|:names|:signatures|:questions], tsv:GLOB, csv:GLOB, "
        "jsonl:GLOB, tfds:NAME[/CONFIG][:SPLIT]", "--corpus=text:a.tsv"),
    labels("labels without a task", "`--label_field` with the default task", ROWS,
        "--label_field=2 has no meaning for this task, which reads no labels; leave it out",
        "--task=causal_lm", "--label_field=2"),
]  # fmt: skip
