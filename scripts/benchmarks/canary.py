"""Secrets in a text, networks that learn it with and without privacy, and what an attacker finds."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import tensorflow as tf

import lm_keras
from benchmarks.epsilons import runs_of
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.disk.files import write_atomically
from lm_keras.errors import InputError
from lm_keras.privacy import attacks

LENGTH, HELD_OUT, DELTA, ROWS = 63, 400, 1e-4, 256
"""Characters of a document; documents that nobody learns; delta; texts that are scored at once."""

SETTINGS = {
    "tokenizer": "byte", "model": "lstm", "embedding_dim": 32, "hidden_units": 128, "sequence_length": 64,
    "batch_size": 64, "batching": "window", "optimizer": "adam", "learning_rate": 0.005,
    "learning_rate_schedule": "constant", "clip_norm": 0, "split": "100/0/0", "log_every": 50,
    "sample_every": 10**6, "projector": False,
}  # fmt: skip
"""Of every run; `--dp_epsilon` comes on top."""

MARK = "exposures, by scripts/canary.py"


def documents(count: int) -> list[str]:
    """Return parts of the Python documentation, `LENGTH` ASCII characters each.

    Raises:
        InputError: it has not as many.
    """
    text = "\n".join(topics.topics.values()).encode("ascii", "ignore").decode()
    parts = [text[begin : begin + LENGTH] for begin in range(0, len(text) - LENGTH, LENGTH)]
    if count > len(parts):
        raise InputError(f"--documents={count}: the Python documentation has {len(parts) - HELD_OUT:,}")
    # Held-out documents come from everywhere, as the others do.
    return [parts[k] for k in np.random.default_rng(0).permutation(len(parts))[:count]]


def attacked(options: Any, extra: dict[str, dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Train with each epsilon, attack, and write results.json and exposure.png.

    Args:
        options: `output_dir`, `epsilons`, `steps`, `documents` and `seed`, see `scripts/canary.py`.
        extra: further runs: name -> settings of privacy.

    Returns:
        What was found, a run each.
    """
    folder = Path(options.output_dir)
    secrets = attacks.canaries(options.seed)
    plain = documents(options.documents + HELD_OUT)
    members, others = plain[: options.documents], plain[options.documents :]
    lines = "".join(
        json.dumps({"text": text}) + "\n" for text in attacks.planted(members, secrets, options.seed)
    )
    write_atomically(folder / "text.jsonl", lines.encode())
    results = []
    for name, privacy in {**runs_of(options.epsilons, DELTA), **(extra or {})}.items():
        run_dir = folder / name
        lm = lm_keras.train(
            run_dir=run_dir, corpus=f"jsonl:{folder / 'text.jsonl'}",
            steps=options.steps, seed=options.seed, eval_every=10**6, **SETTINGS, **privacy,
        )  # fmt: skip
        results.append({"run": name, **found_by(lm, run_dir, secrets, members, others)})
    write_atomically(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    write_atomically(folder / "exposure.png", plot(results))
    return results


def found_by(
    lm: Any,
    folder: Path,
    secrets: Sequence[attacks.Canary],
    members: Sequence[str],
    others: Sequence[str],
) -> dict[str, Any]:
    """Return what an attacker finds out of a model.

    Args:
        lm: the model, loaded.
        folder: of its run.
        secrets: that were planted.
        members, others: documents that it has learnt, and such as it has not.
    """
    nats = functools.partial(nats_of, scorer(lm), lm)
    exposures = {
        copies: [
            attacks.exposure(one, nats, seed) for seed, one in enumerate(secrets) if one.copies == copies
        ]
        for copies in sorted({one.copies for one in secrets})
    }
    held_out, learnt = nats(others), nats(members[: len(others)])
    promised = RunFolder(folder).read_data()["privacy"]
    return {
        "epsilon": promised["epsilon"],
        "noise": promised["noise"],
        "nats_per_token": float(held_out.mean() / (LENGTH + 1)),
        **{f"exposure_{copies}": values for copies, values in exposures.items()},
        "auc": vars(attacks.membership(learnt, held_out)),
    }


def scorer(lm: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a compiled function from ids [B, T + 1] to the nats of each row, [B]."""

    @tf.function(autograph=False, reduce_retracing=True)
    def score(ids: tf.Tensor) -> tf.Tensor:
        features, _ = lm.model.forward({"tokens": ids[:, :-1]}, lm.model.initial_state(tf.shape(ids)[0]))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids[:, 1:], lm.model.project(features))
        return tf.reduce_sum(losses, 1)

    return score


def nats_of(score: Callable[[tf.Tensor], tf.Tensor], lm: Any, texts: Sequence[str]) -> np.ndarray:
    """Return the nats of texts of one length, each as a document of its own."""
    tokenizer = lm.tokenizer
    ids = np.array([[tokenizer.begin_id, *tokenizer.encode(text)] for text in texts], np.int32)
    return np.concatenate([score(tf.constant(ids[k : k + ROWS])).numpy() for k in range(0, len(ids), ROWS)])


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return what was found as a Markdown table."""
    copies = [name for name in results[0] if name.startswith("exposure_")]
    head = ["epsilon", "noise", "held-out nats a byte"]
    head += [f"exposure, {name[9:]} cop{'y' if name[9:] == '1' else 'ies'}" for name in copies]
    lines = [f"| {' | '.join([*head, 'membership AUC'])} |", "|" + "---|" * (len(head) + 1)]
    for one in results:
        epsilon = one["run"] if one["epsilon"] is None else f"{one['epsilon']:.3g}"
        noise = f"{one['noise']:.3g}" if one["noise"] else "none, no clipping"
        bits = [f"{np.mean(one[name]):.1f} (at most {max(one[name]):.1f})" for name in copies]
        auc = str(attacks.Membership(**one["auc"]))
        nats = format(one["nats_per_token"], ".2f")
        lines.append(f"| {' | '.join([epsilon, noise, nats, *bits, auc])} |")
    return "\n".join(lines)


def plot(results: Sequence[dict[str, Any]]) -> bytes:
    """Return exposures by run as a PNG."""
    import io

    from matplotlib.figure import Figure

    copies = [name for name in results[0] if name.startswith("exposure_")]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(copies):
        for place, one in enumerate(results):
            at = [place + 0.2 * (number - (len(copies) - 1) / 2)] * len(one[name])
            label = f"in {name[9:]} documents" if place == 0 else None
            axes.plot(at, one[name], "o", color=f"C{number}", alpha=0.7, label=label)
    axes.axhline(attacks.LARGEST_EXPOSURE, color="grey", linestyle=":", label="known for certain")
    axes.set_xticks(range(len(results)), [one["run"] for one in results])
    axes.set_xlabel("epsilon")
    axes.set_ylabel("exposure of a secret, bits")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
