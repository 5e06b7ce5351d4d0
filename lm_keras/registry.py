"""The names that a user chooses from, and what implements each of them: a row a name.

A row names the file that does the work, and that file is imported when the work begins. So flags, checks and
help texts know every name without Keras and TensorFlow.

A new row is a change of one line here, beside the file that it names: docs/extend/ has an example of each
table.
"""

import dataclasses
import importlib
import types
from collections.abc import Iterable
from typing import Any

CAPABILITIES = {
    "fixed_context": "reads the n - 1 tokens before, side by side",
    "recurrence": "carries a state from token to token and from row to row",
    "attention": "is a stack of Transformer blocks",
    "grouped_queries": "several heads of queries may share keys and values",
    "block_styles": "norm, activation and biases of the blocks can be chosen",
    "rotary": "positions may be rotary",
    "sinusoidal": "positions may be sines and cosines",
    "post_norm": "norms of the blocks may follow what they normalize",
    "documents": "can keep the documents of a row apart",
    "cache": "keeps keys and values, so that a token is generated without reading the text again",
    "rematerialization": "can compute a block again for the gradient",
    "xla_on_cpu": "float32 gradients compiled by XLA take less time on a CPU (docs/results/performance.md)",
    "ghost_norms": "hands over all uses of its weights, so that one backward pass clips gradients of rows",
    "causal_lm": "predicts the next token",
    "masked_lm": "predicts masked tokens from all others",
    "infilling": "predicts masked spans token by token",
    "labels": "predicts labels of whole examples or of their words",
    "seq2seq": "generates a target text from a source text",
    "encoder": "reads the source of a pair apart from its target",
    "chat": "answers in conversations",
}
"""What a family may have or do. Settings and checks ask for a capability, never for the name of a family."""


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """A task, a value of `--task`.

    Attributes:
        task: its file in `lm_keras/tasks/` and its class there.
        answer: the file in `lm_keras/answers/` and the class there that turn a user's input into output.
        scorer: the file in `lm_keras/evaluation/` and the class there that score single texts.
        needs: the capability of the families that can do it.
        masks: whether it masks tokens, so that the tokenizer needs a token that says nothing.
        labels: whether it predicts labels, whose names the run keeps.
        pairs: whether it learns from pairs of a source and a target text.
        messages: whether it learns from conversations.
        label_smoothing: its `--label_smoothing` where that is not given.
        scores: names in `SCORES` that only runs with labels or pairs have.
        best: the measure by which its runs are usually judged.
        least_length: positions that a row must have.
        reads: why it must have more than one, in words: what the network reads.
    """

    task: str
    answer: str
    scorer: str
    needs: str
    masks: bool = False
    labels: bool = False
    pairs: bool = False
    messages: bool = False
    label_smoothing: float = 0.0
    scores: tuple[str, ...] = ()
    best: str = "nats_per_token"
    least_length: int = 1
    reads: str = ""


TASKS = {
    "causal_lm": TaskEntry(
        "causal_lm.CausalLM", "generator.Generator", "text_scorer.TextScorer", needs="causal_lm"
    ),
    "masked_lm": TaskEntry(
        "masked_lm.MaskedLM", "mask_filler.MaskFiller", "pseudo_likelihood.PseudoLikelihood",
        needs="masked_lm", masks=True, least_length=3, reads="a text between two tokens",
    ),
    "infilling": TaskEntry(
        "infilling.Infilling", "infiller.Infiller", "infill_scorer.InfillScorer",
        needs="infilling", masks=True, least_length=3, reads="a span and its start beside a token",
    ),
    "classification": TaskEntry(
        "classification.Classification", "classifier.Classifier", "label_scorer.LabelScorer",
        needs="labels", labels=True, scores=("macro_f1", "mcc"), best="accuracy", least_length=3,
        reads="a text between two tokens",
    ),
    "tagging": TaskEntry(
        "tagging.Tagging", "tagger.Tagger", "label_scorer.LabelScorer",
        needs="labels", labels=True, least_length=3, reads="a text between two tokens",
        scores=("macro_f1", "span_f1", "span_precision", "span_recall", "span_f1_conlleval"), best="span_f1",
    ),
    "seq2seq": TaskEntry(
        "seq2seq.Seq2Seq", "translator.Translator", "pair_scorer.PairScorer",
        needs="seq2seq", pairs=True, label_smoothing=0.1, least_length=8,
        reads="a source and a target between special tokens",
        scores=("bleu", "chrf", "rouge1", "rouge2", "rougeL"),
    ),
    "chat": TaskEntry(
        "chat.ChatLM", "chat.Chat", "text_scorer.TextScorer",
        needs="chat", messages=True, least_length=8, reads="turns between special tokens",
    ),
}  # fmt: skip
"""The choices of `--task`; the first one that a family can do is its default."""

