"""One file a family; `FAMILIES` maps the name of `--model` to the function that builds it."""

from lm_keras.models import lstm, ngram

FAMILIES = {"ngram": ngram.build, "lstm": lstm.build}
