"""List, search, export, import and delete saved conversations.

balcao history search "neon tutu"
balcao history export > backup.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC
from typing import Any

from engine.backends.registry import Registry
from engine.chat import export
from engine.config import paths
from engine.config.settings import load
from engine.core.errors import BalcaoError
from engine.core.i18n import tr, tr_n
from engine.core.text import json_line, one_line
from engine.store import write
from engine.store.conversations import ConversationStore
from engine.store.search import ConversationSummary, Highlighted
from scripts.common import DONE, FAILED, MOST, at_least, command, confirm, say


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao history",
        description="Work with saved conversations. Results go to stdout.",
        epilog="Exit status: 0 success, 1 nothing found or failure, 2 wrong usage.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, what: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")

    search = action("search", "find conversations by the words in them")
    search.add_argument("words", nargs="+", metavar="WORD", help="a word or its beginning")
    for added in (action("list", "list conversations, latest first"), search):
        added.add_argument(
            "--limit", type=at_least(1), default=MOST, metavar="N", help="at most N results"
        )
        added.add_argument("--json", action="store_true", help="print one JSON object per line")
    added = action("export", "write conversations as JSON or Markdown")
    added.add_argument("ids", nargs="*", type=at_least(0), metavar="ID", help="default: all")
    added.add_argument("--format", choices=("json", "markdown"), default="json")
    added.add_argument("--out", metavar="FILE", help="write FILE instead of stdout")
    added = action("import", "add conversations from a JSON export, without duplicates")
    added.add_argument("file", metavar="FILE", help="- reads stdin")
    added = action("delete", "delete conversations permanently")
    added.add_argument("ids", nargs="+", type=at_least(0), metavar="ID")
    added.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    return parser


@command(make_parser, speaks=True)
def main(options: argparse.Namespace) -> int:
    with closing(ConversationStore(paths.conversations_file())) as store:
        return _ACTIONS.get(options.action, _list)(store, options)


def _list(store: ConversationStore, options: argparse.Namespace) -> int:
    if options.action == "search":
        found = store.search(" ".join(options.words), options.limit)
    else:
        found = store.latest(options.limit)
    for summary in found:
        print(json_line(_as_object(summary)) if options.json else _as_line(summary))
    if not found:
        say(tr("balcao: no conversations found."))
    return DONE if found or options.action == "list" else FAILED


def _as_line(summary: ConversationSummary) -> str:
    when = summary.when.strftime("%Y-%m-%d %H:%M")
    title = _starred(summary.title_match) or summary.title
    line = f"{summary.id:>6}  {when}  {summary.turns:>4}  {one_line(title)}"
    snippet = _starred(summary.snippet)
    return f"{line}  |  {one_line(snippet)}" if snippet else line


def _starred(text: Highlighted) -> str:
    return "".join(f"*{piece}*" if matches else piece for piece, matches in text)


def _as_object(summary: ConversationSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "title": summary.title,
        "updated": summary.when.astimezone(UTC).isoformat(),
        "questions": summary.turns,
        "forked": summary.forked,
        "hit": "".join(piece for piece, _ in summary.snippet) or None,
    }


def _existing(store: ConversationStore, ids: Sequence[int]) -> list[int]:
    """Drop duplicates. Raises StoreError if one of the ids does not exist."""
    known = set(store.ids())
    for conversation_id in ids:
        if conversation_id not in known:
            raise write.missing(conversation_id)
    return list(dict.fromkeys(ids))


def _export(store: ConversationStore, options: argparse.Namespace) -> int:
    ids = _existing(store, options.ids) or store.ids()
    pieces = export.as_json(store, ids)
    if options.format == "markdown":
        pieces = export.as_markdown(store, ids, Registry(load()).titles)
    if options.out is None:
        for piece in pieces:
            # `import` reads UTF-8, whatever the locale.
            sys.stdout.buffer.write(piece.encode())
        sys.stdout.buffer.flush()
    else:
        export.write_file(paths.expand(options.out), pieces)
    exported = tr_n(
        "balcao: {count} conversation exported.",
        "balcao: {count} conversations exported.",
        len(ids),
    )
    say(exported + export.damage(store))
    return DONE


def _import(store: ConversationStore, options: argparse.Namespace) -> int:
    if options.file == "-":
        added = export.import_bytes(store, sys.stdin.buffer.read(), tr("Standard input"))
    else:
        added = export.import_file(store, options.file)
    say(f"balcao: {export.import_summary(added)}")
    return DONE


def _delete(store: ConversationStore, options: argparse.Namespace) -> int:
    if store.read_only:
        raise BalcaoError(store.read_only.message, store.read_only.remedy)
    count = len(set(options.ids))
    question = tr_n(
        "Delete {count} conversation permanently?",
        "Delete {count} conversations permanently?",
        count,
    )
    if not confirm(question, yes=options.yes):
        return FAILED
    for conversation_id in _existing(store, options.ids):
        store.delete(conversation_id)
    deleted = tr_n(
        "balcao: {count} conversation deleted.", "balcao: {count} conversations deleted.", count
    )
    say(deleted)
    return DONE


_ACTIONS = {"export": _export, "import": _import, "delete": _delete}

if __name__ == "__main__":
    sys.exit(main())
