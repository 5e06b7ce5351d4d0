"""Finding, opening and preparing a data set of TensorFlow Datasets, with one line for whatever goes wrong.

The library raises errors of every kind, some with its whole catalogue in them, and prints to standard output.
"""

import contextlib
import importlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lm_keras import paths
from lm_keras.errors import InputError, nearest, shown

VERSION = r"[\d*]+(?:\.[\d*]+){2}"
LIKE_IN_CATALOGUE = 0.75  # likeness of names from which on one is proposed; below, `ptb` is like `gpt3`
LONGEST_REASON = 200  # characters of a foreign error that are passed on
FOREIGN_PREFIX = re.compile(r"\{\{.*?\}\} ?|Failed to construct dataset [^{]*\{[^}]*\}\": ")
DOWNLOAD_RETRIES = 4
"""The library's ten, with doubled waits, are 205 s of silence where there is no network; these are 3 s."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what the library prints and logs from the user; progress bars are shown on a terminal alone."""
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def open_builder(name: str, config: str | None, version: str | None) -> Any:
    """Return the `tfds.core.DatasetBuilder` of a data set, prepared or not.

    It is found by the name of its class in the library, or, without a class, by its folder where prepared
    data sets are kept.

    Raises:
        InputError: no such data set, configuration or version, or what is there of it is damaged.
    """
    import tensorflow_datasets as tfds

    wanted = full_name(name, config, version)
    _check_home()
    try:
        with quietly(), _features_of_the_library():
            builder = tfds.builder(wanted)
            _ = builder.info.features  # Read now, while it is watched.
            return builder
    except Exception as error:
        raise _not_opened(name, config, version, error) from None


@contextlib.contextmanager
def _features_of_the_library() -> Iterator[None]:
    """Let no file of a prepared data set name a Python module to import, but those of the library."""
    import tensorflow_datasets as tfds

    connector = tfds.features.FeatureConnector
    original = vars(connector)["cls_from_name"]

    def checked(cls, name: str) -> type:
        if not name.startswith("tensorflow_datasets."):
            raise ValueError(f"it has a feature of the class {shown(name)}, which is not of the library")
        return original.__get__(None, cls)(name)

    connector.cls_from_name = classmethod(checked)
    try:
        yield
    finally:
        connector.cls_from_name = original


def prepare(builder: Any, say: Callable[[str], None]) -> None:
    """Download and prepare a data set unless that was done before.

    Raises:
        InputError: there is no network, a package or permission is missing, the disk is full, the files
            have to be fetched by hand, or what was prepared before is damaged.
    """
    if not builder.data_path.exists():  # Preparation ends with a rename, so it is there whole.
        _download(builder, say)
    if not builder.info.splits:
        raise unreadable(f"tfds:{name_of(builder)}", builder, ValueError("its list of splits is missing"))


def _download(builder: Any, say: Callable[[str], None]) -> None:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    name = name_of(builder)
    if isinstance(builder, tfds.core.BeamBasedBuilder):
        try:
            importlib.import_module("apache_beam")
        except ImportError:
            raise _not_prepared(builder, "it needs the package apache-beam, which is not installed") from None
    say(f"downloading and preparing the data set {name} in {builder.data_dir}; this happens once")
    retries = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    try:
        with quietly():
            builder.download_and_prepare()
    except Exception as error:
        raise _not_prepared(builder, _reason(error)) from None
    finally:
        downloader.MAX_RETRIES = retries


def full_name(name: str, config: str | None, version: str | None) -> str:
    """Return the library's name for a data set, `NAME[/CONFIG][:VERSION]`."""
    return name + (f"/{config}" if config else "") + (f":{version}" if version else "")


def name_of(builder: Any) -> str:
    """Return the full name of an opened data set."""
    return full_name(builder.name, builder.info.config_name, str(builder.version))


