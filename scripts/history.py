"""The conversations that are kept: list, search, export, import, delete.

balcao history search "neon tutu"
balcao history export > backup.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.chat import export as history
from engine.config import paths
from engine.config.settings import load, shown_title
from engine.core.errors import BalcaoError, UsageError
from engine.core.i18n import tr, tr_n
from engine.core.text import json_line, one_line
from engine.store.conversations import ConversationStore
from engine.store.search import ConversationSummary, Highlighted
from scripts.common import DONE, FAILED, confirm, guarded, say, speak

_ALL = sys.maxsize >> 1


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="balcao history",
        description="The conversations that the chat has kept. Results go to stdout.",
        epilog="Exit status: 0 done, 1 nothing found or it failed, 2 wrong usage.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    for name, what in (
        ("list", "every conversation, the latest first"),
        ("search", "the conversations that have these words"),
    ):
        added = action(name, what)
        if name == "search":
            added.add_argument("words", nargs="+", metavar="WORD", help="or the beginning of one")
        added.add_argument("--limit", type=int, default=_ALL, metavar="N", help="at most so many")
        added.add_argument("--json", action="store_true", help="one JSON object a line")
    added = action("export", "conversations as JSON or Markdown")
    added.add_argument("ids", nargs="*", type=int, metavar="ID", help="all, if none is named")
    added.add_argument("--format", choices=("json", "markdown"), default="json")
    added.add_argument("--out", metavar="FILE", help="a file to write, instead of stdout")
    added = action("import", "bring back what was exported as JSON; twice adds nothing")
    added.add_argument("file", metavar="FILE", help="or -, for stdin")
    added = action("delete", "erase conversations for good")
    added.add_argument("ids", nargs="+", type=int, metavar="ID")
    added.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(argv)
    speak()
    actions = {
        "list": _list,
        "search": _list,
        "export": _export,
        "import": _import,
        "delete": _delete,
    }
    return guarded(lambda: actions[options.action](options))


@contextmanager
def _opened() -> Iterator[ConversationStore]:
    with closing(ConversationStore(paths.conversations_file())) as store:
        yield store


def _list(options: argparse.Namespace) -> int:
    if options.limit < 1:
        raise UsageError(tr("--limit is less than 1."))
    with _opened() as store:
        if options.action == "list":
            found = store.latest(options.limit)
        else:
            found = store.search(" ".join(options.words), options.limit)
    for entry in found:
        print(json_line(_as_object(entry)) if options.json else _line(entry))
    if not found:
        nothing = tr("balcao: there is none.")
        if options.action == "search":
            nothing = tr("balcao: nothing found.")
        say(nothing)
    return DONE if found or options.action == "list" else FAILED


def _line(entry: ConversationSummary) -> str:
    when = datetime.fromtimestamp(entry.updated).astimezone().strftime("%Y-%m-%d %H:%M")
    hit = _marked(entry.snippet)
    title = _marked(entry.title_match) or entry.title
    line = f"{entry.id:>6}  {when}  {entry.turns:>4}  {one_line(title)}"
    return f"{line}  |  {one_line(hit)}" if hit else line


def _marked(marked: Highlighted) -> str:
    return "".join(f"*{text}*" if hit else text for text, hit in marked)


def _as_object(entry: ConversationSummary) -> dict[str, Any]:
    return {
        "id": entry.id,
        "title": entry.title,
        "updated": datetime.fromtimestamp(entry.updated, UTC).isoformat(),
        "questions": entry.turns,
        "forked": entry.forked,
        "hit": "".join(text for text, _ in entry.snippet) or None,
    }


def _named(store: ConversationStore, ids: Sequence[int]) -> list[int]:
    """Each once. Raises BalcaoError before anything is done, if one is not there."""
    there = set(store.ids())
    unknown = [number for number in ids if number not in there]
    if unknown:
        raise BalcaoError(
            tr("There is no conversation {number}.", number=unknown[0]),
            tr("`balcao history list` names them."),
        )
    return list(dict.fromkeys(ids))


def _export(options: argparse.Namespace) -> int:
    with _opened() as store:
        numbers = _named(store, options.ids) or store.ids()
        if options.format == "json":
            pieces = history.as_json(store, numbers)
        else:
            titles = {name: shown_title(row) for name, row in load().engines.items()}
            pieces = history.as_markdown(store, numbers, titles)
        if options.out is None:
            for piece in pieces:
                # In UTF-8 whatever the locale, since that is what is read back.
                sys.stdout.buffer.write(piece.encode())
            sys.stdout.buffer.flush()
        else:
            history.write_file(Path(options.out).expanduser(), pieces)
    told = tr_n("balcao: {count} exported.", "balcao: {count} exported.", len(numbers))
    say(told.format(count=len(numbers)))
    return DONE


def _import(options: argparse.Namespace) -> int:
    with _opened() as store:
        if options.file == "-":
            added = history.read_bytes(store, sys.stdin.buffer.read(), tr("What came from stdin"))
        else:
            added = history.read(store, options.file)
    say(f"balcao: {history.told(added)}")
    return DONE


def _delete(options: argparse.Namespace) -> int:
    with _opened() as store:
        if store.read_only:
            raise BalcaoError(store.read_only.message, store.read_only.remedy)
        count = len(set(options.ids))
        question = tr_n(
            "Delete it for good?", "Delete {count} conversations for good?", count, count=count
        )
        if not confirm(question, yes=options.yes):
            return FAILED
        for number in _named(store, options.ids):
            store.delete(number)
    say(tr_n("balcao: {count} deleted.", "balcao: {count} deleted.", count, count=count))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
