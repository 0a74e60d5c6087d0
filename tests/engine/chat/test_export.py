"""Conversations as files: what is exported comes back, and nothing else does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from engine.chat import export as history
from engine.core.errors import BalcaoError, DataError, StoreError
from engine.core.text import printable
from engine.core.types import (
    Answer,
    Conversation,
    Hit,
    Mode,
    Problem,
    Product,
    Status,
    StopReason,
    Timing,
    Tokens,
    Turn,
)
from engine.store.archive import ImportResult
from engine.store.conversations import ConversationStore
from tests.engine.store.test_store import ANSWER
from tests.engine.store.test_store_history import said, said_in


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "one.db")
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "other.db")
    yield opened
    opened.close()


MARKDOWN = ["# one", "- two", "1. three", "1) four", "> five", "```py", "~~~~", "    code", "===",
            "---", "| a | b |", "| - | - |", "<b>", "<!--", "&amp;", "[a](b)", "**c**", "\\", "",
            "x"]  # fmt: skip


def exported(store: ConversationStore) -> bytes:
    return "".join(history.as_json(store, store.ids())).encode()


def brought(store: ConversationStore, data: bytes) -> ImportResult:
    return history.import_bytes(store, data, "The file")


def contents(store: ConversationStore) -> list[tuple[object, ...]]:
    kept = [store.archived(number) for number in store.ids()]
    return [(one.uid, one.title, one.created, one.updated, one.turns) for one in kept]


def test_what_is_exported_comes_back_whole_and_once(
    store: ConversationStore, other: ConversationStore
) -> None:
    first = said(store, "Qual balcão?\nE quando?", "Um \x00 \x1b[2J\u202e [/b]", "outro")
    turn = store.open(first).turns[0]
    assert turn.id is not None
    store.choose(turn.id, 1)
    store.fork(first, 1)
    conversation = Conversation()
    store.begin(conversation, "never answered", replace(ANSWER, text="hal"))
    data = exported(store)
    assert not {0x1B, 0x00} & set(data)
    assert "\u202e" not in data.decode()
    assert brought(other, data) == ImportResult(3, 0)
    assert contents(other) == contents(store)
    assert [entry.forked for entry in other.latest()].count(True) == 1
    assert other.open(1).turns[0].place == 1
    assert len(other.search("balcao")) == 2
    assert brought(other, data) == ImportResult(0, 3)
    assert brought(store, data) == ImportResult(0, 3)
    assert brought(other, b"\xef\xbb\xbf" + json.dumps(json.loads(data)).encode()) == ImportResult(
        0, 3
    )


def test_what_went_on_elsewhere_is_kept_beside_what_is_here(
    store: ConversationStore, other: ConversationStore
) -> None:
    conversation = Conversation()
    said_in(store, conversation, "one", "a")
    before = exported(store)
    brought(other, before)
    said_in(store, conversation, "two", "b")
    assert brought(store, before) == ImportResult(0, 1)  # all of it is here, and more
    after = exported(store)
    assert brought(other, after) == ImportResult(1, 0)
    assert brought(other, after) == ImportResult(0, 1)
    assert sorted(entry.turns for entry in other.latest()) == [1, 2]


def test_an_import_brings_back_what_was_deleted(store: ConversationStore) -> None:
    number = said(store, "one", "a")
    data = exported(store)
    store.delete(number)
    assert brought(store, data) == ImportResult(1, 0)
    assert [entry.id for entry in store.latest()] == [number]


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        file = json.loads(data)
        change(file)
        return json.dumps(file).encode()

    return made


def in_answer(**values: object) -> Callable[[bytes], bytes]:
    """The second conversation's answer with those values."""
    return changed(
        lambda file: file["conversations"][1]["turns"][0]["answers"][0]["answer"].update(values)
    )


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "not json": lambda _: b"hello",
    "not utf-8": lambda data: data.replace(b"second", b"\xff\xfe"),
    "a lone surrogate": lambda data: data.replace(b"second", b"\\ud800"),
    "cut": lambda data: data[: len(data) - 40],
    "deep": lambda data: data.replace(b'"uid"', b'"deep":' + b"[" * 50_000 + b',"uid"', 1),
    "another format": changed(lambda file: file.update(format="else")),
    "a newer version": changed(lambda file: file.update(version=2)),
    "a list": lambda data: b"[" + data + b"]",
    "no turns": changed(lambda file: file["conversations"][1].pop("turns")),
    "a uid that is none": changed(lambda file: file["conversations"][1].update(uid="../x")),
    "a time that is none": changed(lambda file: file["conversations"][1].update(created="now")),
    "a time without zone": changed(
        lambda file: file["conversations"][1].update(created="2026-01-01T00:00:00")
    ),
    "year 1": changed(
        lambda file: file["conversations"][1].update(updated="0001-01-01T00:00:00+14:00")
    ),
    "chosen is not there": changed(
        lambda file: file["conversations"][1]["turns"][0].update(chosen=7)
    ),
}

