"""Measure: python scripts/benchmark.py train --flagfile=configs/quickstart.flags (or another command)

train       the training step, beside keras_fit and torch    prepare    text to token stores: time and memory
sample      the sampler, beside torch                        tokenize   the tokenizers alone
feed        the pipeline alone                               preflight  the estimates of a dry run
loss        the loss in pieces beside the plain one          guards     what the guard of the step costs
race        a run beside nanoGPT's recipe in PyTorch         page       all of docs/results/performance.md
baselines   compressors on the text of --run_dir             decode     the sampler as a text grows
embeddings  word embeddings, beside gensim                   labels     a network with labels, beside torch
scores      what runs with labels reach over several seeds   pairs      pairs of texts, beside torch
crf         a tagger in torch, with a CRF and without one    answers    conversations, beside llama.cpp
privacy     private steps beside plain ones                  accounting epsilons, beside dp-accounting
translation how well pairs are learnt, beside torch
"""

import json
from pathlib import Path

from benchmarks import dispatch, marked
from lm_keras import config, flags

ROOT = Path(__file__).parents[1]


def main(command: str) -> int:
    """Carry out one measurement and print a JSON object, or a row of a table, for each result."""
    options, results = flags.read(dispatch.BenchmarkOptions), []
    mark = f"{command}, by scripts/benchmark.py {command}"
    if options.page:
        marked.check(options.page, mark)
    for number, result in enumerate(dispatch.measured(command, flags.read_config(), options, ROOT)):
        if options.table and not number:
            print(f"| {' | '.join(result)} |\n|{'---|' * len(result)}")
        row = f"| {' | '.join(map(str, result.values()))} |" if options.table else json.dumps(result)
        print(row, flush=True)
        results.append(result)
    if options.page:
        marked.write(options.page, mark, marked.table(results))
    return 0


if __name__ == "__main__":
    flags.define(*config.GROUPS.values(), dispatch.BenchmarkOptions)
    flags.run(main, dispatch.COMMANDS)
