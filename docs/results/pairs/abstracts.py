"""Pairs to learn summaries from: python abstracts.py WIKITEXT_2_TRAIN SCITLDR FOLDER

wiki_*.jsonl: some sentences in a row of WikiText-2, and the one of them that shares most words with the
others (Zhang et al., 2020, PEGASUS, section 3.1, where it is left out of the source; here it stays, so that a
network learns to copy). sci_train.jsonl: abstracts of SciTLDR with their summaries, and once more with the
sentence that is most like the summary. Titles are not read.
"""

import collections
import gzip
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator

HELD_OUT = 300
"""Pairs of WikiText-2."""

if len(sys.argv) != 4:
    sys.exit(__doc__)
wiki, scitldr, folder = sys.argv[1:]
random.seed(0)


def plain(text: str) -> str:
    """Return a text without the spaces that WikiText-2 has around signs."""
    text = re.sub(r" @(.)@ ", r"\1", text).replace(" n't", "n't")
    text = re.sub(r" ([.,;:!?%)\]]|'s\b|'\B)", r"\1", text)
    return re.sub(r"([(\[]) ", r"\1", text).strip()


def shared(sentence: str, others: Iterable[str]) -> float:
    """Return ROUGE-1 F1 of a sentence and others."""
    one, rest = (
        collections.Counter(re.findall(r"\w+", text.lower())) for text in (sentence, " ".join(others))
    )
    return 2 * (one & rest).total() / max(1, one.total() + rest.total())


def passages() -> Iterator[list[str]]:
    """Yield 3 to 8 sentences in a row, each passage with about half of the sentences of the one before."""
    with gzip.open(wiki, "rt", encoding="utf-8") as file:
        for line in file:
            if line.startswith(" =") or "<unk> <unk>" in line:
                continue
            parts = re.split(r"(?<= [.!?]) ", line.strip().replace("<unk>", "it"))
            sentences = [text for text in map(plain, parts) if 5 <= len(text.split()) <= 60]
            begin = 0
            while len(sentences) - begin >= 3:
                size = random.randint(3, 8)
                yield sentences[begin : begin + size]
                begin += max(2, size // 2)


def write(name: str, pairs: Iterable[tuple]) -> None:
    with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as file:
        for source, target in pairs:
            file.write(json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n")


pairs = []
for own in passages():
    best = max(own, key=lambda text: shared(text, (other for other in own if other is not text)))
    pairs.append((" ".join(own), best))
random.shuffle(pairs)
write("wiki_valid", pairs[:HELD_OUT])
write("wiki_train", pairs[HELD_OUT:])

with gzip.open(f"{scitldr}/train.jsonl.gz", "rt", encoding="utf-8") as file:
    papers = [json.loads(line) for line in file]
learnt = []
for paper in papers:
    abstract = " ".join(paper["source"])
    learnt.append((abstract, paper["target"][0]))
    learnt.append((abstract, max(zip(paper["rouge_scores"], paper["source"]))[1]))
write("sci_train", learnt)
