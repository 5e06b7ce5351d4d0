"""Every setting of a run: its name, default, unit, meaning and check. Defaults live here and nowhere else.

Six frozen dataclasses, one for each group of flags, joined in `Config`. Nothing is read from the command
line here (`lm_keras.flags` does that) and nothing is changed afterwards.
"""

import dataclasses
from typing import Any

from lm_keras import checks, schedules
from lm_keras.fields import LARGEST, GroupedSettings, check_line, setting
from lm_keras.registry import (
    FAMILIES,
    OPTIMIZERS,
    SCORES,
    STRATEGIES,
    TASKS,
    TOKENIZERS,
    WITH_EXAMPLES,
    WITH_LABELS,
    WITH_MASKS,
    WITH_MESSAGES,
    WITH_PAIRS,
    families_with,
    listed,
    sizes_described,
    sources_described,
    tasks_described,
    tasks_of,
    tokenizers_described,
)

WITHOUT_EXAMPLES = tuple(name for name in TASKS if name not in WITH_EXAMPLES)
"""Tasks whose rows are parts of one document each."""

ATTENTION, RECURRENCE = listed("attention"), listed("recurrence")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the text comes from and how it becomes tokens."""

    corpus: str = setting(
        "python-docs",
        f"text to learn, or several with spaces between: {sources_described()}",
    )
    valid_corpus: str | None = setting(
        None,
        "text to validate on; without it the data set's own validation split, else a part of --corpus is "
        "held out",
    )
    test_corpus: str | None = setting(
        None, "text to test on at the end; without it as for --valid_corpus, with the test split"
    )
    split: str = setting("90/5/5", "percent of --corpus for train/valid/test where no other corpus is given")
    document_separator: str | None = setting(
        None,
        "text between the documents of a plain file, such as <|endoftext|>; \\n means a line end [each "
        "file is one document]",
    )
    corpus_weights: str | None = setting(
        None,
        "numbers with commas between, one for each corpus of --corpus='A B': rows of a batch come from them "
        "in that ratio [as many rows of each as it has]",
    )
    text_field: str = setting(
        "text",
        "field of a line of JSON, feature of a data set's example, or column of a table (by name or number), "
        "that holds the text, or the words (nested: pair/de or pair.de)",
    )
    label_field: str | None = setting(
        None,
        "field, feature or column that holds the label, or the tags [label; tags of JSON lines: tags; "
        "conll: the last column]",
    )
    source_field: str | None = setting(
        None,
        "field, feature or column that holds the source [source; of two columns the first; "
        "of a data set with a direction of its own, that]",
        tasks=WITH_PAIRS,
    )
    target_field: str | None = setting(
        None,
        "field, feature or column that holds the target, or several targets of one source, of which the "
        "first is learnt and all are references [target; as for --source_field]",
        tasks=WITH_PAIRS,
    )
    target_language_field: str | None = setting(
        None,
        "field or column that holds the language of the target, such as de: a token <2de> stands before the "
        "source, so that one network translates into several languages",
        tasks=WITH_PAIRS,
    )
    target_languages: str | None = setting(
        None,
        "the same for a text without such a field: one language for each corpus of --corpus='A B', with "
        "commas between, or one for all",
        tasks=WITH_PAIRS,
    )
    header: str = setting(
        "auto",
        "whether the first row of a table names its columns",
        choices=("auto", "yes", "no"),
    )
    too_long: str | None = setting(
        None,
        "what to do with a text that has more tokens than a row, where the task reads whole texts [cut_end; "
        "tagging: error; seq2seq: cut_end for sources, error for targets that are learnt]",
        choices=("error", "cut_end", "cut_start", "windows"),
        tasks=WITH_EXAMPLES,
    )
    on_bad_text: str = setting(
        "error",
        "what to do with bad UTF-8 and NUL: stop, put U+FFFD there, or drop the line (skip also drops lines "
        "of JSON without the text)",
        choices=("error", "replace", "skip"),
    )
    normalize: str | None = setting(
        None,
        "Unicode normalization form [none]",
        choices=("none", "nfc", "nfd", "nfkc", "nfkd"),
        tokenizer=("normalization", "none"),
    )
    tokenizer: str = setting(
        "sentencepiece",
        f"how text becomes tokens: {tokenizers_described()}, or the folder of a saved tokenizer, of a run "
        "or of a Hugging Face model, whose tokenizer is copied (./char is a folder of that name)",
        path=True,
    )
    sentencepiece_model: str | None = setting(
        None,
        "which sentencepiece model to train [bpe]",
        choices=("bpe", "unigram"),
        tokenizer=("model_type", "bpe"),
    )
    byte_fallback: bool | None = setting(
        None,
        "spell what the sentencepiece vocabulary lacks in bytes, so that no text is lost [true]",
        tokenizer=("byte_fallback", True),
    )
    vocab_size: int | None = setting(
        None,
        f"tokens in the vocabulary, special ones included [{sizes_described()}]",
        low=1,
        tokenizer=("vocab_size", None),
    )
    cache_dir: str | None = setting(
        None,
        "where tokenized text is kept [$LM_KERAS_CACHE, else ~/.cache/lm_keras]",
        path=True,
        on_resume="always",
    )

    def tokenizer_settings(self) -> dict[str, Any]:
        """Return what `Tokenizer.train` takes, defaults filled in."""
        kind, given = TOKENIZERS.get(self.tokenizer), self.given_for_tokenizer()
        if kind and kind.vocab_size:
            given.setdefault("vocab_size", kind.vocab_size)
        named = {field.name: field.metadata["tokenizer"] for field in self._of_tokenizer()}
        return {key: given.get(name, default) for name, (key, default) in named.items()}

    def given_for_tokenizer(self) -> dict[str, Any]:
        """Return the settings of the tokenizer that were given, under their flags' names."""
        values = {field.name: getattr(self, field.name) for field in self._of_tokenizer()}
        return {name: value for name, value in values.items() if value is not None}

    def _of_tokenizer(self) -> list[dataclasses.Field]:
        return [field for field in dataclasses.fields(self) if field.metadata["tokenizer"]]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    model: str = setting("lstm", "family of the network", choices=tuple(FAMILIES))
    task: str | None = setting(
        None,
        f"what is predicted: the next token, hidden tokens, what stood in blanks, the label of a text, the "
        f"tags of its words, the target of a source, or answers in conversations [{tasks_described()}]",
        choices=tuple(TASKS),
        keeps_weights=True,
    )
    num_layers: int = setting(
        1, f"hidden layers ({RECURRENCE}: recurrent layers; {ATTENTION}: blocks)", low=1, high=1000
    )
    encoder_layers: int | None = setting(
        None,
        "hidden layers of the encoder, where --num_layers are those of the decoder [--num_layers]",
        low=1,
        high=1000,
        tasks=WITH_PAIRS,
    )
    embedding_dim: int = setting(
        128, f"width of the token embedding ({ATTENTION}: of everything between the blocks)", low=1
    )
    hidden_units: int | None = setting(
        None,
        f"units of each hidden layer ({ATTENTION}: of the feed-forward part of a block) "
        f"[256; {ATTENTION}: 4 times --embedding_dim, or 8/3 times with swiglu]",
        low=1,
    )
    ngram_order: int = setting(
        5,
        "n: the next token depends on the n - 1 tokens before it",
        low=2,
        high=256,
        needs=("fixed_context",),
    )
    num_heads: int = setting(4, "attention heads", low=1, needs=("attention",))
    num_kv_heads: int | None = setting(
        None,
        "heads of keys and values, each for several heads of queries (grouped-query attention) [--num_heads]",
        low=1,
        needs=("grouped_queries",),
    )
    head_dim: int | None = setting(
        None,
        "width of each attention head [--embedding_dim over --num_heads]",
        low=1,
        needs=("block_styles",),
    )
    context_length: int | None = setting(
        None,
        "most tokens that a prediction can depend on, or that a text with masked tokens can have "
        "[--sequence_length]",
        low=1,
        needs=("attention",),
    )
    positions: str = setting(
        "learned",
        "how the network knows the order of tokens: by a learned vector for each position, by queries and "
        f"keys that are rotated by it, or by sines and cosines ({listed('sinusoidal')} only)",
        choices=("learned", "rotary", "sinusoidal"),
        needs=("rotary",),
    )
    rotary_base: float = setting(
        10_000.0, "longest wavelength of rotary positions, over 2 pi", above=1, needs=("rotary",)
    )
    rotary_scaling: str | None = setting(
        None,
        "scaling of rotary positions: linear:factor=F, llama3:factor=F,low_freq_factor=L,high_freq_factor=H,"
        "original_context_length=N, or yarn:factor=F,original_context_length=N (lm_keras/rotary_scaling.py) "
        "[none]",
        needs=("rotary",),
    )
    norm: str = setting("layer", "LayerNorm or RMSNorm", choices=("layer", "rms"), needs=("block_styles",))
    norm_epsilon: float = setting(
        1e-5, "added to the variance in a norm", above=0, high=1, needs=("attention",)
    )
    activation: str = setting(
        "gelu",
        "of the feed-forward part: gelu (its tanh form, as in GPT-2), gelu_erf (without the tanh), relu (as "
        "in the first Transformer), silu, or swiglu (as in LLaMA)",
        choices=("gelu", "gelu_erf", "relu", "silu", "swiglu"),
        needs=("block_styles",),
    )
    post_norm: bool = setting(
        False,
        "norms follow what the parts of a block add, as in the first Transformer, not before the parts",
        needs=("post_norm",),
    )
    biases: bool = setting(True, "add biases after products and in LayerNorm", needs=("block_styles",))
    qkv_biases: bool | None = setting(
        None,
        "add biases to queries, keys and values, as Qwen2 does [--biases]",
        needs=("block_styles",),
    )
    qk_norm: bool = setting(
        False,
        "RMSNorm of the queries and keys of each head, as in Qwen3",
        needs=("block_styles",),
    )
    separate_documents: bool = setting(
        False,
        "tokens of a row see those of their own document only, and count positions from its beginning",
        needs=("documents",),
        keeps_weights=True,
    )
    attention_chunk: int | None = setting(
        None,
        "queries whose attention is computed at a time, so that memory grows with T and not with its square "
        "[all]",
        low=1,
        needs=("attention",),
        keeps_weights=True,
    )
    mask_rate: float = setting(
        0.15,
        "share of the tokens of a row that are masked and predicted",
        above=0,
        high=0.5,
        tasks=("masked_lm", "infilling"),
        keeps_weights=True,
    )
    span_length: float = setting(
        3.0,
        "mean length of short spans, in tokens",
        above=0,
        high=1000,
        tasks=("infilling",),
        keeps_weights=True,
    )
    long_spans: float = setting(
        0.5,
        "share of the rows in which all tokens from a random one on are one span, by which the network "
        "learns to continue texts; the others have short spans",
        low=0,
        high=1,
        tasks=("infilling",),
        keeps_weights=True,
    )
    whole_words: bool = setting(
        False,
        "mask all tokens of a word or none (whole-word masking)",
        tasks=("masked_lm",),
        keeps_weights=True,
    )
    full_sentences: bool = setting(
        True,
        "pack whole sentences into the rows, as many as fit; false: rows of equal length that begin anywhere",
        tasks=("masked_lm",),
        keeps_weights=True,
    )
    prediction_head: bool = setting(
        True,
        "the network has the head that predicts masked tokens; false if it was imported without one",
        needs=("masked_lm",),
        keeps_weights=True,
    )
    dropout: float = setting(
        0.0,
        f"share of values dropped at the input, between layers and at the output ({ATTENTION}: of the "
        "embedding, the attention and what each part of a block adds)",
        low=0,
        below=1,
        keeps_weights=True,
    )
    weight_drop: float = setting(
        0.0,
        "share of each recurrent matrix that is dropped, drawn again at every step (AWD-LSTM: 0.5)",
        low=0,
        below=1,
        needs=("recurrence",),
        keeps_weights=True,
    )
    tie_embeddings: bool | None = setting(
        None,
        "use the embedding as the output matrix (a projection is added where widths differ) "
        f"[{ATTENTION}: true, else false]",
    )
    direct_connections: bool = setting(
        False, "connect the embeddings with the output, past the hidden layers, too", needs=("fixed_context",)
    )
    forget_bias: float = setting(
        1.0, "initial bias of the forget gate", needs=("recurrence",), keeps_weights=True
    )
    init_scale: float | None = setting(
        None,
        "draw all weights from U(-s, s) [Glorot, orthogonal and U(-0.05, 0.05), as Keras does; "
        f"{ATTENTION}: N(0, 0.02), as GPT-2]",
        above=0,
        high=1e6,
        keeps_weights=True,
    )
    init_from: str | None = setting(
        None,
        "folder of another run, or of a Hugging Face model: begin with its weights and its tokenizer, at "
        "step 0 (fine-tuning)",
        path=True,
        keeps_weights=True,
    )
    init_checkpoint: str = setting(
        "last",
        "weights of the run in --init_from: the newest ones, or those with the best validation",
        choices=("last", "best"),
        keeps_weights=True,
    )
    embedding_init: str | None = setting(
        None,
        "file of word vectors as text, of word2vec or GloVe, or vectors.txt of scripts/train_embeddings.py: "
        "tokens with a vector in the file start from it",
        path=True,
        keeps_weights=True,
    )
    pooling: str = setting(
        "auto",
        "how the features of a text to classify come of those of its tokens; auto: "
        + ", ".join(f"{family}: {FAMILIES[family].pooling}" for family in families_with("labels")),
        choices=("auto", "first", "last", "mean", "max"),
        tasks=("classification",),
        keeps_weights=True,
    )
    bidirectional: bool = setting(
        False,
        "with labels, a second layer beside each one that reads from right to left",
        needs=("recurrence",),
        keeps_weights=True,
    )

    def has(self, *capabilities: str) -> bool:
        """Tell whether the family has at least one of these `lm_keras.registry.CAPABILITIES`."""
        return self.model in families_with(*capabilities)

    @property
    def units(self) -> int:
        """Return `--hidden_units`, with the family's default filled in."""
        if self.hidden_units or not self.has("attention"):
            return self.hidden_units or 256
        return -(-8 * self.embedding_dim // 3) if self.activation == "swiglu" else 4 * self.embedding_dim

    @property
    def encoder_depth(self) -> int:
        """Return `--encoder_layers`, with its default filled in."""
        return self.encoder_layers or self.num_layers

    @property
    def tied(self) -> bool:
        """Tell whether the embedding is the output matrix, with the family's default filled in."""
        return self.has("attention") if self.tie_embeddings is None else self.tie_embeddings

    @property
    def kv_heads(self) -> int:
        """Return `--num_kv_heads`, with its default filled in."""
        return self.num_kv_heads or self.num_heads

    @property
    def has_qkv_biases(self) -> bool:
        """Return `--qkv_biases`, with its default filled in."""
        return self.biases if self.qkv_biases is None else self.qkv_biases

    @property
    def head_width(self) -> int:
        """Return `--head_dim`, with its default filled in."""
        return self.head_dim or self.embedding_dim // self.num_heads


@dataclasses.dataclass(frozen=True)
class BatchConfig:
    """What one optimizer step sees, and how many steps there are."""

    sequence_length: int = setting(64, "tokens in a row of the batch (T)", low=1)
    batch_size: int = setting(32, "rows of one optimizer step over all replicas and micro-batches (B)", low=1)
    batching: str | None = setting(
        None,
        "stream: rows go on where they ended, with carried state; window: shuffled windows "
        f"[{RECURRENCE} without --dp_epsilon: stream, else window]",
        choices=("stream", "window"),
    )
    state_reset: float = setting(
        0.0, "probability that a row's carried state is reset at a step (streams only)", low=0, high=1
    )
    micro_batches: int = setting(
        1, "parts that a replica computes one after the other to save memory", low=1, on_resume="always"
    )
    steps: int | None = setting(None, "optimizer steps of the run", low=1, on_resume="longer")
    epochs: int | None = setting(
        None, "passes over the training text, instead of --steps [1]", low=1, on_resume="longer"
    )
    seed: int = setting(1, "seed of initial weights, order of the data and dropout", low=0, high=LARGEST)


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """How the weights change."""

    optimizer: str = setting(
        "adamw",
        "Keras optimizer",
        choices=tuple(OPTIMIZERS),
    )
    learning_rate: float = setting(0.002, "base learning rate, before the schedule", above=0)
    learning_rate_schedule: str = setting(
        "cosine",
        "factor on the learning rate: "
        + ", ".join([*schedules.SCHEDULES, "plateau"])
        + "; NAME:key=value,...",
    )
    warmup_steps: int = setting(0, "steps in which the learning rate first rises from 0", low=0)
    dropout_schedule: str = setting(
        "constant", "factor on --dropout, the same curves, e.g. linear:initial=0,final=1"
    )
    token_noise: float = setting(
        0.0, "share of the tokens that are replaced at random before the network reads them", low=0, below=1
    )
    token_noise_kind: str = setting(
        "unigram",
        "replacements: tokens drawn by their frequency in the training text, or one noise token "
        "(byte and word add one to --vocab_size)",
        choices=("unigram", "blank"),
    )
    token_noise_schedule: str = setting("constant", "factor on --token_noise, the same curves")
    beta_1: float | None = setting(
        None, "first decay rate of adam and its relatives [Keras's default]", low=0, below=1
    )
    beta_2: float | None = setting(
        None, "second decay rate of adam and its relatives [Keras's default]", low=0, below=1
    )
    clip_norm: float = setting(1.0, "largest global norm of the gradient; 0 turns clipping off", low=0)
    weight_decay: float = setting(0.0, "decoupled weight decay of matrices", low=0)
    l1: float = setting(0.0, "L1 penalty on matrices", low=0)
    l2: float = setting(0.0, "L2 penalty on matrices", low=0)
    label_smoothing: float | None = setting(
        None,
        "probability spread evenly over the vocabulary in the loss ["
        + "; ".join(f"{name}: {row.label_smoothing}" for name, row in TASKS.items() if row.label_smoothing)
        + "; else 0]",
        low=0,
        below=1,
    )
    z_loss: float = setting(
        0.0, "weight of the squared logarithm of the softmax normalizer in the loss, such as 1e-4", low=0
    )
    class_weights: str = setting(
        "none",
        "weights of labels in the loss: none, balanced (labels have the same sum), or NAME:WEIGHT,...",
        tasks=WITH_LABELS,
    )
    freeze: str = setting(
        "none",
        "weights that stay as they begin (--init_from, --embedding_init): none, those of the token "
        "embedding, or all but those of the head",
        choices=("none", "embedding", "body"),
    )
    head_learning_rate: float | None = setting(
        None, "learning rate of the head, with the same schedule [--learning_rate]", above=0
    )
    best_by: str | None = setting(
        None,
        "measure of the validation that decides which weights are the best, when to stop early,"
        " and when to lower the learning rate [nats_per_token; classification: accuracy; tagging: span_f1]",
        choices=tuple(SCORES),
    )
    early_stopping_evals: int = setting(
        0, "stop after this number of evaluations without improvement; 0 never", low=0, on_resume="longer"
    )
    on_nonfinite: str = setting(
        "stop",
        "what to do at a step whose loss or gradient is not finite: end the run, or leave the step out",
        choices=("stop", "skip"),
        on_resume="always",
        decides_result=True,
    )
    spike_sigma: float = setting(
        0.0,
        "leave out steps whose loss or gradient norm lies this many standard deviations above the last "
        "--spike_window; 0 never",
        low=0,
        on_resume="always",
        decides_result=True,
    )
    spike_window: int = setting(100, "steps that a spike is compared with", low=10, high=10_000)
    precision: str = setting(
        "float32",
        "number format of the products; auto: bfloat16 where the hardware that begins the run multiplies it "
        "faster, else float32",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
    """What the weights may reveal of any part of the training text (differential privacy).

    Without `--dp_epsilon` or `--dp_noise` nothing is limited.
    """

    dp_epsilon: float | None = setting(
        None,
        "most privacy loss of the whole run at --dp_delta, in nats; decides how much noise there is",
        above=0,
        tasks=WITHOUT_EXAMPLES,
    )
    dp_noise: float | None = setting(
        None,
        "instead of --dp_epsilon: standard deviation of the noise in a sum of gradients, over --dp_clip; "
        "decides epsilon",
        low=0,
        tasks=WITHOUT_EXAMPLES,
    )
    dp_delta: float = setting(
        1e-5,
        "probability with which the limit may not hold; below 1 over the units of the training text",
        above=0,
        below=1,
        tasks=WITHOUT_EXAMPLES,
    )
    dp_clip: float = setting(
        0.5,
        "largest norm of the gradient of a row, whose loss is the mean over its positions",
        above=0,
        tasks=WITHOUT_EXAMPLES,
    )
    dp_unit: str = setting(
        "document",
        "what is protected: whole documents, of which a step reads one window each, or fixed windows of "
        "--sequence_length + 1 tokens",
        choices=("document", "window"),
        tasks=WITHOUT_EXAMPLES,
    )
    dp_accountant: str = setting(
        "rdp",
        "how epsilon is worked out: by Renyi divergences, or a tenth smaller by privacy loss distributions, "
        "which need the package dp-accounting",
        choices=("rdp", "pld"),
        tasks=WITHOUT_EXAMPLES,
    )
    dp_seed: int | None = setting(
        None,
        "seed of samples and noise for tests: the run is not private [a secret in privacy.key]",
        low=0,
        high=LARGEST,
        tasks=WITHOUT_EXAMPLES,
    )

    @property
    def limits(self) -> bool:
        """Tell whether the run trains with clipped gradients of rows and noise."""
        return self.dp_epsilon is not None or self.dp_noise is not None


@dataclasses.dataclass(frozen=True)
class RunningConfig:
    """Where and how the run is executed; nothing here changes what is learnt."""

    strategy: str = setting(
        "auto",
        "how devices share the work; auto: multi_worker where TF_CONFIG is set, mirrored with several GPUs, "
        "else one device; tpu is untested",
        choices=tuple(STRATEGIES),
        on_resume="always",
    )
    replicas: int | None = setting(
        None,
        "devices to use; a CPU or a single GPU is split into that many [all GPUs; on a CPU 2 for an LSTM of"
        " one layer with at most 128 units and a million logits a step, else 1]",
        low=1,
        high=1000,
        on_resume="always",
    )
    steps_per_call: int = setting(
        10, "optimizer steps in one call of the compiled function", low=1, on_resume="always"
    )
    jit: str = setting(
        "auto",
        "what XLA compiles of a step; on: all gradients, products too; recurrence: the recurrence of "
        f"{RECURRENCE} on a CPU; parts: its recurrence, and its loss without the products; auto: what "
        "measurements showed to be faster: on for a GPU (except "
        f"{RECURRENCE}, which has cuDNN there) and for {listed('xla_on_cpu')} in float32 on a CPU, parts or "
        f"recurrence for {RECURRENCE} with few units when the run begins",
        choices=("auto", "on", "recurrence", "parts", "off"),
        on_resume="always",
    )
    rematerialize: bool = setting(
        False,
        "keep only the inputs of each block, and compute the rest again for the gradient: less memory, a "
        "third more work",
        needs=("rematerialization",),
        on_resume="always",
    )
    deterministic: bool = setting(
        False,
        "use only operations that give the same bits each time; an exact resume on a GPU needs it, a "
        "CPU does so anyway",
        on_resume="always",
    )
    eval_every: int | None = setting(
        None, "steps between evaluations [a tenth of the run]", low=1, on_resume="always", decides_result=True
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints [a tenth of the run]", low=1, on_resume="always"
    )
    log_every: int = setting(
        10, "steps between lines in metrics.jsonl and points in TensorBoard", low=1, on_resume="always"
    )
    sample_every: int | None = setting(
        None, "steps between text samples [with each evaluation]", low=1, on_resume="always", dry_run=False
    )
    sample_prompt: str = setting(
        "", "prompts of the text samples, separated by |; empty: the start of a document", dry_run=False
    )
    eval_pairs: int = setting(
        200,
        "pairs of the validation text, evenly spaced, for which each evaluation generates targets greedily; "
        "0: none",
        low=0,
        tasks=WITH_PAIRS,
        on_resume="always",
        decides_result=True,
        dry_run=False,
    )
    eval_beams: int = setting(
        5,
        "beams with which the targets of all held-out pairs are generated at the end",
        low=1,
        tasks=WITH_PAIRS,
        on_resume="always",
        dry_run=False,
    )
    eval_answers: int = setting(
        200,
        "conversations of each held-out text, evenly spaced, whose last answer an evaluation generates "
        "greedily; 0: none",
        low=0,
        tasks=WITH_MESSAGES,
        on_resume="always",
        decides_result=True,
        dry_run=False,
    )
    keep_checkpoints: int = setting(
        2, "newest checkpoints kept beside the best one", low=1, on_resume="always"
    )
    projector: bool = setting(
        True, "write the token embedding for TensorBoard's projector with each checkpoint", on_resume="always"
    )
    histogram_every: int | None = setting(
        None, "steps between histograms of all weights in TensorBoard [never]", low=1, on_resume="always"
    )
    profile_steps: str | None = setting(
        None,
        "FIRST:LAST, steps to record for TensorBoard's profile tab, which needs `pip install xprof` [none]",
        on_resume="always",
        dry_run=False,
    )

    def evaluation_interval(self, total_steps: int) -> int:
        """Return the steps between evaluations, with the default filled in."""
        return self.eval_every or max(1, total_steps // 10)

    def checkpoint_interval(self, total_steps: int) -> int:
        """Return the steps between checkpoints, with the default filled in."""
        return self.checkpoint_every or max(1, total_steps // 10)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Which run the command is about; not a property of the run itself."""

    run_dir: str | None = setting(
        None, "folder of the run: settings, tokenizer, checkpoints, curves, samples", path=True
    )
    resume: str = setting(
        "auto",
        "auto: go on with the run if there is one; never: refuse to; must: refuse to begin a new one",
        choices=("auto", "never", "must"),
    )
    dry_run: bool = setting(
        False,
        "train nothing and write no run: print parameters, memory, FLOPs, schedules and the time that the "
        "run will take",
    )

    def __post_init__(self):
        check_line("run_dir", self.run_dir)


@dataclasses.dataclass(frozen=True)
class Config(GroupedSettings):
    """All settings of a run.

    Raises:
        InputError: when a value is out of range or two settings contradict each other.

    Example:
        >>> Config(batches=BatchConfig(steps=100)).learning.optimizer
        'adamw'
    """

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    batches: BatchConfig = BatchConfig()
    learning: LearningConfig = LearningConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    running: RunningConfig = RunningConfig()

    def __post_init__(self):
        checks.check_settings(self, FIELDS)

    @property
    def label_smoothing(self) -> float:
        """Return `--label_smoothing`, with the default of the task filled in."""
        given = self.learning.label_smoothing
        return TASKS[self.task].label_smoothing if given is None else given

    @property
    def needs_mask(self) -> bool:
        """Tell whether the tokenizer needs a token that says nothing."""
        return self.learning.token_noise_kind == "blank" or self.task in WITH_MASKS

    @property
    def task(self) -> str:
        """Return what is predicted, with the family's default filled in."""
        return self.model.task or tasks_of(self.model.model)[0]

    @property
    def pooling(self) -> str | None:
        """Return how the features of a text come of those of its tokens, with the family's default filled in;
        None where it is not a whole text that is classified.
        """
        if self.task != "classification":
            return None
        chosen = self.model.pooling
        return FAMILIES[self.model.model].pooling if chosen == "auto" else chosen

    @property
    def context_tokens(self) -> int | None:
        """Return how far a prediction looks back, or None where that has no end."""
        return self.model.ngram_order - 1 if self.model.has("fixed_context") else None

    def meant(self) -> dict[str, Any]:
        """Return every setting as `flat` does; a default that is a number in older runs is filled in."""
        return {**self.flat(), "label_smoothing": self.label_smoothing}

    @property
    def context_length(self) -> int:
        """Return the most tokens of a window of text: `--context_length`, else `--sequence_length`."""
        return self.model.context_length or self.batches.sequence_length

    @property
    def batching(self) -> str:
        """Return how batches are made, with the family's default filled in."""
        carried = self.model.has("recurrence") and not self.privacy.limits
        return self.batches.batching or ("stream" if carried else "window")


GROUPS = Config.groups()
"""The groups in the order in which they are shown; the name of a group is a field of `Config`."""

FIELDS = Config.settings()
"""Every setting by its flag's name."""

from_flat = Config.from_flat
"""Build a `Config` from settings by flag name; what is missing takes its default."""