DAMAGED: dict[str, dict[str, object]] = {
    "no source": {"sources": []},
    "half a source": {"sources": [{"product": {}}]},
    "a status that is none": {"status": "perhaps"},
    "fidelity 5": {"fidelity": 5},
    "a count that is true": {"tokens": {"prompt": True, "completion": 1}},
    "a negative count": {"tokens": {"prompt": 1, "completion": -1}},
    "a great count": {"tokens": {"prompt": 1, "completion": 10**400}},
    "a time before the question": {"timing": {"retrieval": -1, "first_token": 0, "total": 0}},
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_answer_loses_only_what_is_damaged(
    store: ConversationStore, other: ConversationStore, how: str
) -> None:
    said(store, "first", "a")
    said(store, "second", "b")
    added = brought(other, in_answer(**DAMAGED[how])(exported(store)))
    assert added == ImportResult(2, 0, damaged=1)
    assert history.import_summary(added) == (
        "2 conversations imported. 1 answer is damaged; what can be read of it is there."
    )
    first, second = (other.open(number).turns[0].answer for number in other.ids())
    assert first is not None
    assert second is not None
    assert (first.text, second.text, second.problem) == ("a", "b", ANSWER.problem)
    assert second.product in (None, ANSWER.product)
    assert brought(store, exported(other)) == ImportResult(1, 1)


def test_an_answer_that_cannot_be_read_bars_nothing_else(
    store: ConversationStore, other: ConversationStore
) -> None:
    number = said(store, "first", "a", "b")
    with store._database.writing() as database:
        database.execute("UPDATE answer SET body = substr(body, 1, 99) WHERE id = 1")
    turn = store.open(number).turns[0]
    assert [answer.text for answer in turn.answers] == ["", "b"]
    assert turn.answer is not None
    assert (turn.answer.engine, turn.answer.problem) == (
        "lora", Problem("This answer is damaged and cannot be read."),
    )  # fmt: skip
    data = exported(store)
    assert history.damage(store) == " 1 answer is damaged; what can be read of it is there."
    assert history.damage(store) == ""
    assert brought(other, data) == ImportResult(1, 0)
    assert brought(store, data) == ImportResult(0, 1)


@pytest.mark.parametrize("how", BROKEN)
def test_of_a_broken_file_nothing_is_imported(
    store: ConversationStore, other: ConversationStore, how: str
) -> None:
    said(store, "first", "a")
    said(store, "second", "b")
    with pytest.raises(DataError, match=r"^The file (is|has) ") as raised:
        brought(other, BROKEN[how](exported(store)))
    assert "\n" not in str(raised.value)
    assert len(other.ids()) == 0
    assert other.ids() == []


def test_no_file_breaks_what_opens_it(store: ConversationStore, tmp_path: Path) -> None:
    """One value of a good file is replaced by another: it is refused, or everything still works."""
    said(store, "first", "a", "b")
    good = exported(store)
    wrong: list[object] = [
        None,
        -1,
        0,
        2,
        2**70,
        1.5,
        1e300,
        "",
        "x",
        "\x1b[2J\x00",
        "none",
        [],
        {},
        True,
    ]
    number = count()

    @settings(max_examples=settings().max_examples // 3)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        file = json.loads(good)
        holder, key = data.draw(st.sampled_from(list(_places(file["conversations"][0]))))
        holder[key] = data.draw(st.sampled_from(wrong))
        with closing(ConversationStore(tmp_path / f"{next(number)}.db")) as other:
            _bring_and_use(other, json.dumps(file).encode())

    check()


_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_HITS = st.lists(
    st.builds(Hit, st.builds(Product, _TEXT, _TEXT, _TEXT, _TEXT), st.floats(0, 1)), max_size=2
).map(tuple)
_MILLISECONDS = st.floats(0, 1e12)
_COUNT = st.integers(0, 2**53 - 1)
_ANSWERS = st.builds(
    Answer,
    question=_TEXT,
    engine=_TEXT,
    mode=st.sampled_from(Mode),
    status=st.sampled_from(Status),
    text=_TEXT,
    stop_reason=st.sampled_from(StopReason),
    sources=_HITS,
    nearest=_HITS,
    fidelity=st.none() | st.floats(0, 1),
    timing=st.builds(Timing, _MILLISECONDS, _MILLISECONDS, _MILLISECONDS),
    tokens=st.none() | st.builds(Tokens, _COUNT, _COUNT),
    notice=_TEXT,
    problem=st.none() | st.builds(Problem, _TEXT, _TEXT),
    thinking=_TEXT,
    thinking_ms=_MILLISECONDS,
    logprobs=st.lists(st.floats(-1e9, 0), max_size=3).map(tuple),
).map(lambda answer: answer if answer.sources else replace(answer, status=Status.NONE))


def test_whatever_is_said_comes_back_whole(
    store: ConversationStore, other: ConversationStore
) -> None:
    @settings(max_examples=settings().max_examples // 4)  # each waits for the disk
    @given(_TEXT, st.lists(_ANSWERS, min_size=1, max_size=2))
    def check(question: str, answers: list[Answer]) -> None:
        turn = Turn(question)
        for answer in answers:
            turn.add(answer)
        conversation = Conversation(turns=[turn])
        store.begin(conversation, "and then", ANSWER)
        assert conversation.id is not None
        data = "".join(history.as_json(store, [conversation.id])).encode()
        assert printable(data.decode()) == data.decode()
        assert brought(other, data) == ImportResult(1, 0)
        kept, came = store.archived(conversation.id), other.archived(other.ids()[-1])
        assert (came.title, came.updated, came.turns) == (kept.title, kept.updated, kept.turns)
        assert [one.answer for one in came.turns[0].answers] == answers

    check()


def test_no_bytes_break_an_import(store: ConversationStore, other: ConversationStore) -> None:
    said(store, "first", "a", "b")
    pieces = re.split(rb"([\[\]{},:])", exported(store))

    @given(st.lists(st.sampled_from(pieces) | st.binary(max_size=3), max_size=4), st.data())
    def check(wrong: list[bytes], data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(pieces)))
        end = data.draw(st.integers(at, min(at + 5, len(pieces))))
        try:
            brought(other, b"".join([*pieces[:at], *wrong, *pieces[end:]]))
        except DataError:
            return
        assert brought(store, exported(other)).known

    check()


def _bring_and_use(other: ConversationStore, data: bytes) -> None:
    try:
        added = brought(other, data)
    except DataError:
        assert other.ids() == []
        return
    assert (added.new, added.known) == (1, 0)
    (entry,) = other.latest()
    other.open(entry.id).messages()
    other.search("first")
    "".join(history.as_markdown(other, [entry.id], {}))
    assert brought(other, exported(other)) == ImportResult(0, 1)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])


