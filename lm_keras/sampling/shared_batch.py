"""Texts that begin at different times and are generated side by side.

A row joins while others are under way. Its prompt ends where their texts end now:

    position   0   1   2   3   4   5
    row 0 fed  p0  p1  s0  s1  s2  s3
    row 1 fed  -   -   -   p0  p1  s0       p = prompt, s = sampled, - = nothing that would matter

A text depends on its own tokens, its key and the rules alone, as in `lm_keras.sampling.loop`. A row leaves
when its text ends.

The state of some networks has slots for tokens, and all rows have the same slots taken. When rows have left,
the others move to the first slots, so that they can go on. A longer prompt moves the others the other way.

B rows, L columns.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.sampling.continuation import GrowingContinuation
from lm_keras.sampling.loop import NO_END, NOTHING, Carry, Chosen, DecodeLoop, Prompts
from lm_keras.sampling.network import State, cache_size_for
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.uniforms import uniform_numbers


class SharedBatch:
    """Rows that are generated side by side, whenever each of them begins.

    The rules may not ask where a prompt ends, as count penalties do: rows have different ends.

    Args:
        loop: of a network that may read a prompt in parts.
        rules: the settings of all rows.

    Attributes:
        rows: those whose text has not ended.
        takes_rows: always: rows may join.

    Example:
        >>> batch = SharedBatch(loop, RuleSettings.of(temperature=0.0))
        >>> batch.join([one]); batch.advance(8); batch.join([another]); batch.advance(8)
    """

    takes_rows = True

    def __init__(self, loop: DecodeLoop, rules: RuleSettings):
        self._loop, self._rules = loop, rules
        self._prompts: Prompts | None = None
        self._carry: Carry | None = None
        self.rows: list[GrowingContinuation] = []

    def join(self, rows: list[GrowingContinuation]) -> None:
        """Add rows that are still empty; the next call of `advance` generates their first tokens."""
        self._leave()
        asked = [row.prompt_ids for row in rows]
        # Twice the slots of the longest text: those that join later need not wait for those before them.
        more = 2 * max(row.max_new_tokens for row in rows)
        if self.rows:
            self._append(asked, cache_size_for(self._loop.network.model, max(map(len, asked)) + more))
        else:
            prompts, self._carry = self._loop.start(asked, more)
            limits = prompts.limits._replace(max_new_tokens=tf.constant(NO_END))  # Rows know their own.
            self._prompts = prompts._replace(limits=limits)
        self.rows = [*self.rows, *rows]

    def advance(self, positions: int) -> list[GrowingContinuation]:
        """Generate up to `positions` tokens of each row, and let the rows go whose text has ended.

        Returns:
            Rows whose logits were not finite. They have left, too.
        """
        self._leave()
        if not self.rows:
            return []
        self._free_slots(positions)
        count = min(positions, max(row.max_new_tokens - len(row.ids) for row in self.rows))
        uniforms = np.stack([uniform_numbers(row.key, len(row.ids), count) for row in self.rows])
        likeliest = max(row.top_logprobs for row in self.rows)
        chosen, self._carry = self._loop.advance(self._prompts, self._carry, uniforms, self._rules, likeliest)
        failed = take(self.rows, chosen)
        self._leave(failed)
        return failed

    def _append(self, asked: list[list[int]], cache_size: int | None) -> None:
        """Put prompts below the other rows, so that they end in the same column."""
        lengths = np.array([len(prompt) for prompt in asked], np.int32)
        read = int(lengths.max()) - 1  # Tokens that go through the network before the loop.
        self._move_columns(max(0, read - int(self._carry.position)))
        if cache_size is not None:
            self._make_slots(read, cache_size)
        prompts, carry = self._prompts, self._carry
        position = int(carry.position)
        tokens = np.zeros([len(asked), carry.tokens.shape[1]], np.int32)
        for row, prompt in enumerate(asked):
            tokens[row, position + 1 - len(prompt) : position + 1] = prompt
        part, begins = tokens[:, position - read : position], read + 1 - lengths
        slots = read + 1 if prompts.cache_size is None else prompts.cache_size
        state = self._loop.network.prefilled(part, begins, slots, prompts.matrices)
        if prompts.cache_size is not None:
            state = _moved(state, int(carry.taken) - read)
        begins = begins + np.int32(position - read)
        texts = begins + np.array([prompt[0] == self._loop.begin_id for prompt in asked], np.int32)
        limits = prompts.limits._replace(
            begins=tf.concat([prompts.limits.begins, begins], 0),
            texts=tf.concat([prompts.limits.texts, texts], 0),
        )
        self._prompts = prompts._replace(limits=limits)
        self._carry = carry._replace(
            tokens=tf.concat([carry.tokens, tokens], 0),
            finished=tf.concat([carry.finished, tf.zeros([len(asked)], tf.bool)], 0),
            state=_together(carry.state, state),
        )

    def _leave(self, failed: list[GrowingContinuation] = ()) -> None:
        """Let the rows go that have ended, or failed, and the columns that only they had."""
        gone = {id(row) for row in failed}
        kept = [n for n, row in enumerate(self.rows) if not row.ended_by and id(row) not in gone]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[number] for number in kept]
        if not kept:
            self._prompts = self._carry = None
            return
        index, limits, carry = tf.constant(kept, tf.int32), self._prompts.limits, self._carry
        of_rows = {name: tf.gather(getattr(limits, name), index) for name in ("begins", "texts")}
        self._prompts = self._prompts._replace(limits=limits._replace(**of_rows))
        state = tf.nest.map_structure(
            lambda part: tf.gather(part, index) if part.shape.rank else part, carry.state
        )
        self._carry = carry._replace(
            tokens=tf.gather(carry.tokens, index), finished=tf.gather(carry.finished, index), state=state
        )
        self._move_columns(-int(tf.reduce_min(of_rows["begins"])))

    def _move_columns(self, by: int) -> None:
        """Move the texts `by` columns to the right, or to the left where nothing is before them."""
        if not by:
            return
        limits, carry = self._prompts.limits, self._carry
        position = int(carry.position)
        tokens = carry.tokens[:, max(0, -by) : position + 1]
        moved = {name: getattr(limits, name) + by for name in ("begins", "texts", "end")}
        self._prompts = self._prompts._replace(limits=limits._replace(**moved))
        tokens = tf.pad(tokens, [[0, 0], [max(0, by), 0]])
        self._carry = carry._replace(position=tf.constant(position + by), tokens=tokens)

    def _make_slots(self, read: int, cache_size: int) -> None:
        """See that the cache has `cache_size` slots at least, of which `read` are taken at least."""
        carry, more = self._carry, cache_size - self._prompts.cache_size
        if more > 0:
            self._prompts = self._prompts._replace(cache_size=cache_size)
            carry = carry._replace(state=_resized(carry.state, more))
        if (by := read - int(carry.taken)) > 0:
            carry = carry._replace(state=_moved(carry.state, by), taken=carry.taken + by)
        self._carry = carry

    def _free_slots(self, positions: int) -> None:
        """Free the slots before all texts, unless there are slots for some positions more."""
        carry, size = self._carry, self._prompts.cache_size
        if size is None or size - int(carry.taken) >= positions:
            return
        if (by := int(tf.reduce_min(carry.state["begins"]))) > 0:
            self._carry = carry._replace(state=_moved(carry.state, -by), taken=carry.taken - by)


def take(rows: list[GrowingContinuation], chosen: Chosen) -> list[GrowingContinuation]:
    """Append to rows what a call of the loop generated, and return those whose logits were not finite."""
    failed = []
    for row, tokens, scores, likeliest, likeliest_scores in zip(rows, *chosen):
        there, most = tokens != NOTHING, row.top_logprobs
        if np.isnan(scores).any():
            failed.append(row)
            continue
        best = likeliest[there, :most], likeliest_scores[there, :most]
        row.extend(*(value.tolist() for value in (tokens[there], scores[there], *best)))
    return failed


def _together(state: State, other: State) -> State:
    """Return the state of the rows of two states, which have the same slots taken."""
    return tf.nest.map_structure(
        lambda part, more: tf.concat([part, more], 0) if part.shape.rank else part, state, other
    )


def _moved(state: State, by: int) -> State:
    """Return a state with keys and values `by` slots further. What comes in at an end is never seen."""
    if not by:
        return state
    rolled = {name: [tf.roll(part, by, 2) for part in state[name]] for name in ("keys", "values")}
    return {**state, "length": state["length"] + by, "begins": state["begins"] + by, **rolled}


def _resized(state: State, more: int) -> State:
    """Return a state with `more` slots behind the others."""
    wider = [[0, 0], [0, 0], [0, more], [0, 0]]
    return {**state, **{name: [tf.pad(part, wider) for part in state[name]] for name in ("keys", "values")}}


class FixedBatch:
    """Rows that begin together and are generated side by side: for networks and rules that a `SharedBatch` is
    not for.

    Args:
        decode: fills rows, and yields after each call of the compiled loop.

    Attributes:
        rows: those whose text has not ended.
    """

    def __init__(self, decode: Callable[[list[GrowingContinuation]], Iterator[None]]):
        self._decode, self._calls = decode, None
        self.rows: list[GrowingContinuation] = []

    @property
    def takes_rows(self) -> bool:
        """Tell whether rows may join: until the first call of `advance`."""
        return self._calls is None

    def join(self, rows: list[GrowingContinuation]) -> None:
        """Add rows that are still empty."""
        self.rows = [*self.rows, *rows]

    def advance(self, positions: int) -> list[GrowingContinuation]:
        """Generate some tokens of each row, as `SharedBatch.advance` does; `decode` decides how many."""
        del positions
        if self._calls is None:
            self._calls = self._decode(list(self.rows))
        failed: list[GrowingContinuation] = []
        try:
            next(self._calls, None)
        except InputError:  # Logits that are not finite; the loop does not tell of which row.
            failed = self.rows
        self.rows = [row for row in self.rows if not (row.ended_by or failed)]
        return failed
