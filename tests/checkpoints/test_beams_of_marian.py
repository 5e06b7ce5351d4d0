"""Beam search on a Marian with made-up weights finds what transformers finds, with the same scores.

`python tests/checkpoints/test_beams_of_marian.py` writes what `transformers` finds into golden_beams.json.
"""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import folders_of_models as models
import numpy as np
import pytest

from lm_keras.checkpoints import exchange
from lm_keras.sampling.beam import BeamSearch
from lm_keras.sampling.hypotheses import Lengths, Width
from lm_keras.sampling.network import DecodingNetwork
from lm_keras.sampling.rules import RuleSettings

GOLDEN = Path(__file__).with_name("golden_beams.json")
PAD, MOST = models.V - 1, 9
END = 16
"""The token that ends a text here: one that comes now and then."""

BEAMS = (4, 7)

needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")),
    reason="transformers and torch are not installed",
)


def theirs(folder, beams):
    """The tokens and the score of each hypothesis of each source, of `transformers`."""
    import torch
    import transformers

    model = transformers.MarianMTModel.from_pretrained(folder).eval()
    there = torch.arange(max(models.LENGTHS)) < torch.tensor(models.LENGTHS)[:, None]
    found = model.generate(
        input_ids=torch.tensor(models.SOURCES), attention_mask=there.int(), num_beams=beams,
        num_return_sequences=beams, length_penalty=0.0, early_stopping=False, max_new_tokens=MOST,
        do_sample=False, bad_words_ids=[[PAD]], forced_eos_token_id=None, eos_token_id=END,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    rows = [[token for token in row[1:] if token != PAD] for row in found.sequences.tolist()]
    both = list(zip(rows, found.sequences_scores.tolist()))
    return [both[begin : begin + beams] for begin in range(0, len(both), beams)]


def ours(folder, beams):
    network = DecodingNetwork(exchange.read(folder).build())
    search = BeamSearch(network, END, np.arange(models.V) != PAD, apart=True)
    there = np.arange(max(models.LENGTHS)) < np.array(models.LENGTHS)[:, None]
    source = np.array(models.SOURCES, np.int32)
    memory = network.encoded(source, np.where(there, 0, 1).astype(np.int32))
    lengths, width = Lengths([MOST] * len(source), [0] * len(source)), Width(beams, 0.0, beams)
    found = search.search([[PAD]] * len(source), lengths, width, RuleSettings.of(), memory=memory)
    return [[(one.token_ids, one.score) for one in row] for row in found]


def is_same(found, expected):
    return all(
        list(tokens) == list(others) and score == pytest.approx(other, abs=1e-4)
        for row, their_row in zip(found, expected, strict=True)
        for (tokens, score), (others, other) in zip(row, their_row, strict=True)
    )


@pytest.mark.parametrize("beams", [BEAMS[0], pytest.param(BEAMS[1], marks=pytest.mark.slow)])
def test_hypotheses_and_scores_are_those_that_transformers_found(tmp_path, beams):
    golden = json.loads(GOLDEN.read_text())[str(beams)]
    assert is_same(ours(models.write(tmp_path / "model", "marian"), beams), golden)
    name = "model.decoder.layers.1.encoder_attn.k_proj.weight"
    changed = {name: models.tensors("marian")[name] * 1.1}
    assert not is_same(ours(models.write(tmp_path / "other", "marian", changed), beams), golden)


@needs_transformers
@pytest.mark.parametrize("beams", BEAMS)
def test_hypotheses_equal_those_of_transformers(tmp_path, beams):
    folder = models.write(tmp_path / "model", "marian", config={"activation_function": "relu"})
    assert is_same(ours(folder, beams), theirs(folder, beams))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        models.write(Path(folder), "marian")
        found = {str(beams): theirs(Path(folder), beams) for beams in BEAMS}
    GOLDEN.write_text(json.dumps(found) + "\n")
    print(GOLDEN, file=sys.stderr)
