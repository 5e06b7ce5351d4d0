"""The page on a long run: docs/results/fuzz.md."""

import platform
from importlib.metadata import version

from fuzz import Law, Outcome
from lm_keras.training.environment import machine

HEAD = """# Fuzz

Laws that hold for random input. [The collection of laws](../../tests/fuzz) says how a case is drawn and what
must hold. `scripts/fuzz.py` tries many cases and writes this page. `pytest` tries a few, always the same
ones, and for each law [a defect that it must find](../../tests/test_fuzz.py). **Refused** cases ended in one
line that says what is wrong.
"""


def page_of(results: dict[str, list[tuple[Law, Outcome]]], seed: int) -> str:
    """Return the page as Markdown: for each part of the collection its laws and what became of them."""
    outcomes = [outcome for pairs in results.values() for _, outcome in pairs]
    lines = [
        HEAD,
        (
            f"{sum(outcome.cases for outcome in outcomes):,} cases of {len(outcomes)} laws, seed {seed}, in"
            f" {sum(outcome.seconds for outcome in outcomes) / 60:.0f} minutes:"
            f" {sum(bool(outcome.failure) for outcome in outcomes)} failures. {machine()};"
            f" Python {platform.python_version()}, TensorFlow {version('tensorflow')}, hypothesis"
            f" {version('hypothesis')}."
        ),
    ]
    for title, pairs in results.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| law | a case | cases | refused | failures | seconds |",
            "|---|---|---|---|---|---|",
        ]
        for law, outcome in pairs:
            counts = (
                f"{outcome.cases:,} | {outcome.refused:,} | {int(bool(outcome.failure))} |"
                f" {outcome.seconds:.0f}"
            )
            lines.append(f"| {law.name} | {law.drawn} | {counts} |")
    return "\n".join(lines) + "\n"
