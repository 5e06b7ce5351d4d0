"""What can be wrong with a model of another project, and with where it goes."""

import dataclasses
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from faults import ENGLISH, ROOT, Ended, Fault, Result
from faults.paths import WITHOUT_RIGHTS
from faults.runs import KEPT, in_a_small_disk, kill_in
from lm_keras import quiet

MODEL, RUN = "--from_hf=model", ("--run_dir=run",)


def folder_of(kind: str = "gpt2", then: Callable[[Path], object] = lambda path: None, **changes):
    """Return a function that writes a model of another project to `model`, then does something else to it."""

    def make(folder: Path) -> None:
        sys.path.append(str(ROOT / "tests" / "checkpoints"))
        import folders_of_models

        then(folders_of_models.write(folder / "model", kind, **changes))

    return make


def run_of(then: Callable[[Path], object] = lambda folder: None):
    """Return a function that makes a run of such a model in `run`, then does something else in the folder."""

    def make(folder: Path) -> None:
        folder_of()(folder)
        quiet.import_tensorflow()
        from lm_keras.training import conversion

        conversion.to_run(str(folder / "model"), str(folder / "run"))
        then(folder)

    return make


def model(name: str, how: str, make: Callable, line: str, *flags: str, **more) -> Fault:
    """A fault of `scripts/convert.py`."""
    return Fault(name, how, make, flags or (MODEL,), line, script="convert.py", common=RUN, **more)


def cut(path: Path) -> None:
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def read_only(folder: Path) -> None:
    """Take the right to write from a run and all that is in it."""
    for path, _, names in os.walk(folder / "run"):
        for name in names:
            os.chmod(os.path.join(path, name), 0o444)
        os.chmod(path, 0o555)


def converted(folder: Path, *words: str) -> Ended:
    """Carry out `scripts/convert.py` in a folder as a user does."""
    return _process(folder, ROOT / "scripts" / "convert.py", *words)


def _process(folder: Path, script: str | Path, *words: str) -> Ended:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(script), *words]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@dataclasses.dataclass(frozen=True)
class KilledConversion:
    """A conversion that is killed; the same command must then give what it gives undisturbed.

    Attributes:
        name: what happens, in words; unique.
        how: how it is made, in words.
        kill: makes it, in the process that converts.
        flags: of `scripts/convert.py`, in a folder with a run `done` and the model that it was made of.
        made: the folder that they make.
    """

    name: str
    how: str
    kill: Callable[[], object]
    flags: tuple[str, ...]
    made: str

    times = 1
    slow = True
    at_once = 1
    before = ()

    def execute(self, convert: Callable = converted, start: Callable | None = None) -> Result:
        """Kill the conversion, carry it out again, and look at what came of it.

        Args:
            convert: carries out `scripts/convert.py` in a folder, with words.
            start: starts the process that is killed; None for a new interpreter.
        """
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path).resolve()
            run_of(lambda folder: (folder / "run").rename(folder / "done"))(folder)
            code, problems = self._killed(folder, start), []
            if code != -signal.SIGKILL:
                problems.append(f"exit code {code} where it was to be killed")
            again = convert(folder, *self.flags)
            if again.code:
                problems.append(f"the second time: {again.err[-200:]!r}")
            else:
                found = everything_of(folder / self.made)
                shutil.rmtree(folder / self.made)
                convert(folder, *self.flags)
                whole = everything_of(folder / self.made)
                different = [name for name in found | whole if found.get(name) != whole.get(name)]
                problems += [f"{name} is not what it is undisturbed" for name in different]
        return Result(code, "", problems)

    def _killed(self, folder: Path, start: Callable | None) -> int:
        """Carry out the first launch, and return its exit code."""
        if not start:
            return _process(folder, __file__, self.name, *self.flags).code
        process = start(__file__, self.name, *self.flags, folder=folder)
        process.communicate()
        return process.returncode


def everything_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, but for what is drawn anew each time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def kill_in_the_checkpoint() -> None:
    """Let the process be killed when the tensors of the run are written, and nothing else of it."""
    import tensorflow as tf

    kill_in(tf.train.Checkpoint, "write", after=True)(None)


def kill_before_the_settings() -> None:
    """Let it be killed when weights and tokenizer are in the run's folder, which is no run yet."""
    from lm_keras.checkpoints.run_folder import RunFolder

    kill_in(RunFolder, "write_text")(None)


def kill_in_the_weights() -> None:
    """Let it be killed when the weights are written for others, and no tokenizer."""
    import safetensors.numpy

    kill_in(safetensors.numpy, "save_file", after=True)(None)


BACK = "--to_hf=back"
FROM, INTO = (MODEL, *RUN), ("--run_dir=done", BACK)
PICKLED = (
    "model has neither model.safetensors nor model.safetensors.index.json beside pytorch_model.bin; older"
    " formats can run code and are not read: save the model as safetensors"
)

