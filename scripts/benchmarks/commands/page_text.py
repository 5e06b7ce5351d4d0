"""What docs/results/performance.md says around its figures."""

TITLES = {
    "train": "The training step",
    "sample": "Sampling",
    "race": "A race on tinyshakespeare",
    "loss": "The vocabulary loss",
    "growth": "How the cost grows",
    "jit": "XLA",
    "guards": "The guard of the step",
    "gpt": "GPT: the training step, and decoding",
    "masked": "BERT and GLM: the training step",
    "decode": "GPT: as a text grows",
    "embeddings": "Word embeddings",
}
WORDS = {
    "train": (
        """Each candidate runs in a process of its own, in turn. The figures are medians, with the middle
half of the measurements. `keras_fit` is `Sequential(Embedding, LSTM ..., Dense)` with `compile`
and `fit`. `jit_off` is our step with `--jit=off`. `torch` is `nn.Embedding`, `nn.LSTM` and
`nn.Linear`, in float32, with carried state. *times ours* is the time of a peer divided by ours,
pair by pair. *products alone* is what the matrix products of our step take by themselves, each
at its best in the same run. *of it products* is their share; the rest is gates and softmax,
casts, the norm of the gradient and the update. *at most* is what *times ours* would be if our
step were its products and nothing else: with the products that TensorFlow has, no work on the
rest brings more. PyTorch hands an LSTM to oneDNN's RNN primitive (`aten::mkldnn_rnn_layer`),
which arranges the recurrent matrix once for all time steps. TensorFlow has no operation for
that and arranges it in each product, so the products of few rows, listed below, have a lower
rate than the others. *A step as recorded* says where its time goes, by TensorFlow's kinds of
operations; a moment with several at a time is divided among them. Recording makes small
operations longer, and what is between them. *first steps* are those of the first call, with
tracing and compiling."""
    ),
    "sample": (
        """256 new tokens a row at temperature 1, random weights; `torch` is a loop over `nn.LSTM` and
`multinomial`. Columns as for the decoding of the GPT."""
    ),
    "race": (
        """From nothing to the result of nanoGPT's recipe for a CPU, whose published loss is 1.88 nats a
character on the last tenth of tinyshakespeare: our LSTM, and the recipe itself (a GPT of 4
layers, width 128, 2,000 steps of 12 x 64 characters) in PyTorch, `torch_gpt`, to the end of its
recipe, wherever that leads. Ours is scored on the whole tenth with carried state, the other one
in windows of 64. The seconds are those of training, compiling included and validation not."""
    ),
    "loss": (
        """Loss and all gradients from features and output matrix, in float32; memory is what the process
took for it. *times ours* is the time of a form divided by that in pieces. The pieces take
about as long as the plain form, with a part of the memory. In the compiled form, XLA computes
everything between the products in fewer passes over the logits, for two groups of rows. An LSTM
of few units trains with it where a step has few logits, so that those of a group stay in the cache
of a core. Tried without gain: maxima and sums of several columns at a time, a second exponential
instead of a stored one, a scatter instead of a comparison, one product for both groups."""
    ),
    "growth": (
        """One LSTM layer, {base}; one of these sizes changes at a time, batch is the whole batch of all
replicas, which share the same cores. One replica uses both cores where its recurrence is compiled
for two groups of rows, so two replicas bring nothing here. They do for the article's listing, in the
first table: without `--replicas` an LSTM of one layer and at most 128 units has two.

![Tokens a second and memory against length, vocabulary, width, batch and replicas](performance.png)"""
    ),
    "jit": (
        """`--jit=on` compiles all gradients of a micro-batch with XLA, products included; it also counts
what that takes at the first steps. For an LSTM of few units `--jit=auto` compiles
parts of a step, the recurrence and what the loss computes between its products, which is
measured above beside `jit_off`. `--jit=auto` does so for a GPT in
float32 on a CPU, where it pays, and not for what it costs more. What is between the
products of a GPT is compiled in any case (`layers/fused.py`)."""
    ),
    "guards": (
        """The same step with `--on_nonfinite` and `--spike_sigma` deciding whether it is taken, and
without all that they need, five steps at a time in turn: the median of the ratios, and between
what it lies."""
    ),
    "gpt": (
        """`torch` is the same GPT-2 in PyTorch, `torch_compiled` with `torch.compile`, `torch_bfloat16`
with products in bfloat16; columns as for the training step. Decoding is 64 new tokens after 32.
`transformers` generates with its cache, in the same number format. *of reading all weights* is
the share of the speed that reading all weights once for each token would allow, by the speed at
which all cores read memory in the same run; *by one core* is what one core reads. *ms a token*
has the prompt in it. *products alone* are those of one token of every row, each with a matrix of
its own and after the one before, as TensorFlow computes them outside of any network. *compiled*
is all of them in one program of XLA's, with matrices transposed.

With `--jit=on` all of a token but its choice is one such program, compiled for a second or two
for each number of rows and each cache size. XLA computes its operations one after the other, each
on all cores. It pays for several rows in float32, and with fewer bytes: `compiled_bfloat16` is ours
with `--jit=on` in bfloat16. `int8` is ours with `--weights=int8`, where a token is a program of
TensorFlow Lite's; both are beside ours in float32 without it. Their *compiled* products are those
of their own weights, in such a program. XLA's own 8-bit products took three to four times as long,
since they turn each number into a float32 first. What a token takes beside its products are norms,
GELU and attention, and the choice among 50,257 tokens, a millisecond. Prompts of `int8` go through
TensorFlow's products, which turn the matrices into float32 each time."""
    ),
    "masked": (
        """As for the GPT: six blocks of 384, rows of 128 tokens, and once with `--jit=on`, which
`--jit=auto` does not take here: beside what compiling costs it saves little or nothing. A
BERT's logits are those of the 19 masked tokens of a row; a GLM's rows are 148 tokens long with
their masked spans, and predict at up to 128 positions. The peers see random tokens, the same
number of masked ones, and for the GLM an attention mask."""
    ),
    "decode": (
        """One row of GPT-2's shape: milliseconds for each of 64 tokens after that many others, without the
prompt's; and to the first token of a prompt whose length is new, where nothing is compiled, so
that it takes no longer than later."""
    ),
    "embeddings": (
        """Words of the text a second, those that sub-sampling leaves out counted too: 100 numbers, a
window of 5, 5 negative samples, sub-sampling from 0.001 on; one process each, in turn. `gensim`
computes pair by pair in a thread of compiled code for each core; ours shares 32 negative
samples among 32 neighbouring words, so that all their pairs are three products of matrices.
`scripts/train_embeddings.py` also makes the batches, in a second thread, as measured here."""
    ),
}
COLUMNS = {
    "candidate": "", "method": "method", "form": "", "step": "", "milliseconds_with": "ms with",
    "milliseconds_without": "ms without",
    "ratio": "ratio", "confidence": "95 % confidence", "precision": "precision", "jit": "jit", "rows": "rows",
    "width": "width",
    "vocab_size": "vocabulary",
    "tokens_before": "tokens before",
    "milliseconds_per_step": "ms a step", "milliseconds": "ms", "middle_half": "middle half",
    "training_seconds": "training, s", "nats_per_token": "nats/character",
    "worst_nats_per_token": "the worst",
    "tokens_per_second": "tokens/s", "words_per_second": "words/s",
    "core_microseconds_per_word": "core µs a word", "milliseconds_per_token": "ms a token",
    "first_token_milliseconds": "first token, ms", "later_first_token_milliseconds": "the same later, ms",
    "times_faster": "times ours", "times_faster_middle_half": "middle half",
    "times_slower": "times ours", "times_slower_middle_half": "middle half",
    "limit": "at most", "gflops_per_second": "GFLOP/s",
    "milliseconds_of_products_alone": "products alone, ms",
    "milliseconds_of_compiled_products": "compiled, ms",
    "gigabytes_per_second": "memory, GB/s", "gigabytes_per_second_of_a_core": "by one core, GB/s",
    "share_of_reading": "of reading all weights", "share_of_products": "of it products",
    "data_wait_share": "of it waiting for data",
    "first_steps_seconds": "first steps, s",
    "peak_mebibytes": "peak MiB", "mebibytes": "MiB",
}  # fmt: skip
