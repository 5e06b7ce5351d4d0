"""Settings of the server: every flag of `scripts/serve.py` with its default and range."""

import dataclasses
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError
from lm_keras.fields import setting

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine that nobody else can use."""

_KEY_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """Which models, where, and how much at once."""

    run_dir: str | None = setting(None, "folder of the run; folders of more runs may follow", path=True)
    checkpoint: str | None = setting(
        None, "which weights [last; of labels and pairs best, else last]", choices=("last", "best")
    )
    reload: bool = setting(False, "serve new checkpoints of runs that train, as they come")
    host: str = setting("127.0.0.1", "address to listen at; any but this machine's own needs --api_key_file")
    port: int = setting(8000, "port to listen at; 0: a free one, which a line names", low=0, high=65535)
    allowed_host: str | None = setting(
        None,
        "name by which clients call the server, beside localhost and --host; may be given several times",
        several=True,
    )
    api_key_file: str | None = setting(
        None, "file with the keys of clients, one a line; without it no key is asked for", path=True
    )
    max_batch: int = setting(8, "texts that are generated side by side, at most", low=1, high=256)
    batch_wait: float = setting(
        3.0, "milliseconds that the first request waits for others to share its batch", low=0, high=1000
    )
    max_queue: int = setting(64, "texts that wait, at most; then clients get status 429", low=1)
    max_body: int = setting(1_048_576, "bytes of a request, at most", low=1024, high=2**28)
    max_prompt: int = setting(8192, "tokens of a prompt, at most", low=1)
    max_tokens: int = setting(4096, "tokens to generate for a text, at most", low=1)

    @property
    def is_local(self) -> bool:
        """Tell whether nobody but this machine can reach the server."""
        return self.host in LOOPBACK

    @property
    def names(self) -> frozenset[str]:
        """Return the names that the Host header of a request may have."""
        more = self.allowed_host or []
        return frozenset(name.lower().rstrip(".") for name in (*LOOPBACK, self.host, *more))

    def keys(self, warn: Callable[[str], None]) -> tuple[bytes, ...]:
        """Return the keys of clients; none where nobody needs one.

        Args:
            warn: called with a line if others may read the file.

        Raises:
            InputError: a key is needed and there is none, or the file cannot be read.
        """
        if self.api_key_file is None:
            if self.is_local:
                return ()
            raise InputError(
                f"--host={self.host} lets other machines in; give --api_key_file=FILE with a key a line, or"
                " leave --host out"
            )
        path = Path(self.api_key_file)
        try:
            keys = tuple(line.strip() for line in bytes_of(path, _KEY_BYTES).splitlines() if line.strip())
            shared = stat.S_IMODE(os.stat(path).st_mode) & 0o077
        except OSError as error:
            raise InputError(f"--api_key_file={path} cannot be read: {error.strerror or error}") from None
        if not keys or not all(re.fullmatch(rb"[!-~]{8,}", key) for key in keys):
            raise InputError(
                f"--api_key_file={path} needs a key a line, each of at least 8 printable ASCII characters"
                " without spaces"
            )
        if shared:
            warn(f"{path} can be read by others; chmod 600 keeps its keys from them")
        return keys
