"""Serve models to OpenAI clients and browsers: python scripts/serve.py --run_dir=runs/quickstart"""

from lm_keras import InputError, flags, quiet
from lm_keras.serving.settings import ServeOptions


def main(*more_runs: str) -> None:
    """Read the flags and serve until SIGTERM or Ctrl-C."""
    options = flags.read(ServeOptions)
    run_dirs = [flags.given_run(options.run_dir), *more_runs]
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise InputError(f"the package {error.name} is missing; pip install 'lm_keras[serve]'") from None
    del starlette, uvicorn
    quiet.import_tensorflow()
    from lm_keras.serving import server

    server.serve(run_dirs, options)


if __name__ == "__main__":
    flags.define(ServeOptions)
    flags.run(main, commands=None)