@given(
    st.text("ab19 \t\n\\`*_[]<>&~|$#+=-.)!:/'\"", max_size=60)
    | st.lists(st.sampled_from(MARKDOWN), max_size=6).map("\n".join)
)
def test_a_page_quotes_texts_that_a_reader_wraps_and_takes_for_no_markdown(text: str) -> None:
    answer = replace(ANSWER, text=text, sources=(), status=Status.NONE, problem=None)
    page = history.turn_as_markdown(Turn("q", answer), {})
    tokens = [one for one in MarkdownIt("commonmark").enable("table").parse(page) if one.map]
    quotes = [one.map or [] for one in tokens if one.type == "blockquote_open"]
    assert len(quotes) == 1 or not text.strip()
    inside = [
        one for one in tokens if any(start <= (one.map or [0])[0] < end for start, end in quotes)
    ]
    assert {one.type for one in inside} <= {"blockquote_open", "paragraph_open", "inline"}
    words = [child for one in inside for child in one.children or ()]
    assert {one.type for one in words} <= {"text", "text_special", "hardbreak"}
    shown = " ".join(one.content if one.type != "hardbreak" else " " for one in words)
    assert "".join(shown.split()) == "".join(text.split())


def test_a_conversation_as_a_page(store: ConversationStore, tmp_path: Path) -> None:
    number = said(store, "Qual balcão?", "It has\n~~~~\n# no heading", "second")
    turn = store.open(number).turns[0]
    assert turn.id is not None
    store.choose(turn.id, 1)
    titles = {"lora": "LoRA Llama"}
    file = history.write_conversation(store, number, titles, tmp_path / "new", "md")
    page = file.read_text(encoding="utf-8")
    assert file.name.endswith("-qual-balcao.md")
    assert page.startswith("# Qual balcão?\n\n20")
    assert "## Qual balcão?\n\n### The record: Title (012X)" in page
    assert "> It has\\\n> \\~\\~\\~\\~\\\n> \\# no heading\n" in page
    assert "### LoRA Llama (chosen)\n\n> second\n" in page
    again = history.write_conversation(store, number, titles, tmp_path / "new", "md")
    assert again.name.endswith("-qual-balcao-2.md")
    everything = history.write_all(store, tmp_path / "new")
    assert history.import_file(store, str(everything)) == ImportResult(0, 1)
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".md", ".json"}
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_drafts_of_killed_exports_are_deleted(store: ConversationStore, tmp_path: Path) -> None:
    number = said(store, "q", "a")
    dead = tmp_path / f".2026-01-01-old.json.{2**22 + 1}.draft"
    dead.touch()
    history.write_conversation(store, number, {}, tmp_path, "md")
    assert not dead.exists()


def test_a_folder_that_cannot_be_written_is_told(store: ConversationStore, tmp_path: Path) -> None:
    number = said(store, "q", "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(BalcaoError, match="Cannot write"):
        history.write_conversation(store, number, {}, tmp_path / "file", "md")
    with pytest.raises(DataError, match="Cannot read"):
        history.import_file(store, str(tmp_path / "none.json"))
    with pytest.raises(StoreError, match="no conversation 99"):
        history.write_conversation(store, 99, {}, tmp_path, "json")
    assert not list(tmp_path.glob(".*"))