OTHER_HEAD = {"lm_head.weight": np.ones([60, 24], np.float32)}

FAULTS = [
    model("a model that is not there", "`--from_hf=model` where there is none", lambda folder: None,
        "model holds no model: config.json is missing"),
    model("a model's settings without permission", "`chmod 0 config.json`",
        folder_of(then=lambda path: (path / "config.json").chmod(0)),
        "cannot read model/config.json: Permission denied", before=WITHOUT_RIGHTS),
    model("a model's weights without permission", "`chmod 0 model.safetensors`",
        folder_of(then=lambda path: (path / "model.safetensors").chmod(0)),
        "cannot read model/model.safetensors: Permission denied", before=WITHOUT_RIGHTS),
    model("a model's weights cut short", "half of `model.safetensors`",
        folder_of(then=lambda path: cut(path / "model.safetensors")),
        "model/model.safetensors is damaged (Error while deserializing header: incomplete metadata, file not "
        "fully covered); restore it from a copy"),
    model("a model's settings cut short", "half of `config.json`",
        folder_of(then=lambda path: (path / "config.json").write_text('{"model_type": "gp')),
        "model/config.json is not JSON (Unterminated string starting at: line 1 column 16 (char 15)); "
        "restore "
        "it from a copy"),
    model("a model of a kind that is unknown here", '`"model_type": "bloom"`',
        folder_of(config={"model_type": "bloom"}),
        "config.json has model_type 'bloom'; known are gpt2, llama, mistral, qwen2, "
        "qwen3, bert, marian"),
    model("a model that lacks a tensor", "`ln_f.weight`",
        folder_of(changed={"transformer.ln_f.weight": None}), "model: the tensor 'ln_f.weight' is missing"),
    model("a model without a tokenizer", "`tokenizer.json` deleted",
        folder_of(then=lambda path: (path / "tokenizer.json").unlink()),
        "model has no tokenizer: expected tokenizer.json, vocab.json and merges.txt, vocab.txt, or "
        "tokenizer.model"),
    model("a model as a pickle", "`pytorch_model.bin` alone",
        folder_of(then=lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin")),
        PICKLED),
    model("a model whose output is none of its embedding", "`lm_head.weight` differs from `wte.weight`, and "
        "`tie_word_embeddings` is true", folder_of(changed=OTHER_HEAD),
        "gpt with 12,272 parameters in run / config.json says that embedding and output are one matrix, but "
        "lm_head.weight differs from wte.weight: both are kept (--tie_embeddings=false)", code=0),
    model("a model without the output of its own", "`tie_word_embeddings` is false, and there is no "
        "`lm_head.weight`", folder_of(config={"tie_word_embeddings": False}),
        "model: the tensor 'lm_head.weight' is missing"),
    model("a model with a layer too many", "weights of three layers where `n_layer` is 2",
        folder_of(changed={"transformer.h.2.ln_1.bias": OTHER_HEAD["lm_head.weight"]}),
        "model: the tensor 'h.2.ln_1.bias' belongs to no such network"),
    model("a model with stretched positions", '`"rope_parameters": {"type": "dynamic", "factor": 2.0}`',
        folder_of("llama", config={"rope_parameters": {"type": "dynamic", "factor": 2.0}}),
        "config.json has {'type': 'dynamic', 'factor': 2.0} for 'rope_parameters', which is not supported: "
        "it has 'dynamic' for 'type', which is not supported; known is 'default' or 'linear' or "
        "'llama3' or 'yarn'"),
    model("a model with two bases of its positions", "`rope_theta` differs from that in `rope_parameters`",
        folder_of("llama", config={"rope_parameters": {"rope_theta": 100.0}}),
        "config.json has different values for 'rope_theta' and 'rope_parameters.rope_theta', which are names "
        "of one setting; delete the wrong one"),
    model("a model with an unknown setting", '`"logit_scale": 2.0`', folder_of(config={"logit_scale": 2.0}),
        "config.json has a key that is unknown here, 'logit_scale': nothing tells whether the network "
        "depends on it; delete it if it changes no number"),
    model("a model with weights in few bits", '`"quantization_config": {"bits": 4}`',
        folder_of(config={"quantization_config": {"bits": 4}}),
        "config.json has {'bits': 4} for 'quantization_config', which is not supported; known is None or {}: "
        "save the model with weights of float32, float16 or bfloat16"),
    model("an adapter in place of a model", "`adapter_config.json`",
        folder_of(then=lambda path: (path / "adapter_config.json").write_text("{}")),
        "model has adapter_config.json: an adapter, which changes the weights of another model; merge it "
        "into that one (merge_and_unload of peft) and save the model as safetensors"),
    model("a model with several ends of a text", '`"eos_token_id": [0, 7]`',
        folder_of(config={"eos_token_id": [0, 7]}),
        "gpt with 10,832 parameters in run", code=0),
    model("a model with damaged settings of the library", "`generation_config.json` cut",
        folder_of(then=lambda path: (path / "generation_config.json").write_text("{")),
        "model/generation_config.json is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); restore it from a copy"),
    model("a model where a run is", "the same command twice", run_of(), "--run_dir=run holds a run already; "
        "choose another folder"),
    model("a model where something else is", "a folder with a file", lambda folder: (folder_of()(folder),
        (folder / "run").mkdir(),
        (folder / "run" / "x").touch()),
        "--run_dir=run is not empty and holds no run; choose another folder"),
    Fault("the best weights of a model", "`--init_from=model --init_checkpoint=best`",
        lambda folder: (folder_of()(folder), (folder / "a.txt").write_text(ENGLISH)),
        ("--corpus=text:a.txt", "--init_from=model", "--init_checkpoint=best"),
        "--init_checkpoint=best has no meaning for --init_from=model, which holds a model of another project "
        "and only one set of weights; leave it out"),
    model("a model on a disk that is too small", "a file system of 24 KiB",
        lambda folder: (folder_of()(folder), (folder / "run").mkdir()),
        f"cannot write run/checkpoints/step-00000000: No space left on device; {KEPT}",
        before=in_a_small_disk("size=24k")),
    model("a model on a disk that is too small for its tokenizer", "a file system of 64 KiB",
        lambda folder: (folder_of()(folder), (folder / "run").mkdir()),
        "cannot write run/tokenizer/tokenizer.json: No space left on device; free space there or choose a "
        "folder that can be written", before=in_a_small_disk("size=64k")),
    model("a model on a disk that is read-only", "mounted with `-o ro`", lambda folder: (folder_of()(folder),
        (folder / "run").mkdir()),
        "cannot write to --run_dir=run: Read-only file system; choose a folder that can be written",
        before=in_a_small_disk("ro")),
    Fault("a run of a model that was moved", "`mv run moved`, trained on from its own settings",
        run_of(lambda folder: ((folder / "run").rename(folder / "moved"),
            (folder / "a.txt").write_text(ENGLISH * 9))),
            ("--flagfile=moved/flags.txt", "--init_from=moved", "--corpus=text:a.txt", "--context_length=16",
                "--sequence_length=8", "--batch_size=3", "--steps=2"),
                "12,757 letters or bytes of the train text are unknown to the tokenizer, which has 974 "
                "tokens for the rest: what they stand for is lost, so bits per byte are left out; byte and "
                "sentencepiece lose nothing / 709 letters or bytes of the valid text are unknown to the "
                "tokenizer, which has 54 tokens for the rest: what they stand for is lost, so bits per "
                "byte are left out; byte and sentencepiece lose nothing / 682 letters or bytes of the "
                "test text "
                "are unknown to the tokenizer, which has 52 tokens for the rest: what they stand for is "
                "lost, so bits per byte are left out; byte and sentencepiece lose nothing / beginning with "
                "the weights of moved at step 0", 0, slow=True, common=("--cache_dir=cache",)),
    model("a run for others that is not there", "`--to_hf=back` where there is none", lambda folder: None,
        "--run_dir=run holds no run (no config.json); train one with scripts/train.py --run_dir=run", BACK),
    model("a run for others where a folder is", "`--to_hf=back` where there is one",
        run_of(lambda folder: (folder / "back").mkdir()),
        "back exists already; choose another folder, or delete that one", BACK),
    model("a run that nobody may write to, for others", "`chmod -R a-w`, and a new folder beside it",
        run_of(read_only), "gpt2 with 10,832 parameters in run-back", "--to_hf=run-back", code=0,
        before=WITHOUT_RIGHTS),
    model("a run for others where nobody may write", "`chmod 555`",
        run_of(lambda folder: ((folder / "out").mkdir(), (folder / "out").chmod(0o555))),
        "cannot write out/back: Permission denied; nothing was written", "--to_hf=out/back",
        before=WITHOUT_RIGHTS),
    KilledConversion("a model killed while its checkpoint is written", "`kill -9` between its tensors and "
        "the rest", kill_in_the_checkpoint, FROM, "run"),
    KilledConversion("a model killed before it is a run", "`kill -9` after weights and tokenizer",
        kill_before_the_settings, FROM, "run"),
    KilledConversion("a run for others killed in the middle", "`kill -9` after the weights",
        kill_in_the_weights, INTO, "back"),
]  # fmt: skip


def main() -> None:
    """Carry out `scripts/convert.py` with the flags of the command line and with the fault that its first
    word names.
    """
    name, *words = sys.argv[1:]
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    sys.argv = [str(ROOT / "scripts" / "convert.py"), *words]
    quiet.import_tensorflow()
    fault.kill()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
