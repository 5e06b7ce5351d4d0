"""Learn word embeddings: python scripts/train_embeddings.py --flagfile=configs/embeddings_quickstart.flags"""

from lm_keras import flags, quiet
from lm_keras.embeddings import settings


def main() -> int:
    """Read the flags and carry out the run."""
    groups = {name: flags.read(kind) for name, kind in settings.GROUPS.items()}
    chosen, options = settings.Settings(**groups), flags.read(settings.EmbeddingRunOptions)
    quiet.import_tensorflow()
    from lm_keras.embeddings import training

    return training.train(chosen, options)


if __name__ == "__main__":
    flags.define(settings.EmbeddingRunOptions, *settings.GROUPS.values())
    flags.run(main)
