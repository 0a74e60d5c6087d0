"""Export conversations as Markdown or JSON, and import them from JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from engine.chat.wording import (
    describe,
    not_taught_sentence,
    thinking_words,
    title_of,
    wrong_product,
)
from engine.config import paths
from engine.core.files import PRIVATE, atomic_file, delete_drafts, private_folder, reading, writing
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line, printable
from engine.core.types import Answer, Product, Taught, Turn
from engine.store import archive
from engine.store.archive import ArchivedConversation, ImportResult
from engine.store.conversations import ConversationStore

_INLINE = re.compile(r"[\\`*_\[\]<>&~|$]")
_BEGINS_BLOCK = re.compile(r"^(\d*)([#+=.)-])")


def turn_as_markdown(turn: Turn, titles: Mapping[str, str], *, level: int = 1) -> str:
    """Format the question, the record, and every answer with its description, all of them quoted.

    `titles` are the engines' by id, `level` is the heading level of the question.
    """
    above, below = "#" * level, "#" * (level + 1)
    product = next((answer.product for answer in turn.answers if answer.product), None)
    parts = [f"{above} {one_line(turn.question)}"]
    if "\n" in turn.question:
        parts.append(_quoted(turn.question))
    if product:
        record = tr("The record: {title}", title=title_of(product))
        parts.append(f"{below} {record}\n\n{_quoted(product.description)}")
    chosen = turn.answer if turn.others else None
    for answer in turn.answers:
        title = one_line(titles.get(answer.engine, answer.engine))
        mark = tr(" (chosen)") if answer is chosen and turn.place else ""
        parts.append(f"{below} {title}{mark}\n\n{_answer(answer, product)}")
    return "\n\n".join(parts) + "\n"


def _answer(answer: Answer, record: Product | None) -> str:
    text = answer.text or (answer.problem.message if answer.problem else "")
    is_record = record is not None and text == record.description
    words = tr("The record, as above.") if is_record else _quoted(text)
    about = (wrong_product(answer), describe(answer, source=False))
    page = "\n\n".join((words, *filter(None, about)))
    if answer.taught is Taught.NOT_TAUGHT:
        page = f"{not_taught_sentence()}\n\n{page}"
    if not answer.thinking:
        return page
    summary = f"<summary>{thinking_words(answer.thinking_ms, ended=True)}</summary>"
    return f"<details>{summary}\n\n{_quoted(answer.thinking)}\n\n</details>\n\n{page}"


def _quoted(text: str) -> str:
    """Quote a text, which a reader then wraps, and of which nothing is read as Markdown."""
    lines = [_literal(line) for line in printable(text).split("\n")]
    following = [*lines[1:], ""]
    breaks = ("\\" if line and after else "" for line, after in zip(lines, following, strict=True))
    return "\n".join(f"> {line}{end}".rstrip() for line, end in zip(lines, breaks, strict=True))


def _literal(line: str) -> str:
    words = line.strip()
    indent = "\N{NO-BREAK SPACE}" * (len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip()))
    if not words:
        return ""
    words = _INLINE.sub(r"\\\g<0>", words)
    return indent + _BEGINS_BLOCK.sub(r"\1\\\2", words)


_MAX_NAME = 48
_NOT_IN_NAME = re.compile(r"[^a-z0-9]+")


def as_json(store: ConversationStore, numbers: Iterable[int]) -> Iterator[str]:
    """Yield a JSON file of these conversations, in parts. Raises StoreError."""
    return archive.pieces(store.archived(number) for number in numbers)


def as_markdown(
    store: ConversationStore, numbers: Iterable[int], titles: Mapping[str, str]
) -> Iterator[str]:
    """Yield a Markdown page per conversation; `titles` are the engines' by id."""
    for place, number in enumerate(numbers):
        yield ("\n" if place else "") + _page(store.archived(number), titles)


def write_conversation(
    store: ConversationStore, number: int, titles: Mapping[str, str], folder: Path, kind: str
) -> Path:
    """Export one conversation to a new file and return it; `kind` is "md" or "json"."""
    kept = store.archived(number)
    day = kept.updated.astimezone().strftime("%Y-%m-%d")
    pieces = iter([_page(kept, titles)]) if kind == "md" else archive.pieces([kept])
    return _write_new(folder, f"{day}-{_name(kept.title)}", kind, pieces)


def write_all(store: ConversationStore, folder: Path) -> Path:
    """Export all conversations to a new JSON file and return it. Raises BalcaoError."""
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d")
    pieces = as_json(store, store.ids())
    return _write_new(folder, f"{stamp}-all-conversations", "json", pieces)


def import_file(store: ConversationStore, name: str) -> ImportResult:
    """Import an exported JSON file, all of it or nothing, but for conversations already here."""
    with reading(name):
        data = paths.expand(name).read_bytes()
    return import_bytes(store, data, name)


def import_bytes(store: ConversationStore, data: bytes, name: str) -> ImportResult:
    """Import exported JSON, which errors call `name`. Raises DataError, StoreError."""
    return store.add(map(archive.decode, archive.read(data, name)))


def import_summary(added: ImportResult) -> str:
    """Return one sentence about an import."""
    new, known = added.new, added.known
    text = tr_n("{new:,} conversation imported", "{new:,} conversations imported", new, new=new)
    if known:
        text += tr_n(
            "; {known:,} was here already", "; {known:,} were here already", known, known=known
        )
    return f"{text}.{_damage(added.damaged)}"


def damage(store: ConversationStore) -> str:
    """Return a sentence about the damaged answers in the last export, empty without any."""
    count, store.damaged = store.damaged, 0
    return _damage(count)


def _damage(count: int) -> str:
    sentence = tr_n(
        "{count:,} answer is damaged; what can be read of it is there.",
        "{count:,} answers are damaged; what can be read of them is there.",
        count,
    )
    return f" {sentence}" if count else ""


def _page(kept: ArchivedConversation, titles: Mapping[str, str]) -> str:
    times = {"created": kept.created.astimezone(), "updated": kept.updated.astimezone()}
    when = tr("{created:%Y-%m-%d %H:%M} to {updated:%Y-%m-%d %H:%M}", **times)
    head = f"# {one_line(kept.title)}\n\n{when}\n"
    turns = (turn_as_markdown(archive.as_turn(turn), titles, level=2) for turn in kept.turns)
    return "\n".join([head, *turns])


def _name(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return _NOT_IN_NAME.sub("-", plain)[:_MAX_NAME].strip("-") or "conversation"


def write_file(file: Path, pieces: Iterable[str], *, private: bool = False) -> None:
    """Write or replace a file atomically. Raises BalcaoError if that fails."""
    with writing(file), atomic_file(file, private=private) as stream:
        stream.writelines(piece.encode() for piece in pieces)


def _write_new(folder: Path, name: str, kind: str, pieces: Iterable[str]) -> Path:
    with writing(folder):
        private_folder(folder)
        delete_drafts(folder, "*")
        file = _reserve(folder, name, kind)
    try:
        write_file(file, pieces, private=True)
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    return file


def _reserve(folder: Path, name: str, kind: str) -> Path:
    """Create an empty file under the first free name."""
    for number in count(1):
        file = folder / (f"{name}.{kind}" if number == 1 else f"{name}-{number}.{kind}")
        with suppress(FileExistsError):
            file.touch(PRIVATE, exist_ok=False)
            return file
    raise AssertionError("a free name is always found")
