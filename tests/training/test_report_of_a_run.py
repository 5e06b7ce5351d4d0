"""What a run shows when it is finished."""

from lm_keras.training import report

RESULTS = {"step": 9, "best_step": None, "splits": {}}


def shown(sample, tmp_path, capsys):
    report.show(tmp_path, {**RESULTS, "sample": sample}, "causal_lm")
    return capsys.readouterr()


def test_a_prompt_without_text_has_no_filled_masks_to_show(tmp_path, capsys):
    found = shown({"prompt": "", "text": "", "filled": True}, tmp_path, capsys)
    assert "sample" not in found.out
    assert "--prompt" not in found.err and "--interactive\n" in found.err


def test_filled_masks_are_shown(tmp_path, capsys):
    """The control."""
    found = shown({"prompt": "A [MASK].", "text": "A cat.", "filled": True}, tmp_path, capsys)
    assert found.out.endswith("sample, masks filled:\nA cat.\n")
    assert "--prompt='A [MASK].'\n" in found.err
