"""Split Chinese and English sentences of Tatoeba: python tatoeba.py cmn.txt.gz FOLDER

1,000 Chinese sentences each are held out for test and validation, with all their translations; the lowest and
the next SHA-256 of the sentences choose them. No training pair has an English sentence of a held-out one.
"""

import gzip
import hashlib
import json
import sys

HELD_OUT = 1_000

if len(sys.argv) != 3:
    sys.exit(__doc__)
path, folder = sys.argv[1:]
translations: dict[str, list[str]] = {}
with gzip.open(path, "rt", encoding="utf-8") as lines:
    for line in lines:
        english, chinese, *_ = line.split("\t")
        if english not in translations.setdefault(chinese, []):
            translations[chinese].append(english)
order = sorted(translations, key=lambda text: hashlib.sha256(text.encode()).digest())
parts = {
    "test": order[:HELD_OUT],
    "valid": order[HELD_OUT : 2 * HELD_OUT],
    "train": order[2 * HELD_OUT :],
}
held_out = {english for name in ("test", "valid") for text in parts[name] for english in translations[text]}
for name, sources in parts.items():
    with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as file:
        for source in sources:
            targets = translations[source]
            if name == "train":
                rows = [target for target in targets if target not in held_out]
            else:
                rows = [targets]
            for target in rows:
                file.write(json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n")
