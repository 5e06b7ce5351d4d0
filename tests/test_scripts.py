"""The scripts as processes: standard output, standard error, exit codes, kill -9 and signals."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.numpy
import tensorflow as tf
from comparison import MEASURED

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.flagfiles import flagfile_of
from lm_keras.training.signals import SAME_SECONDS

SCRIPTS = Path(__file__).parents[1] / "scripts"


def wait_until(process, happened, seconds=90):
    """Wait for something that a process is to do."""
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def catches(process, number):
    """Tell whether a process has a handler for a signal at this moment."""
    (line,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return bool(int(line, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("path", SCRIPTS.glob("*.py"), ids=lambda path: path.name)
def test_a_script_is_too_short_to_hold_anything(path):
    assert len(path.read_text().splitlines()) <= 60


@pytest.fixture
def ended():
    """A function that lets a process end and returns exit code, standard output and standard error."""
    processes = []

    def end(process, seconds=90):
        processes.append(process)
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err

    yield end
    for process in processes:
        process.kill()


def weights_of(path):
    """Everything that the newest checkpoint of a run holds: name -> bytes."""
    step = RunFolder(path).checkpoints().newest()
    reader = tf.train.load_checkpoint(str(path / "checkpoints" / f"step-{step:08d}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name[:1] != "_"]
    return step, {name: reader.get_tensor(name).tobytes() for name in names}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux when a signal would be caught")
def test_stopped_and_resumed(tiny_config, train, script, start, ended, tmp_path, lines_of):
    """One run in three launches: a signal, two signals, and to the end; then the same run at once."""
    config = tiny_config(
        dropout=0.1, steps=400, checkpoint_every=20, eval_every=10**6, log_every=80, sequence_length=3,
        sample_every=10**6,
    )  # fmt: skip
    path, whole = tmp_path / "parts", tmp_path / "whole"
    (tmp_path / "run.flags").write_text(flagfile_of(config.flat()))
    flags = [f"--flagfile={tmp_path}/run.flags", f"--run_dir={path}"]
    checkpoints = RunFolder(path).checkpoints()

    def steps():
        return max(checkpoints.steps(), default=0)

    assert train(config, whole).code == 0
    process = start("train.py", *flags)
    wait_until(process, lambda: steps() >= 20)
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert (code, out) == (143, "")
    stopped_at = steps()
    assert 20 <= stopped_at < 400
    words = [re.split(r"\W", line)[0] for line in err.splitlines() if line]
    assert [word for word in words if word != "step"] == [
        "devices", "reading", "text", "model", "stopping", "stopped",
    ]  # fmt: skip
    assert err.endswith(
        f"stopped at step {stopped_at}, everything is saved; the same command goes on from there\n"
    )

    # A second signal ends at once, here while the step is compiled; that shall not be done before, so it is
    # held meanwhile.
    process = start("train.py", *flags)
    wait_until(process, lambda: catches(process, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    wait_until(process, lambda: "stopping" in process.said())
    process.send_signal(signal.SIGSTOP)
    time.sleep(SAME_SECONDS)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    code, out, err = ended(process)
    assert (code, out) == (130, "")
    assert err.endswith("\nstopping after this step; once more ends at once, without saving\n")
    assert f"going on from step {stopped_at} of 400\n" in err
    assert steps() == stopped_at

    code, out, err = script("train.py", *flags)
    assert code == 0
    assert f"going on from step {stopped_at} of 400\n" in err
    assert weights_of(path) == weights_of(whole)
    results, expected = (RunFolder(folder).results for folder in (path, whole))
    assert {k: v for k, v in results.items() if k not in MEASURED} == {
        k: v for k, v in expected.items() if k not in MEASURED
    }
    assert out.endswith(expected["sample"]["text"] + "\n")
    lines = [
        [{k: v for k, v in line.items() if k not in MEASURED} for line in lines_of(folder / "metrics.jsonl")]
        for folder in (path, whole)
    ]
    assert lines[0] == lines[1]


def test_a_deterministic_run(start, ended, tmp_path, lines_of):
    """A process of its own, since TensorFlow cannot take it back; it has no clock then."""
    (tmp_path / "a.txt").write_text("a b c d e f g\n" * 60)
    tiny = (
        "--tokenizer=char",
        "--hidden_units=8",
        "--sequence_length=8",
        "--batch_size=4",
        "--dropout=0.2",
        "--steps=10",
    )
    code, _, err = ended(
        start("train.py", *tiny, "--deterministic", "--corpus=text:a.txt", "--run_dir=run", folder=tmp_path)
    )
    assert code == 0, err
    assert all("data_wait" not in line for line in lines_of(tmp_path / "run" / "metrics.jsonl"))


def test_bad_input_is_one_line_of_a_process(ended, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n" * 40)
    command = [sys.executable, str(SCRIPTS / "train.py"), f"--corpus=text:{tmp_path}/a.txt"]
    process = subprocess.Popen(
        [*command, f"--run_dir={tmp_path}/run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    code, out, err = ended(process)
    assert (code, out) == (1, "")
    progress, error = err.splitlines()[:-1], err.splitlines()[-1]
    assert [line.split(":")[0].split()[0] for line in progress] == ["devices", "reading"]
    assert (
        error == f"error: {tmp_path}/a.txt: bad UTF-8 (byte 0xE9) at byte 3, line 1: expected UTF-8 text; "
        "it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)"
    )
    assert not (tmp_path / "run").exists()


def test_sample_script_streams_what_it_generates(script, finished):
    arguments = [f"--run_dir={finished.path}", "--prompt=The old", "--max_new_tokens=13", "--seed=4"]
    streamed = script("sample.py", *arguments)
    assert streamed.code == 0
    assert re.fullmatch(r"The old[^€]{13}\n", streamed.out)
    assert re.fullmatch(r"13 tokens in \d+\.\d s, \d+ a second, compiling included\n", streamed.err)
    assert script("sample.py", *arguments, "--nostream").out == streamed.out


def test_sample_script(script, finished):
    arguments = [f"--run_dir={finished.path}", "--prompt=The 5 €", "--max_new_tokens=9"]
    ended = script("sample.py", *arguments, "--num_samples=3")
    assert ended.code == 0
    texts = ended.out.removesuffix("\n").split("\n---\n")
    assert len(texts) == 3
    assert all(text.startswith("The 5 €") for text in texts)
    assert ended.err.splitlines()[0] == "the model does not know '5', '€' of the prompt"
    greedy = [script("sample.py", *arguments, "--temperature=0", f"--seed={seed}").out for seed in (1, 2)]
    assert greedy[0] == greedy[1]


def test_stop_strings_from_the_command_line(script, finished, tmp_path):
    """All of them count, those of flagfiles too, and one is taken as it stands."""
    words = [f"--run_dir={finished.path}", "--prompt=The", "--seed=4", "--json"]
    (tmp_path / "stop.flags").write_text("--stop=t\n")
    lm = lm_keras.load(finished.path)
    both, one, none = (lm.sample(["The"], seed=4, stop=stop)[0] for stop in (["o", "t"], "t", None))
    assert len(both.text) < len(one.text) < len(none.text) and both.ended_by == "stop"
    for flags, expected in (
        (["--stop=t", "--stop", "o"], both), (["--stop=t"], one), (["--stop="], none),
        ([f"--flagfile={tmp_path}/stop.flags", "--stop=o"], both),
    ):  # fmt: skip
        assert json.loads(script("sample.py", *words, *flags).out)["text"] == expected.text, flags
    ended = script("sample.py", *words, "--stop=o", "--stop=")
    message = "--stop= is empty beside --stop='o'; leave the empty one out, or all the others"
    assert (ended.code, ended.err) == (1, f"error: {message}\n")
    ended = script("sample.py", *words, r"--stop=\n")
    assert (
        ended.err.splitlines()[0]
        == r"the stop string '\\n' can never come: the vocabulary has no '\\'; it has a backslash and a"
        r" letter where bash writes $'\n'"
    )


def test_a_conversation_and_a_prompt_in_a_file_as_processes(start, ended, finished, tmp_path):
    """Each line is continued with the model loaded once; what is wrong with one ends nothing."""
    prompts = ["The old", "€", "The king"]
    texts = lm_keras.load(finished.path).generate(prompts, max_new_tokens=5, seed=5)
    (tmp_path / "lines").write_bytes("\n".join(prompts).encode())
    words = [f"--run_dir={finished.path}", "--max_new_tokens=5", "--seed=5"]
    more = ("--interactive", "--json", "--top_logprobs=2")
    code, out, err = ended(start("sample.py", *words, *more, stdin=tmp_path / "lines"))
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [(line["prompt"], line["text"]) for line in found] == list(zip(prompts, texts))
    assert all(len(line["log_probabilities"]) == len(line["likeliest"]) == 5 for line in found)
    assert err.count(" tokens in ") == 3 and "the model does not know '€' of the prompt" in err
    for content, code, out in ((b"The old\n", 0, f"The old{texts[0]}\n"), (b"The \xff", 1, "")):
        (tmp_path / "prompt.txt").write_bytes(content)
        process = start("sample.py", *words, "--prompt_file=prompt.txt", "--nostream", folder=tmp_path)
        *result, err = ended(process)
        assert result == [code, out], err
    assert err.endswith("error: --prompt_file=prompt.txt is not UTF-8 at byte 4\n")


def test_a_model_of_others_there_and_back_as_processes(start, ended, tmp_path):
    sys.path.append(str(Path(__file__).parent / "checkpoints"))
    import folders_of_models

    folder = folders_of_models.write(tmp_path / "model", "llama", config={"bos_token_id": 5})
    code, out, err = ended(start("convert.py", "--from_hf=model", "--run_dir=run", folder=tmp_path))
    assert (code, out) == (0, "") and err.endswith("gpt with 12,216 parameters in run\n")
    code, out, err = ended(start("convert.py", "--to_hf=back", "--run_dir=run", folder=tmp_path))
    assert (code, out) == (0, "") and err.endswith("llama with 12,216 parameters in back\n")
    there, back = (
        safetensors.numpy.load_file(path / "model.safetensors") for path in (folder, tmp_path / "back")
    )
    assert there.keys() == back.keys() and all((there[name] == back[name]).all() for name in there)
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    ids = [
        json.loads((path / "config.json").read_text())["bos_token_id"] for path in (folder, tmp_path / "back")
    ]
    assert ids == [5, 5]


def test_evaluate_script(script, finished):
    expected = RunFolder(finished.path).results["splits"]["test"]
    ended = script("evaluate.py", f"--run_dir={finished.path}", "--split=test", "--json")
    assert (ended.code, ended.err.splitlines()) == (0, [f"reading {finished.config.data.corpus}"])
    result = json.loads(ended.out.splitlines()[-1])
    assert result == expected
    assert set(result) >= {
        "split", "tokens", "bytes", "words", "characters", "nats_per_token", "perplexity", "word_perplexity",
        "bits_per_byte", "bits_per_character", "context", "stride", "step",
    }  # fmt: skip
    plain = script("evaluate.py", f"--run_dir={finished.path}", "--split=test", "--checkpoint=best").out
    assert dict(line.split(maxsplit=1) for line in plain.splitlines())["perplexity"] == str(
        result["perplexity"]
    )


def test_a_finished_run_prints_its_results_again(script, finished, contents_of):
    before = contents_of(finished.path)
    times = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    ended = script("train.py", f"--flagfile={finished.path}/flags.txt")
    assert (ended.code, ended.out) == (0, finished.ended.out)
    first, *rest = ended.err.splitlines()
    assert first == f"the run in {finished.path} is finished; this is what it reached"
    assert finished.ended.err.splitlines()[-len(rest) :] == rest
    assert contents_of(finished.path) == before
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == times
    for other in (
        "--resume=must",
        "--log_every=7",
        "--replicas=2",
    ):  # nor does what may change between two launches
        assert script("train.py", f"--flagfile={finished.path}/flags.txt", other).out == ended.out


def test_what_a_run_prints(finished):
    """Results on standard output, without times and paths; progress and what to do next on standard error."""
    out, err = finished.ended.out.splitlines(), finished.ended.err.splitlines()
    assert out[0].split() == ["split", "tokens", "loss", "perplexity", "bits/byte"]
    results = RunFolder(finished.path).results
    for line, name in zip(out[1:3], ("valid", "test"), strict=True):
        split = results["splits"][name]
        measures = [f"{split[field]:.{digits}f}" for field, digits in
                    [("nats_per_token", 4), ("perplexity", 2), ("bits_per_byte", 3)]]  # fmt: skip
        assert line.split() == [name, str(split["tokens"]), *measures]
    assert "\n".join(out).endswith(
        "sample (temperature 0.8, seed 1):\n" + results["sample"]["text"].rstrip("\n")
    )
    assert str(finished.path) not in finished.ended.out
    assert err[0].startswith("devices: CPU")
    assert err[0].endswith("OneDeviceStrategy")
    assert "model: lstm, 1,722 parameters, recurrence and loss compiled by XLA; 24 steps" in err
    assert [line.split(":")[0] for line in err if line.startswith("valid ")] == [
        "valid at step 8", "valid at step 16", "valid at step 24",
    ]  # fmt: skip
    programs = err[-1].split()[0].removesuffix("tensorboard")
    assert err[-4:] == [
        "next:",
        f"  {programs}python scripts/sample.py --run_dir={finished.path} --prompt=''",
        f"  {programs}python scripts/evaluate.py --run_dir={finished.path} --split=valid --checkpoint=best",
        f"  {programs}tensorboard --logdir={finished.path}",
    ]


def test_a_run_folder_describes_itself(finished, script):
    names = {path.name for path in finished.path.iterdir()}
    assert names == {
        "README.md", "checkpoints", "config.json", "data.json", "environment.json", "events", "flags.txt",
        "lock",
        "metrics.jsonl", "results.json", "samples.jsonl", "tokenizer",
    }  # fmt: skip
    card = " ".join((finished.path / "README.md").read_text().split())
    assert "| train | text:" in card and "`scripts/sample.py`" in card
    assert "Family `lstm`, task `causal_lm`, tokenizer `char` with 30 tokens, 24 steps." in card
    flags = (finished.path / "flags.txt").read_text().splitlines()
    assert "--hidden_units=13" in flags
    assert "--tie_embeddings=" in flags and "--nodeterministic" in flags
    data = json.loads((finished.path / "data.json").read_text())
    assert (data["vocab_size"], data["total_steps"]) == (30, 24)
    assert data["splits"]["train"]["rule"] == "each document cut at line ends, 90/5/5 per cent"