WITH_MASKS = tuple(name for name, row in TASKS.items() if row.masks)
"""Tasks that mask tokens."""

WITH_LABELS = tuple(name for name, row in TASKS.items() if row.labels)
"""Tasks that predict labels."""

WITH_PAIRS = tuple(name for name, row in TASKS.items() if row.pairs)
"""Tasks that learn from pairs of texts."""

WITH_MESSAGES = tuple(name for name, row in TASKS.items() if row.messages)
"""Tasks that learn from conversations."""

WITH_EXAMPLES = (*WITH_LABELS, *WITH_PAIRS, *WITH_MESSAGES)
"""Tasks whose rows have whole examples."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        module: its file in `lm_keras/models/`, which has `build` and `num_parameters`; see `lm_keras.models`.
        capabilities: keys of `CAPABILITIES`.
        pooling: how the features of a text come of those of its tokens where `--pooling` does not say it.
    """

    module: str
    capabilities: tuple[str, ...]
    pooling: str = "last"


FAMILIES = {
    "ngram": Family("ngram", ("fixed_context", "ghost_norms", "causal_lm")),
    "lstm": Family("lstm", (
        "recurrence", "ghost_norms", "causal_lm", "labels", "seq2seq", "encoder", "chat",
    ), pooling="max"),
    "gpt": Family("gpt", (
        "attention", "grouped_queries", "block_styles", "rotary", "documents", "cache", "rematerialization",
        "xla_on_cpu", "ghost_norms", "causal_lm", "labels", "seq2seq", "chat",
    )),
    "bert": Family("bert", ("attention", "masked_lm", "labels"), pooling="first"),
    "glm": Family("glm", (
        "attention", "grouped_queries", "block_styles", "cache", "infilling", "labels", "seq2seq",
    ), pooling="mean"),
    "transformer": Family("transformer", (
        "attention", "grouped_queries", "block_styles", "rotary", "sinusoidal", "post_norm", "seq2seq",
        "encoder",
    )),
}  # fmt: skip
"""The choices of `--model`."""


JIT_OF_PARTS = {"recurrence": "recurrence", "parts": "recurrence and loss"}
"""Those choices of `--jit` that compile parts of a step for a CPU, and which parts."""

SCORES = {
    "nats_per_token": False,
    "perplexity": False,
    "word_perplexity": True,
    "bits_per_byte": True,
    "bits_per_character": True,
    "accuracy": False,
    "macro_f1": False,
    "mcc": False,
    "span_f1": False,
    "span_precision": False,
    "span_recall": False,
    "span_f1_conlleval": False,
    "bleu": False,
    "chrf": False,
    "rouge1": False,
    "rouge2": False,
    "rougeL": False,
}
"""The choices of `--best_by`: what of an evaluation says how good a model is. True means that it needs every
token of a text to be predicted, and none to be unknown.
"""

OF_WHOLE_TEXT = tuple(name for name, whole in SCORES.items() if whole)
"""The scores for which that is true."""


def scores_of(task: str) -> tuple[str, ...]:
    """Return the choices of `--best_by` that a task has."""
    row = TASKS[task]
    if row.labels:
        return ("nats_per_token", "accuracy", *row.scores)
    if row.pairs or row.messages:
        return ("nats_per_token", "perplexity", "accuracy", *row.scores)
    left_out = {name for other in TASKS.values() for name in other.scores}
    left_out |= {*OF_WHOLE_TEXT} if row.masks else set()
    return tuple(name for name in SCORES if name not in left_out)


