"""Train language models on TensorFlow and Keras 3.

    import lm_keras
    lm = lm_keras.train(run_dir="runs/books", corpus="text:books/*.txt", steps=500)
    lm = lm_keras.load("runs/books")
    lm.generate(["Once"], max_new_tokens=40)

Importing the package is cheap; TensorFlow is imported when a model is trained or loaded.
"""

from lm_keras.errors import InputError

__all__ = ["InputError", "TrainedModel", "load", "train"]


def __getattr__(name: str):
    if name in ("TrainedModel", "load", "train"):
        from lm_keras import quiet

        quiet.import_tensorflow()
        from lm_keras import api

        return getattr(api, name)
    raise AttributeError(f"module 'lm_keras' has no attribute {name!r}")
