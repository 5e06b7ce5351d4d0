"""Between the command line and the frozen dataclasses: the only file of the package that imports absl.flags.

A script defines its flags, and `run` reads the command line once, turns every user error into one line on
standard error with exit code 1, and calls the script's `main`.
"""

import collections
import contextlib
import dataclasses
import difflib
import functools
import io
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from lm_keras import config, fields, paths, streams
from lm_keras.errors import InputError, nearest
from lm_keras.flagfiles import with_flagfiles

flags.disclaim_key_flags()

# Python reads bytes of the command line that are not UTF-8 as surrogates.
NO_TEXT = re.compile("[\0\ud800-\udfff]")

LONGEST_NAME = 100
"""Letters of the name of a flag."""

_READERS = {
    int: int,
    float: float,
    bool: lambda text: {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}[
        text.lower()
    ],
}


class _Parser(flags.ArgumentParser):
    """Reads one flag value and says what was expected when it can't."""

    def __init__(self, field: dataclasses.Field):
        super().__init__()
        self._kind, self._optional = fields.kind_of(field)
        self._field = field
        self.syntactic_help = ""

    def parse(self, argument: Any) -> Any:
        if self._optional and argument in ("", None):
            return None
        if isinstance(argument, str) and NO_TEXT.search(argument):
            raise InputError(
                f"--{self._field.name}={argument!r} has a NUL or bytes that are not UTF-8; expected a text, "
                "leave them out or rename the file"
            )
        if isinstance(argument, str) and self._kind is not str:
            try:
                argument = _READERS[self._kind](argument)
            except (ValueError, KeyError):
                raise InputError(
                    f"--{self._field.name}={argument}: expected {fields.expected(self._field)}"
                ) from None
        fields.check(self._field, argument)
        if self._field.metadata["path"] and argument is not None:
            return paths.expanded(argument, self._field.name)
        return argument

    def flag_type(self) -> str:
        return self._kind.__name__


def define_field(field: dataclasses.Field) -> None:
    """Define the flag of one dataclass field that was made with `fields.setting`."""
    kind, _ = fields.kind_of(field)
    text = fields.help_of(field)
    if kind is bool:
        flag = flags.BooleanFlag(field.name, field.default, text)
        flag.parser = _Parser(field)
        flags.DEFINE_flag(flag)
        return
    define_flag = flags.DEFINE_multi if field.metadata["several"] else flags.DEFINE
    serializer = flags.ArgumentSerializer()
    define_flag(
        parser=_Parser(field), serializer=serializer, name=field.name, default=field.default, help=text
    )


def define(*kinds: type) -> None:
    """Define a flag for every field of the given dataclasses; their names must differ.

    `--help` then shows the flags in groups: those of a dataclass below the first line of its docstring.
    """
    for kind in kinds:
        for field in dataclasses.fields(kind):
            define_field(field)
    app.define_help_flags()
    flags.DEFINE_flag(_Help(kinds), module_name="absl.app")


class _Help(app.HelpFlag):
    """Prints the flags in the order of their dataclasses, where absl sorts all of them by name."""

    def __init__(self, kinds: tuple[type, ...]):
        super().__init__()
        self.allow_override = True  # It takes the place of absl's own.
        self._kinds = kinds

    def parse(self, arg: Any) -> None:
        if self._parse(arg):
            print("\n".join([str(sys.modules["__main__"].__doc__).strip(), *map(_group_text, self._kinds)]))
            print("\nTry --helpfull to get a list of all flags.")
            sys.exit(0)


def _group_text(kind: type) -> str:
    """Return the flags of a dataclass as a paragraph of `--help`."""
    lines = [f"\n{str(kind.__doc__).strip().splitlines()[0].rstrip('.')}:"]
    for field in dataclasses.fields(kind):
        flag = flags.FLAGS[field.name]
        text = f"--{'[no]' if flag.boolean else ''}{flag.name}: {flag.help}"
        lines.append(flags.text_wrap(text, indent="    ", firstline_indent="  "))
        if flag.default_as_str:
            lines.append(flags.text_wrap(f"(default: {flag.default_as_str})", indent="    "))
    return "\n".join(lines)


def read(kind: type) -> Any:
    """Return the dataclass filled from the flags of its fields."""
    return kind(**{field.name: _value(field) for field in dataclasses.fields(kind)})


def read_given(kind: type) -> dict[str, Any]:
    """Return the fields of a dataclass whose flags were given, by name."""
    given = [field for field in dataclasses.fields(kind) if flags.FLAGS[field.name].present]
    return {field.name: _value(field) for field in given}


def _value(field: dataclasses.Field) -> Any:
    value = flags.FLAGS[field.name].value
    if not field.metadata["several"] or value is None:
        return value
    given = [one for one in value if one is not None]  # An empty one is None.
    if given and len(given) < len(value):
        raise InputError(
            f"--{field.name}= is empty beside --{field.name}={given[0]!r}; leave the empty one out, or all"
            " the others"
        )
    return given or None


def read_config() -> config.Config:
    """Return the settings of a run, with `config.GROUPS` defined before."""
    return config.Config(**{name: read(kind) for name, kind in config.GROUPS.items()})


