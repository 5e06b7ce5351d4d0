"""Scripts as processes of their own that need not import TensorFlow first, which takes longer than most
tests.

A server imports everything once and forks itself for each script. The import starts no thread and no device,
so that a forked process is what a new one is after its imports; `scripts/reliability.py` and slow tests start
new ones. A server without lm_keras imports TensorFlow alone, for programs with a changed copy of the package.
"""

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]


class Process:
    """What tests need of `subprocess.Popen`."""

    def __init__(self, server: "Server", pid: int, files: list[Path]):
        self._server, self.pid, self._files, self.returncode = server, pid, files, None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        del timeout  # A run that hangs is ended by whoever runs the tests.
        if self.returncode is None:
            self.returncode = self._server.ask(wait=self.pid)
        return tuple(path.read_text() for path in self._files)

    def said(self) -> str:
        """Return what stands on standard error so far."""
        return self._files[1].read_text()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)


class Server:
    """Forks itself into scripts.

    Args:
        lm_keras: whether it imports this project, too.
    """

    def __init__(self, lm_keras: bool = True):
        quiet = {
            "OPENBLAS_NUM_THREADS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # No threads of numpy, which come with its import.
        environment = {
            **os.environ,
            **quiet,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__, "lm_keras" if lm_keras else "tensorflow"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._folder, self._count = tempfile.TemporaryDirectory(), 0

    def ask(self, **what):
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        script: str,
        *arguments: str,
        folder: Path | None = None,
        stdin: Path | str = os.devnull,
        **environment: str,
    ) -> Process:
        """Start a script of `scripts/`, or one with its whole path, in a folder, with a file as its standard
        input and some variables of the environment.
        """
        self._count += 1
        files = [Path(self._folder.name) / f"{self._count}.{name}" for name in ("out", "err")]
        argv = [str(ROOT / "scripts" / script), *map(str, arguments)]
        asked = {"argv": argv, "folder": str(folder or Path.cwd()), "files": [*map(str, (stdin, *files))]}
        return Process(self, self.ask(**asked, environment=environment), files)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


class Forked:
    """What the launcher needs of `subprocess.Popen`: a worker that is a child of this process, and
    warm, too.
    """

    def __init__(self, command, env, preexec_fn, start_new_session, stdin=None, stdout=None, stderr=None):
        del start_new_session, stdin  # Always its own session; standard input is empty anyway.
        piped = stderr == subprocess.PIPE
        reading, writing = os.pipe() if piped else (None, None)
        self.returncode, self.pid = None, os.fork()
        if not self.pid:
            os.setsid()
            preexec_fn()
            os.environ.update(env)
            if stdout:
                os.dup2(stdout.fileno(), 1)
            if stderr:
                os.dup2(writing if piped else stderr.fileno(), 2)
                sys.stderr = os.fdopen(2, "w")  # Python still takes it for the file that it was.
            in_process.forget_flags()
            _execute(command[1:])
        if piped:
            os.close(writing)
        self.stderr = os.fdopen(reading, "rb") if piped else None

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(9)


def _execute(argv: list[str]) -> NoReturn:
    """Carry out a script, and end this process with it: nobody else's `finally` is to be carried out here."""
    code = 1
    try:
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(argv: list[str], folder: str, files: list[str], environment: dict[str, str]) -> None:
    """Turn a forked process into a script."""
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for descriptor, path in enumerate(files):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
    _execute(argv)


def _import_lm_keras() -> None:
    global in_process
    import in_process

    from lm_keras.training import launcher

    launcher.subprocess = types.SimpleNamespace(
        Popen=Forked, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL
    )


def _serve(package: str) -> None:
    if package == "lm_keras":
        _import_lm_keras()
    else:
        importlib.import_module(package)
    assert len(os.listdir("/proc/self/task")) == 1, "the import has started threads, which a fork would lose"
    codes = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "argv" in asked:
            answer = os.fork()
            if not answer:
                _become(**asked)
        else:
            (pid,) = asked.values()
            if pid not in codes:
                ended, status = os.waitpid(pid, os.WNOHANG if "poll" in asked else 0)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            answer = codes.get(pid)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
