"""Captions of Multi30k in two languages, and ten classes of them: python captions.py MULTI30K FOLDER

A caption has the class of the keywords in its English side, and the same one in German; captions with
keywords of several classes, or of none, have no class. both.txt has a caption in both languages on each line,
in either order, and each.txt in one.
"""

import gzip
import re
import sys

KEYWORDS = {
    "dog": "dogs? puppy puppies",
    "bike": "bikes? bicycles? cyclists? bicyclists? bikers?",
    "ball": "soccer football basketball baseball tennis volleyball",
    "water": "water beach ocean pool lake river",
    "snow": "snow snowy ski skiing skiers? snowboarder",
    "music": "guitars? music band singing sings microphone",
    "horse": "horses?",
    "food": "food eating eats cooking kitchen restaurant",
    "child": "child children kids? baby toddler",
    "street": "street sidewalk road city",
}
"""Regular expressions of words, by class."""

if len(sys.argv) != 3:
    sys.exit(__doc__)
source, folder = sys.argv[1:]
patterns = {
    label: re.compile(rf"\b(?:{'|'.join(words.split())})\b", re.IGNORECASE)
    for label, words in KEYWORDS.items()
}


def captions(name: str) -> list[str]:
    with gzip.open(f"{source}/{name}.gz", "rt", encoding="utf-8") as file:
        return [line.strip().replace("\t", " ") for line in file]


def labelled(names: list[str], language: str) -> list[str]:
    """Return a table of captions with their classes."""
    rows = ["text\tlabel"]
    for name in names:
        for english, text in zip(captions(f"{name}.en"), captions(f"{name}.{language}")):
            found = [label for label, pattern in patterns.items() if pattern.search(english)]
            if len(found) == 1:
                rows.append(f"{text}\t{found[0]}")
    return rows


def write(name: str, lines: list[str]) -> None:
    with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


pairs = [*zip(captions("train.en"), captions("train.de"))]
write("both.txt", [" ".join(pair if number % 2 else pair[::-1]) for number, pair in enumerate(pairs)])
write("each.txt", [text for pair in pairs for text in pair])
write("train.en.tsv", labelled(["train"], "en"))
write("dev.en.tsv", labelled(["val"], "en"))
for language in ("en", "de"):
    write(f"test.{language}.tsv", labelled(["test_2016_flickr", "test_2017_flickr"], language))
