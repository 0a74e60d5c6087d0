"""A turn or a conversation as Markdown, to be read elsewhere; records stand in it word for word."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from engine.chat.wording import describe, title_of
from engine.core.errors import BalcaoError, DataError, why
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line, printable
from engine.core.types import Answer, Turn
from engine.store import archive
from engine.store.archive import ArchivedConversation, ArchivedTurn, ImportResult
from engine.store.conversations import ConversationStore

_FENCE = "~~~~"


def turn_as_markdown(turn: Turn, titles: Mapping[str, str], *, level: int = 1) -> str:
    """The question, the record, and every answer with what is told about it.

    `titles` are the engines' by id, `level` is the question's as a heading. What engines and
    records say is fenced, so that no mark in it is taken for one of the page's.
    """
    above, below = "#" * level, "#" * (level + 1)
    product = next((answer.product for answer in turn.answers if answer.product), None)
    parts = [f"{above} {one_line(turn.question)}"]
    if "\n" in turn.question:
        parts.append(_fenced(turn.question))
    if product:
        record = tr("The record: {title}", title=title_of(product))
        parts.append(f"{below} {record}\n\n{_fenced(product.description)}")
    chosen = turn.answer if turn.others else None
    for answer in turn.answers:
        title = one_line(titles.get(answer.engine, answer.engine))
        mark = tr(" (chosen)") if answer is chosen and turn.place else ""
        parts.append(f"{below} {title}{mark}\n\n{_said(answer)}")
    return "\n\n".join(parts) + "\n"


def conversation_as_markdown(
    title: str, when: str, turns: Iterable[Turn], titles: Mapping[str, str]
) -> str:
    """A page of a whole conversation; `when` is told under its title."""
    head = f"# {one_line(title)}\n\n{one_line(when)}\n"
    return "\n".join([head, *(turn_as_markdown(turn, titles, level=2) for turn in turns)])


def _said(answer: Answer) -> str:
    said = answer.text or (answer.problem.message if answer.problem else "")
    return f"{_fenced(said)}\n\n{describe(answer, source=False)}"


def _fenced(text: str) -> str:
    fence = _FENCE
    while fence in text:
        fence += "~"
    return f"{fence}\n{printable(text)}\n{fence}"


_NAME_LENGTH = 48
_NO_NAME = re.compile(r"[^a-z0-9]+")


def as_json(store: ConversationStore, numbers: Iterable[int]) -> Iterator[str]:
    """Those conversations as one JSON file, a piece at a time. Raises StoreError."""
    return archive.pieces(store.archived(number) for number in numbers)


def as_markdown(
    store: ConversationStore, numbers: Iterable[int], titles: Mapping[str, str]
) -> Iterator[str]:
    """A page each; `titles` are the engines' by id. Raises StoreError."""
    for place, number in enumerate(numbers):
        yield ("\n" if place else "") + _page(store.archived(number), titles)


def write_conversation(
    store: ConversationStore, number: int, titles: Mapping[str, str], folder: Path, kind: str
) -> Path:
    """Export one conversation into a new file; returns it. `kind` is "md" or "json".

    Raises StoreError, or BalcaoError where the file cannot be written.
    """
    kept = store.archived(number)
    day = kept.updated.astimezone().strftime("%Y-%m-%d")
    pieces = iter([_page(kept, titles)]) if kind == "md" else archive.pieces([kept])
    return _write_new(folder, f"{day}-{_name(kept.title)}", kind, pieces)


def write_all(store: ConversationStore, folder: Path) -> Path:
    """Export every conversation into a new JSON file; returns it. Raises as the other does."""
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d")
    pieces = as_json(store, store.ids())
    return _write_new(folder, f"{stamp}-all-conversations", "json", pieces)


def read(store: ConversationStore, name: str) -> ImportResult:
    """Import what was exported as JSON; what is there already is left as it is.

    `name` is the file's, where `~` is the home folder. Raises DataError for a file that is none, or
    broken, StoreError where it cannot be kept; then nothing is added.
    """
    try:
        data = Path(os.path.expanduser(name)).read_bytes()  # noqa: PTH111 - the other one raises
    except (OSError, ValueError) as error:
        told = tr("{name} cannot be read: {why}.", name=name, why=why(error))
        raise DataError(told) from error
    return read_bytes(store, data, name)


def read_bytes(store: ConversationStore, data: bytes, name: str) -> ImportResult:
    """The same from bytes, which errors call `name`."""
    return store.add(map(archive.decode, archive.read(data, name)))


def told(added: ImportResult) -> str:
    """What an import did, in a sentence."""
    new = tr_n("{new:,} conversation imported", "{new:,} conversations imported", added.new)
    known = tr_n("; {known:,} was here already", "; {known:,} were here already", added.known)
    told = f"{new}{known if added.known else ''}."
    return told.format(new=added.new, known=added.known)


def _page(kept: ArchivedConversation, titles: Mapping[str, str]) -> str:
    when = tr(
        "{created:%Y-%m-%d %H:%M} to {updated:%Y-%m-%d %H:%M}",
        created=kept.created.astimezone(),
        updated=kept.updated.astimezone(),
    )
    return conversation_as_markdown(kept.title, when, map(_turn, kept.turns), titles)


def _turn(kept: ArchivedTurn) -> Turn:
    turn = Turn(kept.question)
    if kept.answers:
        turn.answer, *turn.others = [one.answer for one in kept.answers]
        turn.choose(kept.chosen)
    return turn


def _name(title: str) -> str:
    """A title as part of a file's name: plain letters, whatever it is made of."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return _NO_NAME.sub("-", plain)[:_NAME_LENGTH].strip("-") or "conversation"


def write_file(file: Path, pieces: Iterable[str]) -> None:
    """Write a file, whole or not at all; what was there is replaced.

    Raises BalcaoError where it cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with _explained(file.parent):
        try:
            with draft.open("w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(pieces)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _write_new(folder: Path, name: str, kind: str, pieces: Iterable[str]) -> Path:
    """Write a file under a name that nothing has yet."""
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _reserved(folder, name, kind)
    try:
        write_file(file, pieces)
    except BaseException:
        with suppress(OSError):
            file.unlink()
        raise
    return file


def _reserved(folder: Path, name: str, kind: str) -> Path:
    for number in count(1):
        file = folder / (f"{name}.{kind}" if number == 1 else f"{name}-{number}.{kind}")
        with suppress(FileExistsError):
            file.open("x").close()
            return file
    raise AssertionError("a free name is always found")


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BalcaoError(
            tr("Nothing can be written to {folder}: {why}.", folder=folder, why=why(error)),
            tr("Check that the disk is not full and that the folder can be written."),
        ) from error
