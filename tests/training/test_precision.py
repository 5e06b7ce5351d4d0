"""`--precision=auto`: what the hardware multiplies decides once, when a run begins."""

import pytest

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError
from lm_keras.training import machine


@pytest.fixture
def hardware(monkeypatch):
    """A function that decides which short number formats this machine seems to multiply."""
    return lambda *formats: monkeypatch.setattr(machine, "fast_types", lambda on_gpu: set(formats))


def precision_of(path):
    return RunFolder(path).config().learning.precision


@pytest.mark.parametrize(
    ("formats", "chosen"), [(("bfloat16",), "mixed_bfloat16"), (("float16",), "float32"), ((), "float32")]
)
def test_a_run_keeps_what_was_chosen_when_it_began(
    train, tiny_config, small, hardware, tmp_path, formats, chosen
):
    config = tiny_config(precision="auto", steps=4, checkpoint_every=2)
    hardware(*formats)
    assert train(config, tmp_path / "run").code == 0
    assert precision_of(tmp_path / "run") == chosen
    assert f"--precision={chosen}\n" in (tmp_path / "run" / "flags.txt").read_text()
    hardware(*({"bfloat16"} - set(formats)))  # Another machine.
    assert train(tiny_config(precision="auto", steps=6, checkpoint_every=2), tmp_path / "run").code == 0
    assert precision_of(tmp_path / "run") == chosen
    # The control: what was asked for by name does not give way.
    other = "float32" if chosen != "float32" else "mixed_bfloat16"
    with pytest.raises(InputError, match=f"--precision: {chosen} in the run, {other} now"):
        train(tiny_config(precision=other, steps=6, checkpoint_every=2), tmp_path / "run")


def test_a_format_that_the_hardware_lacks_is_spoken_of(train, tiny_config, small, hardware, tmp_path):
    hardware()
    said = "--precision=mixed_bfloat16: this hardware has no instructions for bfloat16"
    assert said in train(tiny_config(precision="mixed_bfloat16", steps=1), tmp_path / "slow").err
    hardware("bfloat16")
    assert (
        "no instructions"
        not in train(tiny_config(precision="mixed_bfloat16", steps=1), tmp_path / "fast").err
    )
    assert "no instructions" not in train(tiny_config(steps=1), tmp_path / "plain").err
