"""Candidates in processes of their own: our training step, plain Keras `fit`, PyTorch, and others, on the
same network.

So memory and threads of a candidate are its own. All read random tokens.
"""

import importlib
import importlib.util
import multiprocessing
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.registry import WITH_MASKS

CLASSES = {
    "lm_keras": "benchmarks.candidates.ours.OurCandidate",
    "jit_off": "benchmarks.candidates.ours.without_jit",
    "compiled_bfloat16": "benchmarks.candidates.ours.CompiledInBfloat16",
    "int8": "benchmarks.candidates.ours.Int8",
    "keras_fit": "benchmarks.candidates.keras_peer.KerasCandidate",
    "torch": "benchmarks.candidates.torch_peer.of_family",
    "torch_compiled": "benchmarks.candidates.torch_peer.CompiledTransformer",
    "torch_bfloat16": "benchmarks.candidates.torch_peer.TransformerInBfloat16",
    "transformers": "benchmarks.candidates.transformers_peer.HuggingFaceCandidate",
    "torch_gpt": "benchmarks.candidates.torch_gpt.TorchGPTCandidate",
    "skipgram": "benchmarks.candidates.embeddings.SkipGram",
    "cbow": "benchmarks.candidates.embeddings.Cbow",
    "gensim_skipgram": "benchmarks.candidates.gensim_peer.GensimSkipGram",
    "gensim_cbow": "benchmarks.candidates.gensim_peer.GensimCbow",
    "labels": "benchmarks.candidates.labels.Candidate",
    "torch_labels": "benchmarks.candidates.torch_labels.Candidate",
    "torch_labels_bfloat16": "benchmarks.candidates.torch_labels.InBfloat16",
    "pairs": "benchmarks.candidates.pairs.Candidate",
    "torch_pairs": "benchmarks.candidates.torch_pairs.Candidate",
    "torch_pairs_bfloat16": "benchmarks.candidates.torch_pairs.InBfloat16",
    "torch_translator": "benchmarks.candidates.torch_translator.Candidate",
    "answers": "benchmarks.candidates.answers.Candidate",
    "answers_jit": "benchmarks.candidates.answers.Compiled",
    "answers_int8": "benchmarks.candidates.answers.Int8",
    "answers_transformers": "benchmarks.candidates.answers_of_peers.Transformers",
    "answers_llama_cpp": "benchmarks.candidates.answers_of_peers.LlamaCpp",
    "answers_llama_cpp_q8_0": "benchmarks.candidates.answers_of_peers.LlamaCppInt8",
    "loss_in_pieces": "benchmarks.candidates.loss.LossInPieces",
    "compiled_loss": "benchmarks.candidates.loss.CompiledLoss",
    "plain_loss": "benchmarks.candidates.loss.PlainLoss",
}
"""What makes each candidate of a `Config`. It is imported in the candidate's own process only."""

READ_PAIRS = ("torch_pairs", "torch_pairs_bfloat16", "torch_translator")
"""Those in PyTorch whose text is read by what imports TensorFlow."""

PEERS = {
    "lstm": ("jit_off", "keras_fit", "torch"),
    **dict.fromkeys(("gpt", "bert", "glm"), ("torch", "torch_compiled", "torch_bfloat16")),
}
"""Those that train the same network, by family; a family that is not here has none."""

PACKAGES = {
    "jit_off": {},
    "keras_fit": {},
    "compiled_bfloat16": {},
    "int8": {},
    "transformers": {"torch": "PyTorch", "transformers": "transformers"},
}
"""What peers need, where it is not PyTorch alone."""

SAMPLING_PEERS = {
    "lstm": ("torch",),
    "gpt": ("transformers", "compiled_bfloat16", "int8"),
}
"""Those that sample from the same network."""


class Candidate(Protocol):
    """A network that can be trained and sampled from for some time; built from the settings of a run."""

    parameters: int

    def train(self, seconds: float) -> tuple[int, float]:
        """Train for about this number of seconds; return the steps, and the seconds that they took."""

    def sample(self, rows: int, prompt: int, tokens: int) -> float:
        """Return the seconds that `rows` rows of `tokens` new tokens take after a prompt."""