def tasks_of(family: str) -> tuple[str, ...]:
    """Return the tasks that a family can do; the first one is its default."""
    return tuple(name for name, row in TASKS.items() if row.needs in FAMILIES[family].capabilities)


def tasks_described() -> str:
    """Return the default task of each family as words of a text.

    Example:
        >>> tasks_described()
        'ngram, lstm, gpt: causal_lm; bert: masked_lm; glm: infilling; transformer: seq2seq'
    """
    families = {task: [name for name in FAMILIES if tasks_of(name)[0] == task] for task in TASKS}
    return "; ".join(f"{', '.join(names)}: {task}" for task, names in families.items() if names)


def families_with(*capabilities: str) -> tuple[str, ...]:
    """Return the families that have at least one of these capabilities.

    Example:
        >>> families_with("masked_lm", "infilling")
        ('bert', 'glm')
    """
    return tuple(name for name, family in FAMILIES.items() if {*capabilities} & {*family.capabilities})


def listed(*capabilities: str) -> str:
    """Return the families that have at least one of these capabilities as words of a text.

    Example:
        >>> listed("attention")
        'gpt, bert, glm, transformer'
    """
    return ", ".join(families_with(*capabilities))


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optimizer.

    Attributes:
        kind: its class in `lm_keras/optimizers.py` or, where that has none, in `keras.optimizers`.
        flops: operations a parameter, from summed gradients to new weights: norm, division with clipping,
            decay and update.
        betas: whether `--beta_1` and `--beta_2` are for it.
        arguments: of its class, beside the learning rate, the weight decay and the betas.
    """

    kind: str
    flops: int
    betas: bool = False
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


OPTIMIZERS = {
    "sgd": Optimizer("SGD", 8),
    "momentum": Optimizer("SGD", 10, arguments={"momentum": 0.9}),
    "adam": Optimizer("Adam", 18, betas=True),
    "adamw": Optimizer("AdamW", 18, betas=True),
    "nadam": Optimizer("Nadam", 24, betas=True),
    "adamax": Optimizer("Adamax", 17, betas=True),
    "adagrad": Optimizer("Adagrad", 13),
    "adadelta": Optimizer("Adadelta", 23),
    "rmsprop": Optimizer("RMSprop", 15),
    "adafactor": Optimizer("Adafactor", 20),
    "lion": Optimizer("Lion", 15, betas=True),
    "lamb": Optimizer("Lamb", 24, betas=True),
    "muon": Optimizer("Muon", 31),
}
"""The choices of `--optimizer`. Only optimizers that need no gradient of their own can be here."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of text, a value of `--corpus`.

    Attributes:
        module: its file in `lm_keras/corpora/`, which has `open_source(rest, reading)`; see
            `lm_keras.corpora`.
        form: what it looks like, such as `text:GLOB`; `rest` is what follows the colon.
        about: its meaning, for `--help`, behind the form.
        example: one of them, for messages; empty where the form is one.
        files: whether it names files, which may have another path when a run goes on.
        fields: what its records can have; a task says which of them it needs.
    """

    module: str
    form: str
    about: str
    example: str = ""
    files: bool = False
    fields: tuple[str, ...] = ("text",)

    def takes(self, rest: bool) -> bool:
        """Tell whether it can be named with something behind a colon, or without."""
        optional = "[" in self.form.partition(":")[0]
        return optional or rest == (":" in self.form)


SOURCES = {
    "python-docs": Source(
        "annotated_docs",
        "python-docs[:libraries|:names|:signatures|:questions]",
        " (needs no download; the latter four have labels, tags, pairs, or conversations)",
        fields=("text", "label", "words", "tags", "source", "target", "messages"),
    ),
    "text": Source(
        "text_files", "text:GLOB", " (.txt, .gz, and JSON lines of any name)", "text:data/*.txt", files=True
    ),
    "tsv": Source(
        "tsv_files",
        "tsv:GLOB",
        " (columns with a tab between)",
        files=True,
        fields=("text", "label", "source", "target"),
    ),
    "csv": Source(
        "csv_files",
        "csv:GLOB",
        " (columns with a comma, semicolon, tab or bar between, and quotes)",
        files=True,
        fields=("text", "label", "source", "target"),
    ),
    "jsonl": Source(
        "json_files",
        "jsonl:GLOB",
        " (one JSON object a line, with fields by name)",
        files=True,
        fields=("text", "label", "words", "tags", "source", "target", "messages"),
    ),
    "lines": Source(
        "line_files",
        "lines:SOURCE,TARGET",
        " (two files or globs: each line of the one and the same line of the other are a pair)",
        "lines:train.de,train.en",
        files=True,
        fields=("source", "target"),
    ),
    "conll": Source(
        "conll",
        "conll:GLOB",
        " (a word a line with its tag, and an empty line between sentences)",
        files=True,
        fields=("text", "words", "tags"),
    ),
    "tfds": Source(
        "tfds",
        "tfds:NAME[/CONFIG][:SPLIT]",
        ", a data set of TensorFlow Datasets with its own splits, or one split or slice such as train[:1%]",
        "tfds:tiny_shakespeare",
        fields=("text", "label", "source", "target"),
    ),
}
"""The sources by the part before the colon."""


def one_of(words: Iterable[str]) -> str:
    """Return words as a choice.

    Example:
        >>> one_of(["char", "byte", "word"])
        'char, byte, or word'
    """
    *first, last = words
    return f"{', '.join(first)}, or {last}" if first else last


def sources_described() -> str:
    """Return the forms of all sources with their meaning, for `--help`."""
    return one_of(source.form + source.about for source in SOURCES.values())


def sources_expected() -> str:
    """Return the forms of all sources with an example each, for messages."""
    return one_of(
        source.form + (f" such as {source.example}" if source.example else "") for source in SOURCES.values()
    )


@dataclasses.dataclass(frozen=True)
class TrainableTokenizer:
    """A tokenizer that is learnt from a text, a value of `--tokenizer`.

    Attributes:
        module: its file in `lm_keras/text/`.
        kind: its class there, a `lm_keras.text.Tokenizer` with `train(texts, settings)`.
        about: its meaning, for `--help`, behind its name.
        vocab_size: tokens without `--vocab_size`; None where the text decides.
        size: the same in words, for `--help`.
    """

    module: str
    kind: str
    about: str = ""
    vocab_size: int | None = None
    size: str = ""


TOKENIZERS = {
    "char": TrainableTokenizer("char", "CharTokenizer", size="all characters"),
    "byte": TrainableTokenizer("byte", "ByteTokenizer"),
    "word": TrainableTokenizer(
        "word", "WordTokenizer", " (split at white space)", size="all words, else the most frequent ones"
    ),
    "sentencepiece": TrainableTokenizer(
        "sentencepiece", "SentencePieceTokenizer", vocab_size=2000, size="2000"
    ),
}
"""The tokenizers by name; `--tokenizer` may also name the folder of a saved one."""


def tokenizers_described() -> str:
    """Return the names of all tokenizers with their meaning, for `--help`."""
    return ", ".join(name + row.about for name, row in TOKENIZERS.items())


def sizes_described() -> str:
    """Return the usual sizes of the vocabularies, for `--help`."""
    return "; ".join(f"{name}: {row.size}" for name, row in TOKENIZERS.items() if row.size)


STRATEGIES = {
    "auto": "",
    "one_device": "",
    "mirrored": "",
    "multi_worker": "",
    "tpu": "distribution.tpu",
}
"""The choices of `--strategy`, each with a file of `lm_keras/training/` and its function; empty where the
devices and `TF_CONFIG` decide.
"""


def imported(folder: str, name: str) -> Any:
    """Import what a row of a table above names, such as `causal_lm.CausalLM` of the folder `tasks`."""
    module, _, attribute = name.partition(".")
    return getattr(importlib.import_module(f"lm_keras.{folder}.{module}"), attribute)


def module_of(folder: str, row: Family | Source | TrainableTokenizer) -> types.ModuleType:
    """Import the file that a row of a table above names.

    Args:
        folder: of `lm_keras`, in which it is.
        row: the row.
    """
    return importlib.import_module(f"lm_keras.{folder}.{row.module}")
