"""Answer one question, or one a line from stdin.

balcao ask "Mog's Kittens"
balcao ask --json - < questions.txt
balcao ask --conversation - < conversations.txt
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, closing
from typing import Any, TextIO

from msgspec import UNSET, to_builtins
from msgspec.structs import asdict

from engine.backends.registry import Registry
from engine.chat.open import Resources, open_catalogue
from engine.chat.session import Session
from engine.chat.wording import describe, not_taught_sentence, wrong_product
from engine.config.settings import Settings, load
from engine.core import i18n
from engine.core.errors import UsageError
from engine.core.i18n import tr
from engine.core.process import quiet_libraries
from engine.core.text import duration, json_line, one_line, printable
from engine.core.types import (
    Answer,
    Answered,
    Event,
    Found,
    Hit,
    Loading,
    Mode,
    Piece,
    Product,
    Status,
    Taught,
    Thought,
    Weighed,
)
from scripts.common import DONE, FAILED, command, say, say_notice


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao ask",
        description="Answer one question. The answer goes to stdout, its source to stderr; so do a"
        " model's words about what its adapter was not taught.",
        epilog="Exit status: 0 answered, 1 no product matches or failed, 2 wrong usage. With -,"
        " 1 only if an answer failed: whether a product was found is in each status.",
    )
    parser.add_argument("question", metavar="QUESTION", help="or -, for one a line from stdin")
    parser.add_argument("--engine", metavar="ID", help="see `balcao engines`")
    parser.add_argument("--catalogue", metavar="DIR", help="a folder that `balcao index` wrote")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--quote",
        dest="mode",
        action="store_const",
        const=Mode.QUOTE,
        help="let the model answer follow-up questions with sentences of the record (default)",
    )
    mode.add_argument(
        "--grounded",
        dest="mode",
        action="store_const",
        const=Mode.GROUNDED,
        help="let the model write, with the record in its prompt",
    )
    mode.add_argument(
        "--memory",
        dest="mode",
        action="store_const",
        const=Mode.MEMORY,
        help="do not show the model the record",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--conversation",
        action="store_true",
        help="with -, the lines are one conversation; a blank line begins another",
    )
    return parser


@command(make_parser)
def main(arguments: argparse.Namespace) -> int:
    with quiet_libraries():
        return asyncio.run(_answer_all(arguments))


async def _answer_all(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    batch = arguments.question == "-"
    with closing(open_catalogue(settings)) as catalogue:
        registry = Registry(settings)
        registry.get(settings.engine)
        session = Session(settings, Resources(registry, catalogue))
        code = DONE
        try:
            for question in _lines(sys.stdin) if batch else [arguments.question]:
                if not arguments.conversation or not question:
                    session.new()
                if not question:
                    continue
                answer = await _answer(session.ask(question), as_json=arguments.json)
                if answer.problem or (not batch and not _is_answered(answer)):
                    code = FAILED
        finally:
            await registry.close()
    return code


def _is_answered(answer: Answer) -> bool:
    """Report whether a product was found, or a model knows it from memory."""
    if answer.mode is Mode.MEMORY and not answer.by_counter:
        return answer.taught is not Taught.NOT_TAUGHT
    return answer.status is not Status.NONE


def _settings(arguments: argparse.Namespace) -> Settings:
    if not arguments.question.strip():
        raise UsageError(
            tr("The question is empty."), tr("Give a product's title, in quotation marks.")
        )
    if arguments.conversation and arguments.question != "-":
        message = tr("--conversation reads its questions from standard input.")
        raise UsageError(message, tr("Give - as the question."))
    settings = load(
        flags={
            "engine": arguments.engine,
            "catalogue": arguments.catalogue,
            "mode": arguments.mode,
        }
    )
    i18n.choose(settings.language)
    say_notice(settings)
    return settings


def _lines(stream: TextIO) -> Iterable[str]:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return (line.strip() for line in stream)


async def _answer(events: AsyncGenerator[Event], *, as_json: bool) -> Answer:
    loading, printer = "", _Printer()
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Loading):
                # A step reports its progress many times.
                shown, loading = loading == event.progress.label, event.progress.label
                if shown:
                    continue
            if not as_json:
                printer.show(event)
            if isinstance(event, Answered):
                if as_json:
                    print(json_line(as_object(event.answer)), flush=True)
                return event.answer
    raise AssertionError("an answer always ends in Answered")


class _Printer:
    """Print the events of one answer; only what a model was taught goes to stdout."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self._lead = ""

    def show(self, event: Event) -> None:
        match event:
            case Found(taught=Taught.NOT_TAUGHT) | Weighed(Taught.NOT_TAUGHT):
                print(not_taught_sentence(), flush=True)
                self._out, self._lead = sys.stderr, f"{tr('The model says')}: "
            case Loading(progress):
                say(one_line(progress.label))
            case Thought(ms=0):
                print(tr("thinking …"), end=" ", file=sys.stderr, flush=True)
            case Thought(ms=ms, ended=True):
                say(duration(ms / 1000))
            case Piece(text):
                print(self._lead + printable(text), end="", file=self._out, flush=True)
                self._lead = ""
            case Answered(answer):
                self._end(answer)
            case _:
                pass

    def _end(self, answer: Answer) -> None:
        if answer.text:
            print(file=self._out, flush=True)
        if answer.problem:
            say(one_line(f"{answer.problem.message} {answer.problem.remedy}"))
        else:
            if sentence := wrong_product(answer):
                say(sentence)
            say(describe(answer))


def as_object(answer: Answer) -> dict[str, Any]:
    """Return the answer as `ask --json` prints it (docs/guide/command-line.md)."""
    thinking = {"thinking": answer.thinking, "thinking_ms": round(answer.thinking_ms, 3)}
    return {
        "question": answer.question,
        "engine": answer.engine,
        "mode": answer.mode.value,
        "status": answer.status.value,
        "answer": answer.text,
        "stop_reason": answer.stop_reason.value,
        "sources": [_source(hit) for hit in answer.sources],
        "nearest": [_source(hit) for hit in answer.nearest],
        "fidelity": answer.fidelity,
        "coverage": answer.coverage,
        "timing_ms": {
            "retrieval": round(answer.timing.retrieval, 3),
            "first_token": round(answer.timing.first_token, 3),
            "total": round(answer.timing.total, 3),
        },
        "tokens": to_builtins(answer.tokens),
        "notice": answer.notice or None,
        "error": asdict(answer.problem) if answer.problem else None,
        **(thinking if answer.thinking else {}),
        **({"taught": answer.taught.value} if answer.taught else {}),
        **({"described": _named(answer.described)} if answer.described else {}),
    }


def _named(product: Product) -> dict[str, str]:
    return {"uid": product.uid, "title": product.title}


def _source(hit: Hit) -> dict[str, Any]:
    product = hit.product
    return {
        "uid": product.uid,
        "title": product.title,
        "description": product.description,
        "score": round(hit.score, 4),
        **({} if hit.trained is UNSET else {"trained": hit.trained}),
        **({"edition": True} if hit.edition else {}),
        **({"quoted": hit.quoted} if hit.quoted else {}),
    }


if __name__ == "__main__":
    sys.exit(main())