class Running:
    """A candidate in its own process. The first call of a method compiles there; it answers one at a time.

    Args:
        name: a key of `CLASSES`.
        config: the settings; `vocab_size` is that of the random tokens. Of answers the folder of a run.

    Raises:
        InputError: the candidate cannot be built; the line says why.
    """

    def __init__(self, name: str, config: Config | str):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, config), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def call(self, method: str, *arguments) -> Any:
        """Call a method of the candidate and return its result."""
        self._connection.send((method, arguments))
        return self._receive()

    def peak_mebibytes(self) -> float:
        """Return the most main memory that the process has held so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join()

    def _receive(self) -> Any:
        try:
            good, result = self._connection.recv()
        except EOFError:
            self._process.join()
            raise InputError(
                f"the process of {self.name} ended with code {self._process.exitcode}; there may be too"
                " little memory"
            ) from None
        if not good:
            raise InputError(result)
        return result


def _serve(connection, name: str, config: Config | str) -> None:
    """Build a candidate and call its methods until the other side hangs up."""
    try:
        if not name.startswith(("torch", "gensim")) or name in READ_PAIRS:
            from lm_keras import quiet

            quiet.import_tensorflow()
        module, _, made = CLASSES[name].rpartition(".")
        candidate = getattr(importlib.import_module(module), made)(config)
        connection.send((True, None))
        while True:
            method, arguments = connection.recv()
            value = getattr(candidate, method)
            connection.send((True, value(*arguments) if callable(value) else value))
    except (EOFError, KeyboardInterrupt):
        return
    except InputError as error:
        connection.send((False, str(error)))
    except Exception:
        connection.send((False, f"{name} failed: {traceback.format_exc().strip().splitlines()[-1]}"))


def check(peers: Iterable[str], config: Config, sampling: bool = False) -> None:
    """Raise InputError if one of the peers is unknown, not installed, or has no such network."""
    model, learning, known = (
        config.model,
        config.learning,
        (SAMPLING_PEERS if sampling else PEERS).get(config.model.model, ()),
    )
    differ = {
        "optimizer": learning.optimizer == "momentum",
        "l1": learning.l1,
        "l2": learning.l2,
        "z_loss": learning.z_loss,
        "token_noise": learning.token_noise,
        "label_smoothing": learning.label_smoothing,
    }
    if model.model == "lstm":
        differ |= {
            "tie_embeddings": model.tied,
            "weight_drop": model.weight_drop,
            "weight_decay": learning.weight_decay,
        }
    else:
        differ |= {
            "optimizer": learning.optimizer != "adamw",
            "tie_embeddings": not model.tied,
            "positions": model.positions != "learned",
            "norm": model.norm != "layer",
            "activation": model.activation != "gelu",
            "num_kv_heads": model.kv_heads != model.num_heads,
            "separate_documents": model.separate_documents,
        }
    for peer in peers:
        if peer not in known:
            raise InputError(
                f"--peer={peer} is unknown for {'sampling with ' if sampling else ''}--model={model.model};"
                f" expected {' or '.join(known) or 'none'}, several with a comma"
            )
        for package, name in PACKAGES.get(peer, {"torch": "PyTorch"}).items():
            if importlib.util.find_spec(package) is None:
                raise InputError(f"--peer={peer} needs {name}, which is not installed: pip install {package}")
        for name, bad in differ.items():
            if bad and peer != "jit_off":  # Our own network.
                raise InputError(
                    f"--{name}={config.flat()[name]}: --peer={peer} has no such network or training; leave"
                    " one of both out"
                )
    if sampling and config.task in WITH_MASKS:
        raise InputError(
            f"--model={model.model}: the speed of filling masks is not measured here; take another family"
        )
    if config.data.vocab_size is None:
        raise InputError("--vocab_size is missing: expected the vocabulary of the random tokens")