def value_of(name: str, text: str) -> Any:
    """Return the value of a setting that its flag reads from a text.

    Raises:
        InputError: the setting is unknown, or it may not take that value.
    """
    if name not in config.FIELDS:
        raise InputError(f"--{name} is unknown{nearest(name, list(config.FIELDS))}; see --help for all flags")
    return _Parser(config.FIELDS[name]).parse(text)


def given_run(run_dir: str | None) -> str:
    """Return `--run_dir` of a script that reads a run.

    Raises:
        InputError: none is given.
    """
    if not run_dir:
        raise InputError(
            "--run_dir is missing: expected the folder of a run, such as --run_dir=runs/quickstart"
        )
    return run_dir


def _parse(argv: list[str], hint: str) -> list[str]:
    flags.FLAGS.set_gnu_getopt(True)  # Flags may follow a command.
    try:
        rest = flags.FLAGS(_named_shortly(with_flagfiles(argv)))
    except flags.UnrecognizedFlagError as error:
        known = [name for name in flags.FLAGS if len(name) > 1]
        near = difflib.get_close_matches(error.flagname, known, n=1, cutoff=0.5)
        hint = hint or (f" (did you mean --{near[0]}?)" if near else "")
        _fail(f"--{error.flagname} is unknown{hint}; see --help for all flags")
    except (flags.Error, ValueError) as error:
        # absl puts "flag --name=value: " before our own text, which names both already.
        _fail(re.sub(r"^flag --.*?: (?=--)|^ERROR:: ", "", str(error), flags=re.DOTALL))
    except SystemExit:
        # Only the help flags exit while flags are read, and absl gives them code 1 even so.
        sys.exit(0)
    return rest


def _named_shortly(words: list[str]) -> list[str]:
    """Refuse a name of a flag that none can have: absl would look for a similar one, a call deeper each
    letter.
    """
    for word in words[1:]:
        if word == "--":
            break
        name = word.lstrip("-").partition("=")[0]
        if word.startswith("-") and len(name) > LONGEST_NAME:
            raise InputError(f"--{name[:LONGEST_NAME]}... is unknown; see --help for all flags")
    return words


def _fail(error: Any) -> None:
    print(f"error: {InputError(str(error))}", file=sys.stderr)
    sys.exit(1)


def run(main: Callable[..., int | None], commands: tuple[str, ...] | None = (), hint: str = "") -> None:
    """Parse the command line, call `main` and exit with its code.

    Exit codes: 0 done, 1 bad input or results that cannot be written, 129, 130 and 143 stopped by SIGHUP,
    SIGINT or SIGTERM, 141 when the reader of standard output has ended.

    Args:
        main: does the script's work; it reads its flags with `read`.
        commands: words of which the command line must hold one, which `main` is then called with; None allows
            any words, and `main` is called with all of them.
        hint: what to add where a flag is unknown.
    """

    def guarded(argv: list[str]) -> int:
        logging.set_verbosity(logging.ERROR)
        if isinstance(sys.stdin, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):  # Somebody has read from it already.
                sys.stdin.reconfigure(errors="surrogateescape")  # The reader reports decoding errors.
        try:
            code = main(*_command(argv[1:], commands)) or 0
            if code > 128:  # Stopped: whoever asks again, while Python ends, is not to see where.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
            return code
        except InputError as error:
            _fail(error)
        except OSError as error:
            return _failed(error)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            print("\nstopped", file=sys.stderr)
            return 128 + signal.SIGINT
        return 1

    streams.secure()
    try:
        app.run(guarded, flags_parser=functools.partial(_parse, hint=hint))
    except SystemExit as ended:
        sys.exit(_written(ended.code))
    except OSError as error:  # Of --help, whose text is written while the flags are read.
        sys.exit(_failed(error))


def _written(code: Any) -> Any:
    """Return the exit code of a script, 1 instead of 0 if its last results cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return code or _failed(error)
    return code


def _failed(error: OSError) -> int:
    """Say in one line why the system has refused something; return the exit code."""
    if streams.reader_left(error):
        return 128 + signal.SIGPIPE
    print(f"error: {InputError(_os_error(error))}", file=sys.stderr)
    return 1


def _command(words: list[str], commands: tuple[str, ...] | None) -> list[str]:
    if commands is None:
        return words
    if len(words) > bool(commands):
        raise InputError(
            f"{words[-1]!r} is left over on the command line; every setting is a flag, --name=value, see"
            " --help"
        )
    if commands and (not words or words[0] not in commands):
        given = f"{words[0]!r} is unknown{nearest(words[0], commands)}" if words else "a command is missing"
        raise InputError(f"{given}; expected one of {', '.join(commands)}")
    return words


def _os_error(error: OSError) -> str:
    """Return one line for an operating-system error that nobody closer to it explained."""
    if streams.is_of_output(error):
        return (
            f"cannot write to {streams.OUTPUT}: {error.strerror}; send it where it can be written, and run"
            " the same command again"
        )
    reasons = collections.defaultdict(
        lambda: "check the path and its permissions", {28: "free some space and run the same command again"}
    )
    return f"{error.filename or 'a file'}: {error.strerror or error}; {reasons[error.errno]}"
