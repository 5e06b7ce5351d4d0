"""Train a language model: python scripts/train.py --flagfile=configs/quickstart.flags"""

from lm_keras import config, flags, quiet


def main() -> int:
    """Read the flags and carry out the run."""
    settings, options = flags.read_config(), flags.read(config.RunOptions)
    quiet.import_tensorflow()
    from lm_keras.training import runner

    return runner.train(settings, options)


if __name__ == "__main__":
    flags.define(config.RunOptions, *config.GROUPS.values())
    flags.run(main)
