"""The commands of scripts/benchmark.py. Those about text do without TensorFlow."""

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from benchmarks import running
from lm_keras import flags, quiet
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.fields import setting

COMMANDS = (
    "train", "sample", "feed", "prepare", "tokenize", "preflight", "loss", "guards", "race", "decode",
    "embeddings", "labels", "crf", "pairs", "translation", "answers", "scores", "baselines", "privacy",
    "accounting", "page",
)  # fmt: skip
SECTIONS = (
    "train",
    "sample",
    "race",
    "loss",
    "growth",
    "jit",
    "guards",
    "gpt",
    "masked",
    "decode",
    "embeddings",
)
"""Of docs/results/performance.md."""


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
    """How to measure; the settings of a run say what."""

    peer: str = setting(
        "",
        "train, sample: what to measure in turn with it, several with a comma: jit_off (our step with"
        " --jit=off), keras_fit and torch for lstm; torch, torch_compiled and torch_bfloat16 for gpt; to"
        " sample torch for lstm, transformers and ours as compiled_bfloat16 and int8 for gpt; embeddings:"
        " gensim; labels: torch_labels and torch_labels_bfloat16, pairs:"
        " torch_pairs and torch_pairs_bfloat16, on the text of --corpus; answers: jit, int8, transformers,"
        " llama_cpp and llama_cpp_q8_0",
    )
    repeats: int = setting(5, "measurements of each kind, in turn", low=1)
    seconds: float = setting(3.0, "train: length of one measurement", above=0)
    gigabytes: float = setting(2.0, "prepare: size of the text that is generated, in 10^9 bytes", above=0)
    tokenizers: str = setting(
        "char,byte,word,sentencepiece",
        "prepare: which to measure, with commas; sentencepiece with both of its models",
    )
    run_dir: str | None = setting(
        None, "baselines, answers: folder of the run whose text, or speed, is measured", path=True
    )
    runs: str = setting("", "scores: folders of runs that differ in their seed, with commas")
    part: str = setting("valid", "baselines, scores: part of the text", choices=("train", "valid", "test"))
    sections: str = setting(
        ",".join(SECTIONS),
        "page: parts to measure again, with commas; the others stay as they are, without any it is only"
        " written again",
    )
    table: bool = setting(False, "print a Markdown table instead of JSON objects")
    page: str | None = setting(
        None, "privacy, accounting: Markdown page whose table is written again", path=True
    )


def measured(command: str, settings: Config, options: BenchmarkOptions, root: Path) -> Iterator[dict]:
    """Return the results of a command as they come.

    Args:
        command: one of `COMMANDS`.
        settings: what is measured, for the commands that train.
        options: how.
        root: the folder of the project, for the page.

    Raises:
        InputError: something that the command needs is not there.
    """
    if command in ("tokenize", "prepare"):
        from benchmarks.commands import text

        if command == "tokenize":
            return text.tokenize(settings.data.corpus, options.repeats)
        return text.preparation(options.gigabytes, options.tokenizers.split(","))
    if command == "accounting":
        from benchmarks.commands.accounting import accounting

        return accounting()
    if command == "scores":
        from benchmarks.commands.scores import scores

        return scores(_listed(options.runs), options.part)
    run_dir = flags.given_run(options.run_dir) if command in ("baselines", "answers") else None
    peers, sections = _listed(options.peer), _listed(options.sections)
    if command in ("train", "sample", "loss"):
        running.check(peers, settings, command == "sample")
    if command == "answers":
        _check_peers_of_answers(peers)
    if command == "embeddings":
        _check_peers_of_embeddings(peers)
    if command == "page":
        _check_page(sections, settings.data.corpus)
    quiet.import_tensorflow()
    from benchmarks.commands import (
        answers,
        baselines,
        crf,
        decode,
        embeddings,
        feed,
        guards,
        labels,
        loss,
        page,
        pairs,
        preflight,
        privacy,
        race,
        sample,
        train,
        translation,
    )
    from lm_keras.training.machine import with_jit, with_precision

    settings = with_jit(with_precision(settings))
    batches = settings.batches
    return {
        "train": lambda: train.train(settings, peers, options.repeats, options.seconds),
        "sample": lambda: sample.sample(settings, peers, options.repeats),
        "feed": lambda: feed.feed(batches.sequence_length, batches.batch_size, options.repeats),
        "loss": lambda: loss.loss(settings, options.repeats),
        "page": lambda: page.write(sections, options.repeats, options.seconds, settings.data.corpus, root),
        "race": lambda: race.race(settings, options.repeats, root),
        "decode": lambda: decode.decode(settings, options.repeats),
        "embeddings": lambda: embeddings.embeddings(settings, peers, options.repeats, options.seconds),
        "guards": lambda: guards.guards(options.repeats),
        "labels": lambda: labels.labels(settings, peers, options.repeats, options.seconds),
        "crf": lambda: crf.crf(settings, options.repeats),
        "pairs": lambda: pairs.pairs(settings, peers, options.repeats, options.seconds),
        "translation": lambda: translation.translation(settings, options.repeats, root),
        "answers": lambda: answers.answers(run_dir, [f"answers_{peer}" for peer in peers], options.repeats),
        "preflight": preflight.comparisons,
        "privacy": lambda: privacy.privacy(options.repeats),
        "baselines": lambda: baselines.baselines(run_dir, options.part),
    }[command]()


PEERS_OF_ANSWERS = {
    "jit": [], "int8": [], "transformers": ["torch", "transformers"], "llama_cpp": ["cyllama"],
    "llama_cpp_q8_0": ["cyllama"],
}  # fmt: skip
"""What answers beside our own sampler, and the packages that it needs."""


def _check_peers_of_answers(peers: list[str]) -> None:
    """Raise InputError if a peer is unknown or not installed."""
    for peer in peers:
        if peer not in PEERS_OF_ANSWERS:
            known = ", ".join(PEERS_OF_ANSWERS)
            raise InputError(f"--peer={peer} is unknown for answers; expected some of {known}")
        for package in PEERS_OF_ANSWERS[peer]:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"--peer={peer} needs {package}, which is not installed: pip install {package}"
                )


def _check_peers_of_embeddings(peers: list[str]) -> None:
    """Raise InputError if there is another peer than gensim, or gensim is not installed."""
    for peer in peers:
        if peer != "gensim":
            raise InputError(f"--peer={peer} is unknown for word embeddings; expected gensim")
        if importlib.util.find_spec("gensim") is None:
            raise InputError("--peer=gensim needs gensim, which is not installed: pip install gensim")


def _check_page(sections: list[str], corpus: str) -> None:
    """Raise InputError if a section is unknown, or a race has no text."""
    for section in sections:
        if section not in SECTIONS:
            raise InputError(f"--sections: {section!r} is unknown; expected some of {', '.join(SECTIONS)}")
    if "race" in sections and not corpus.startswith("text:"):
        raise InputError(
            f"--corpus={corpus}: the race is one on tinyshakespeare; take --corpus=text:PATH/input.txt, or"
            " leave race out of --sections"
        )


def _listed(text: str) -> list[str]:
    """Return the items between commas, each once."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
