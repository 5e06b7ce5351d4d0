"""`--precision=auto`: what the hardware multiplies decides once, when a run begins."""

from pathlib import Path

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
    said = "--precision=mixed_bfloat16: this processor multiplies float32 faster than bfloat16"
    assert said in train(tiny_config(precision="mixed_bfloat16", steps=1), tmp_path / "slow").err
    hardware("bfloat16")
    assert (
        "multiplies float32 faster"
        not in train(tiny_config(precision="mixed_bfloat16", steps=1), tmp_path / "fast").err
    )
    assert "multiplies float32 faster" not in train(tiny_config(steps=1), tmp_path / "plain").err


@pytest.mark.parametrize(
    ("cpuinfo", "formats"),
    [
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 avx512_fp16", {"float16"}),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16", {"bfloat16"}),
        ("vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16", {"bfloat16"}),
        ("vendor_id : AuthenticAMD\nflags : avx2", set()),
        ("Features : asimd bf16", {"bfloat16"}),
    ],
)
def test_a_format_counts_where_its_products_are_not_slower(monkeypatch, tmp_path, cpuinfo, formats):
    """Intel's AVX-512 alone multiplies bfloat16 at half the rate of float32; AMD's at twice the rate."""
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    monkeypatch.setattr(machine, "Path", lambda name: path if name == "/proc/cpuinfo" else Path(name))
    assert machine.fast_types(on_gpu=False) == formats
