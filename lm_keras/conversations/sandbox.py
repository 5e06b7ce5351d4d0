"""The program that renders a chat template of others, in a child process: `python -I sandbox.py FOLDER...`.

The folders are where Python finds jinja2. It reads JSON lines and answers each with one: first the template,
{"source", "variables"}, then conversations, {"messages", "add_generation_prompt", "now"}, where `now` is the
time that the clock of the template shows, in seconds since 1970. It may use little memory and time, write no
file, start no process, and answer with `MOST_BYTES` at most; who reads it watches the clock.

Nothing here imports another file of the package, so that it starts at once.
"""

import datetime
import json
import resource
import sys
import time
from typing import Any

MOST_BYTES = 10**6
"""Of a rendered conversation, in UTF-8."""

MEMORY = 2**29
"""Bytes that the process may use."""

SECONDS = 2
"""Of a conversation; more of the processor's are given, so that the reader's clock comes first."""

READY = "ready"
"""What the first line says."""


class TooLong(Exception):
    """The text has more than `MOST_BYTES`."""


def main() -> None:
    """Answer one line after the other, until there are no more."""
    sys.path += sys.argv[1:]
    render = None
    _limit()
    environment = _environment()
    _answer({"text": READY})
    for line in sys.stdin.buffer:
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + 2 * SECONDS, resource.RLIM_INFINITY))
        try:
            asked = json.loads(line)
            if "source" in asked:
                render, constants = _compiled(environment, **asked)
                answer = {"constants": constants}
            else:
                answer = render(**asked)
        except MemoryError:
            answer = {"error": f"it needs more than {MEMORY / 2**20:.0f} MiB of memory"}
        except Exception as error:
            answer = {"error": _told(error)}
        _answer(answer)


def _limit() -> None:
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _answer(content: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(content).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def _told(error: Exception) -> str:
    import jinja2

    if isinstance(error, TooLong):
        return f"it writes more than {MOST_BYTES:,} bytes"
    line = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, jinja2.TemplateSyntaxError):
        return f"line {error.lineno} of it: {line}"
    if isinstance(error, jinja2.sandbox.SecurityError):
        return f"it does something that is not allowed: {line}"
    if type(error) is jinja2.TemplateError:  # What `raise_exception` raises.
        return f"it refuses this conversation: {line}"
    return f"{type(error).__name__}: {line}"


def _environment() -> Any:
    """Return the environment of a template, with the conventions of transformers.

    Reference: transformers, chat_template_utils.py.
    """
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox
    import jinja2.utils

    class Generation(jinja2.ext.Extension):
        """`{% generation %}`: what is between is the assistant's."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Any) -> str:
            return caller()

    class Namespace(jinja2.utils.Namespace):
        """A namespace whose names do not begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            attributes = dict(*args[1:], **kwargs)
            for name in attributes:
                _check_name(name)
            jinja2.utils.Namespace.__init__(args[0], attributes)

        def __setitem__(self, name: Any, value: Any) -> None:
            _check_name(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

    class Dict:
        """`dict(...)`, without the attributes of the type."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any, **kwargs: Any) -> dict:
            return dict.fromkeys(*args, **kwargs)

    def _check_name(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.sandbox.SecurityError(f"the name {name!r} in a namespace begins with an underscore")

    def raise_exception(message: Any) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals |= {
        "raise_exception": raise_exception,
        "dict": Dict(),
        "namespace": Namespace,
    }
    return made


def _compiled(environment: Any, source: str, variables: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return what renders a conversation, and the strings in the template."""
    import jinja2.nodes

    constants = {
        node.value
        for node in environment.parse(source).find_all(jinja2.nodes.Const)
        if isinstance(node.value, str)
    }
    template = environment.from_string(source)

    def render(messages: list[dict[str, str]], add_generation_prompt: bool, now: float) -> dict[str, Any]:
        pieces, size, clock = [], 0, datetime.datetime.fromtimestamp(now)
        given = {"tools": None, "documents": None, "strftime_now": lambda form: clock.strftime(form)}
        for piece in template.generate(
            messages=messages, add_generation_prompt=add_generation_prompt, **given, **variables
        ):
            size += len(piece.encode("utf-8", "surrogatepass"))
            if size > MOST_BYTES:
                raise TooLong
            pieces.append(piece)
        return {"text": "".join(pieces)}

    return render, sorted(constants)


if __name__ == "__main__":
    main()
