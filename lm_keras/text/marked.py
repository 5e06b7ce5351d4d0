"""A tokenizer of the library `tokenizers` whose special tokens have names that no text has.

So special tokens in a text are those that somebody put there, and the rest of the library's work on a whole
text stays as it is: what it strips around a special token, and where it puts a space.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from lm_keras.errors import InputError
from lm_keras.text import library
from lm_keras.text.spelled import Special, Spelled


class MarkedTokenizer:
    """Encodes texts in which it is known where special tokens are.

    Args:
        content: of a tokenizer.json.
        special: the ids of special tokens by name.
    """

    def __init__(self, content: dict[str, Any], special: dict[str, int]):
        # U+FDD0 is no character of a text; the number is in none by chance.
        mark = f"\ufdd0{secrets.token_hex(8)}"
        self._marks = {number: f"{mark}x{number}\ufdd0" for number in special.values()}
        marks = {name: self._marks[number] for name, number in special.items()}
        vocabulary = library.vocabulary_of(content)
        named = {name: mark for name, mark in marks.items() if name in vocabulary}
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        added = {token["content"]: token for token in content.get("added_tokens") or []}
        added |= {name: {"id": special[name], **plain} for name in special if name not in added}
        tokens = [
            {**token, "content": marks.get(name, name), "special": name in marks}
            for name, token in sorted(added.items(), key=lambda item: item[1]["id"])
        ]
        changed = {
            **content,
            "model": library.renamed(content["model"], named),
            "added_tokens": tokens,
            "post_processor": None,
        }
        unknown = content["model"].get("unk_token"), content["model"].get("unk_id")
        # What a text's own characters never become.
        self._told = {number for name, number in special.items() if not {name, number} & {*unknown}}
        self._library = library.read(json.dumps(changed).encode())
        self._library.encode_special_tokens = False

    def encode(self, text: str, specials: Sequence[Special]) -> Spelled:
        """Return the tokens of a text with special tokens at some of its places.

        Raises:
            InputError: the library cannot encode it, or does not take a special token for one.
        """
        parts, characters, place = [], [], 0
        for begin, end, token in specials:
            mark = self._marks[token]
            parts += [text[place:begin], mark]
            characters += [np.arange(place, begin), np.full(len(mark), begin)]
            place = end
        characters = np.concatenate([*characters, np.arange(place, len(text) + 1)])
        marked = "".join([*parts, text[place:]])
        try:
            found = self._library.encode(marked, add_special_tokens=False)
        except BaseException as error:  # The library's own panics are not Exceptions.
            raise library.refused(error, "the tokenizer cannot encode a conversation: ") from None
        offsets = np.array(found.offsets, np.int64).reshape(-1, 2)
        ids, begins = np.array(found.ids, np.int32), characters[offsets[:, 0]]
        # Behind the last character of a token; a special one ends where the next one begins.
        ends = np.where(
            offsets[:, 1] > offsets[:, 0], characters[np.maximum(offsets[:, 1] - 1, 0)] + 1, begins
        )
        if [token for token in ids.tolist() if token in self._told] != [
            token for _, _, token in specials if token in self._told
        ]:
            names = ", ".join(sorted({repr(text[begin:end]) for begin, end, _ in specials}))
            raise InputError(f"the tokenizer does not take each of {names} in the chat template for a token")
        return Spelled(ids, begins, ends)
