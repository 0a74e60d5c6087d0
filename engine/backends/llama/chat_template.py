"""Render a chat template exactly as transformers does, whose environment this repeats.

Templates come from the network: they run in jinja2's sandbox. Heavy: imports jinja2.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from engine.core.types import Message


def render_chat(
    template: str, messages: Sequence[Message], variables: Mapping[str, str], *, ask: bool
) -> str:
    """Return the text of a conversation; with `ask`, up to where the model answers.

    `variables` are the special tokens. Raises TemplateError if the template rejects it.
    """
    turns = [{"role": message.role.value, "content": message.content} for message in messages]
    fixed = {"messages": turns, "tools": None, "documents": None, "add_generation_prompt": ask}
    compiled = _compile(template)
    try:
        return compiled.render(**{**variables, **fixed})
    except TemplateError:
        raise
    except Exception as error:  # whatever the template's own code does
        raise TemplateError(str(error)) from error


@lru_cache(maxsize=4)
def _compile(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),  # noqa: DTZ005 - the user's time
        "dict": _Dict(),
        "namespace": _Namespace,
    }
    return environment.from_string(template)


class _GenerationTag(Extension):
    """The tag `generation`, which marks the assistant's text for trainers."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller: Macro) -> Any:  # noqa: ANN401 - as the library
        return caller()


class _Dict:
    """The global `dict` without what leads out of the sandbox."""

    __call__: Callable[..., Any] = staticmethod(dict)
    fromkeys = staticmethod(dict.fromkeys)


class _Namespace(Namespace):
    """The global `namespace`, which refuses names that lead out of the sandbox."""

    def __init__(*values: Any, **named: Any) -> None:  # noqa: ANN401 - `self` may be a name
        self, *others = values
        Namespace.__init__(self)
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as the base class
        if str(name).startswith("_"):
            raise SecurityError(f"the name {name} begins with an underscore")
        super().__setitem__(name, value)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
