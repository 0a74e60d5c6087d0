"""Saved conversations are found, renamed, deleted, forked and continued."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.types import Conversation, Turn
from engine.store.conversations import ConversationStore
from engine.store.search import Highlighted
from tests.engine.store.test_store import ANSWER


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
def store(file: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(file)
    yield opened
    opened.close()


def said(store: ConversationStore, question: str, text: str, *others: str) -> int:
    """A conversation of one turn; returns its id."""
    return said_in(store, Conversation(), question, text, *others)


def said_in(
    store: ConversationStore, conversation: Conversation, question: str, *texts: str
) -> int:
    turn = Turn(question)
    first = replace(ANSWER, question=question, text=texts[0])
    store.update(store.begin(conversation, question, first, turn), first, finished=True)
    assert turn.id is not None
    turn.answer = first
    for text in texts[1:]:
        other = replace(first, text=text)
        store.update(store.begin_other(turn.id, other), other, finished=True)
        turn.others.append(other)
    conversation.turns.append(turn)
    assert conversation.id is not None
    return conversation.id


def hits(store: ConversationStore, text: str) -> list[tuple[str, str]]:
    """Titles and surroundings of what is found, hits in brackets."""
    return [
        (in_brackets(entry.title_match), in_brackets(entry.snippet)) for entry in store.search(text)
    ]


def in_brackets(marked: Highlighted) -> str:
    return "".join(f"[{words}]" if hit else words for words, hit in marked)


def test_questions_answers_and_titles_are_found_without_accents(
    store: ConversationStore,
) -> None:
    first = said(store, "Qual balcão?", "Um de madeira.")
    second = said(store, "what else", "A glass COUNTER, and", "um balcão de vidro")
    store.rename(second, "Montras da loja")
    assert hits(store, "balcao") == [
        ("", "A glass COUNTER, and\num [balcão] de vidro"),
        ("Qual [balcão]?", "Qual [balcão]?"),
    ]
    assert [entry.id for entry in store.search("BALCÃO Madeira")] == [first]
    assert hits(store, unicodedata.normalize("NFD", "balcão qual")) == [
        ("[Qual] [balcão]?", "[Qual] [balcão]?")
    ]
    assert hits(store, "mont") == [("[Montras] da loja", "")]
    assert hits(store, "what else") == [("", "[what] [else]")]
    assert hits(store, "velvet") == []


@pytest.mark.parametrize(
    "text",
    ['"', "'", "*", "a OR", "NOT", "NEAR(a b", "question:tin", "^tin", "-tin", "{tin}", "+", "—",
     "(", "tin\x00", "tin*tin", 'tin" OR "', "🙂", "\ud800", "a" * 5000, "tin " * 500],
)  # fmt: skip
def test_a_search_contains_no_syntax(store: ConversationStore, text: str) -> None:
    said(store, "The Tin Lighthouse", "It stands.")
    store.search(text)


def test_operators_are_words(store: ConversationStore) -> None:
    said(store, "To be or not to be", "Near enough.")
    said(store, "To be", "Far.")
    assert len(store.search("be OR")) == 1
    assert len(store.search("NOT")) == 1
    assert len(store.search("near(")) == 1
    assert len(store.search("… — !")) == 2  # no word in it: everything


def test_the_current_text_of_an_answer_is_found(store: ConversationStore) -> None:
    conversation = Conversation()
    answer = store.begin(conversation, "question", replace(ANSWER, text=""))
    store.update(answer, replace(ANSWER, text="lighthouse"), finished=False)
    assert len(store.search("lighth")) == 1
    store.update(answer, replace(ANSWER, text="windmill"), finished=True)
    assert [len(store.search(word)) for word in ("lighthouse", "windmill")] == [0, 1]


def test_a_common_word_is_found_in_the_latest_conversations(store: ConversationStore) -> None:
    numbers = [said(store, f"book {number}", "a book") for number in range(12)]
    said_in(store, store.open(numbers[3]), "more", "again")
    found = [entry.id for entry in store.search("book", limit=3)]
    assert found == [numbers[3], numbers[11], numbers[10]]


def test_the_list_continues_after_an_entry(store: ConversationStore) -> None:
    numbers = [said(store, f"q {number}", "a") for number in range(7)]
    seen = store.latest(3)
    while more := store.latest(3, after=seen[-1]):
        seen += more
    assert [entry.id for entry in seen] == numbers[::-1]
    assert len(store.ids()) == 7


def test_renaming(store: ConversationStore) -> None:
    number = said(store, "old title", "x")
    store.rename(number, " a\nnew \x1b[2J title ")
    assert [entry.title for entry in store.latest()] == ["a new [2J title"]
    assert hits(store, "new") == [("a [new] [2J title", "")]
    assert hits(store, "old") == [("", "[old] title")]  # the question is as it was
    store.rename(number, "  ")
    assert store.latest()[0].title == "(untitled)"


def test_deleting_and_undeleting(file: Path) -> None:
    store = ConversationStore(file)
    first, second, third = (said(store, f"word {number}", "a") for number in range(3))
    store.delete(first)
    store.delete(second)
    assert [entry.id for entry in store.latest()] == [third]
    assert (len(store.ids()), len(store.search("word"))) == (1, 1)
    assert store.undelete() == second
    assert [entry.id for entry in store.latest()] == [third, second]
    store.close()
    store = ConversationStore(file)
    assert store.undelete() is None
    assert [entry.id for entry in store.latest()] == [third, second]
    for change in (store.delete, lambda number: store.rename(number, "x")):
        with pytest.raises(StoreError, match="no conversation"):
            change(first)
    store.close()
    # Nothing of it is left, in no table.
    database = sqlite3.connect(file)
    for table in ("conversation", "turn", "answer", "said", "titled"):
        count = database.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - named above
        assert count.fetchone() == (2,), table
    database.close()


def test_deleted_words_are_erased_from_the_file(file: Path) -> None:
    store = ConversationStore(file)
    said(store, "what stays", "words")
    number = said(store, "xyzzyplugh", "frobozzmagic")
    said(store, "what stays too", "words")
    store.close()
    assert {b"xyzzyplugh", b"frobozzmagic"} == found_in(file)
    store = ConversationStore(file)
    store.delete(number)
    store.close()
    assert not found_in(file)


def found_in(file: Path) -> set[bytes]:
    return {word for word in (b"xyzzyplugh", b"frobozzmagic") if word in file.read_bytes()}


def test_ids_are_never_reused(file: Path) -> None:
    store = ConversationStore(file)
    number = said(store, "one", "a")
    store.delete(number)
    store.close()
    store = ConversationStore(file)
    assert said(store, "two", "b") > number
    store.close()


def test_deletions_of_a_killed_program_are_purged_after_a_day(file: Path) -> None:
    store = ConversationStore(file)
    old, new = said(store, "old", "a"), said(store, "new", "b")
    store.delete(old)
    store.delete(new)
    database = sqlite3.connect(file)
    database.execute("UPDATE conversation SET deleted = deleted - 100000 WHERE id = ?", (old,))
    database.commit()
    ConversationStore(file).close()  # another program starts
    assert database.execute("SELECT id FROM conversation").fetchall() == [(new,)]
    database.close()
    assert store.undelete() == new
    assert store.undelete() is None
    store.close()


def test_a_conversation_deleted_by_another_program_is_saved_again(file: Path) -> None:
    mine, other = ConversationStore(file), ConversationStore(file)
    conversation = Conversation()
    number = said_in(mine, conversation, "first", "one", "another")
    other.delete(number)
    said_in(mine, conversation, "second", "two")  # hidden: it comes back
    assert [entry.turns for entry in mine.latest()] == [2]
    other.delete(number)
    other.close()  # purged
    answer = mine.begin(conversation, "third", ANSWER, turn := Turn("third"))
    mine.update(answer, replace(ANSWER, text="three"), finished=True)
    (entry,) = mine.latest()
    assert (entry.title, entry.id) == ("first", conversation.id)
    assert conversation.id != number
    again = mine.open(entry.id)
    assert [turn.question for turn in again.turns] == ["first", "second", "third"]
    assert [len(turn.answers) for turn in again.turns] == [2, 1, 1]
    assert [one.id for one in (*conversation.turns, turn)] == [one.id for one in again.turns]
    mine.close()


def test_an_answer_of_a_purged_conversation_raises(file: Path) -> None:
    mine, other = ConversationStore(file), ConversationStore(file)
    conversation = Conversation()
    answer = mine.begin(conversation, "first", ANSWER)
    assert conversation.id is not None
    other.delete(conversation.id)
    other.close()
    with pytest.raises(StoreError, match="deleted this"):
        mine.update(answer, ANSWER, finished=True)
    mine.close()


def test_forking_copies_the_first_turns(store: ConversationStore) -> None:
    conversation = Conversation()
    number = said_in(store, conversation, "one", "a", "b")
    said_in(store, conversation, "two", "c")
    said_in(store, conversation, "three", "d")
    turn = store.open(number).turns[0]
    assert turn.id is not None
    store.choose(turn.id, 1)

    forked = store.fork(number, 2)
    copy, origin = store.open(forked), store.open(number)
    assert [turn.question for turn in copy.turns] == ["one", "two"]
    assert copy.turns[0].answer == replace(ANSWER, question="one", text="b")
    assert [answer.text for answer in copy.turns[0].answers] == ["a", "b"]
    assert len(origin.turns) == 3
    assert [(entry.id, entry.forked) for entry in store.latest()] == [
        (forked, True),
        (number, False),
    ]
    said_in(store, copy, "elsewhere", "e")
    assert [len(store.open(one).turns) for one in (forked, number)] == [3, 3]
    assert [entry.id for entry in store.search("elsewhere")] == [forked]
    store.delete(number)
    assert len(store.open(forked).turns) == 3
    with pytest.raises(StoreError, match="no conversation"):
        store.fork(number, 1)
    assert len(store.ids()) == 1


def test_the_chosen_answer_is_loaded_at_its_place(store: ConversationStore) -> None:
    number = said(store, "q", "first", "second", "third")
    (turn,) = store.open(number).turns
    assert turn.answer is not None
    assert (turn.answer.text, turn.place) == ("first", 0)
    assert turn.id is not None
    store.choose(turn.id, 1)
    fourth = replace(ANSWER, text="fourth")
    (turn,) = store.open(number).turns
    assert turn.answer is not None
    assert (turn.answer.text, turn.place) == ("second", 1)
    assert [answer.text for answer in turn.answers] == ["first", "second", "third"]
    assert turn.id is not None
    store.update(store.begin_other(turn.id, fourth, chosen=True), fourth, finished=True)
    (turn,) = store.open(number).turns
    assert (turn.answer, turn.place) == (fourth, 3)
    turn.choose(2)
    assert turn.answer is not None
    assert (turn.answer.text, turn.place) == ("third", 2)
    assert [answer.text for answer in turn.answers] == ["first", "second", "third", "fourth"]
    assert [message.content for message in Conversation(turns=[turn]).messages()][1] == "third"


def test_unsaved_turns_are_saved_later(store: ConversationStore) -> None:
    lost = Turn("lost", replace(ANSWER, text="found"), [replace(ANSWER, text="twice")], 1)
    conversation = Conversation(turns=[lost])
    said_in(store, conversation, "next", "n")
    assert lost.id is not None
    assert conversation.id is not None
    turns = store.open(conversation.id).turns
    assert [turn.question for turn in turns] == ["lost", "next"]
    assert [answer.text for answer in turns[0].answers] == ["twice", "found"]
    assert (turns[0].place, turns[0].id) == (1, lost.id)
    assert store.latest()[0].title == "lost"
    said_in(store, conversation, "and on", "o")
    assert [turn.question for turn in store.open(conversation.id).turns] == [
        "lost", "next", "and on",
    ]  # fmt: skip


def test_an_unfinished_answer_is_completed_later(
    store: ConversationStore,
) -> None:
    conversation = Conversation()
    turn = Turn("cut")
    begun = replace(ANSWER, text="the beg")
    store.begin(conversation, "cut", begun, turn)
    turn.answer = replace(ANSWER, text="the beginning and the end")
    turn.add(replace(ANSWER, text="another"))
    turn.unsaved = True
    conversation.turns.append(turn)
    said_in(store, conversation, "next", "n")
    assert conversation.id is not None
    first = store.open(conversation.id).turns[0]
    assert first.answers == turn.answers
    assert (first.answer, turn.unsaved) == (turn.answer, False)