def _not_opened(name: str, config: str | None, version: str | None, error: Exception) -> InputError:
    import tensorflow_datasets as tfds

    name, where = tfds.core.naming.camelcase_to_snakecase(name), ", ".join(map(str, _data_dirs()))
    prepared = _prepared()
    known = [*tfds.list_builders(with_community_datasets=False), *(path[0] for path in prepared)]
    if name not in known:
        return InputError(
            f"unknown data set tfds:{name}{nearest(name, known, LIKE_IN_CATALOGUE)}: expected one of the"
            f" catalogue of TensorFlow Datasets, or one that is prepared in {where} (another folder: set"
            " TFDS_DATA_DIR)"
        )
    configs = [path[1] for path in prepared if path[0] == name and len(path) == 3]
    with contextlib.suppress(Exception):  # A prepared data set needs no class.
        configs = [*tfds.builder_cls(name).builder_configs, *configs]
    if config and config not in configs:
        expected = f"expected {listed(configs)}" if configs else f"it has none, expected tfds:{name}"
        return InputError(
            f"tfds:{name} has no configuration {config!r}{nearest(config, configs)}: {expected}"
        )
    missing = version and isinstance(error, tfds.core.DatasetNotFoundError)
    return InputError(
        f"cannot open tfds:{full_name(name, config, version)}"
        f" ({'no such version' if missing else _reason(error)}): expected one that is prepared in {where},"
        f" which holds {_prepared_names(name)}; a damaged one can be deleted and prepared again"
    )


def _not_prepared(builder: Any, reason: str) -> InputError:
    name = full_name(builder.name, builder.info.config_name, None)
    return InputError(
        f"tfds:{name_of(builder)} is not in {builder.data_dir} and cannot be prepared here: {reason}; prepare"
        f" it where that works (tensorflow_datasets.load({name!r})) and copy it here, or set TFDS_DATA_DIR to"
        f" the folder that holds it; {builder.data_dir_root} holds {_prepared_names(builder.name)}"
    )


def _reason(error: Exception) -> str:
    """Return a foreign error in a few words."""
    request = getattr(error, "request", None)  # of the package requests, when it reaches no server
    if isinstance(error, OSError) and getattr(request, "url", None):
        return f"no connection to {urlsplit(request.url).hostname}"
    if isinstance(error, ImportError) and error.name:
        return f"it needs the package {error.name.replace('_', '-')}, which is not installed"
    text = " ".join(FOREIGN_PREFIX.sub("", str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."


def unreadable(what: str, builder: Any, error: Exception) -> InputError:
    """Return the error for record files that cannot be read."""
    return InputError(
        f"{what} cannot be read ({_reason(error)}): expected the files as they were prepared; restore "
        f"{builder.data_dir}, or delete it to have it prepared again"
    )


def listed(names: list[str]) -> str:
    """Return up to ten names with commas between."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _check_home() -> None:
    """Raise InputError where the library would make a folder that is called ~ in the working directory."""
    if not os.environ.get("TFDS_DATA_DIR"):
        try:
            paths.expanded("~/tensorflow_datasets")
        except InputError:
            raise InputError(
                "data sets have no folder (this user has no home folder, and HOME is not set); name"
                " one with the environment variable TFDS_DATA_DIR"
            ) from None


def _data_dirs() -> list[Path]:
    from tensorflow_datasets.core.utils import file_utils

    return [Path(os.path.expanduser(folder)) for folder in file_utils.list_data_dirs()]


def _prepared() -> list[tuple[str, ...]]:
    """Return (NAME, VERSION) or (NAME, CONFIG, VERSION) of everything that is prepared."""
    found = set()
    for folder in _data_dirs():
        for pattern in ("*/*/features.json", "*/*/*/features.json"):
            found |= {path.parent.relative_to(folder).parts for path in folder.glob(pattern)}
    return sorted(path for path in found if re.fullmatch(VERSION, path[-1]))


def _prepared_names(name: str) -> str:
    names = [full_name("/".join(path[:-1]), None, path[-1]) for path in _prepared() if path[0] == name]
    return listed([f"tfds:{name}" for name in names]) or "nothing of it"
