"""One question from end to end, with a real catalogue and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from engine.backends.base import Engine
from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue
from engine.chat.open import Resources
from engine.chat.session import Session
from engine.config import settings
from engine.core.errors import CatalogueError, EngineFailed, UsageError
from engine.core.trained_products import Calibration, TrainedProduct, TrainedProducts
from engine.core.types import (
    Answer,
    Answered,
    Availability,
    Chunk,
    Event,
    Found,
    Loading,
    Mode,
    NotSaved,
    Piece,
    Product,
    Progress,
    Role,
    Status,
    StopReason,
    Taught,
    Weighed,
)
from engine.prompts import SYSTEM, UNKNOWN_PRODUCT
from engine.store.conversations import ConversationStore
from tests.scripted import ScriptedEngine


class OneEngine(Registry):
    """The real registry, its row `base` answered by a scripted engine."""

    def __init__(self, engine: ScriptedEngine | None = None) -> None:
        super().__init__(settings.load(Path("none"), {}))
        self.scripted = engine or ScriptedEngine()

    def get(self, engine_id: str) -> Engine:
        return self.scripted if engine_id == "base" else super().get(engine_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "c.db")
    yield opened
    opened.close()


def open_session(
    registry: Registry, catalogue: Catalogue, store: ConversationStore | None = None
) -> Session:
    return Session(settings.load(Path("none"), {}), Resources(registry, catalogue, store))


async def ask(
    session: Session, question: str, engine: str = "catalogue", mode: Mode = Mode.GROUNDED
) -> tuple[Answer, list[Event]]:
    session.engine, session.mode = engine, mode
    events = [event async for event in session.ask(question)]
    last = events[-1]
    assert isinstance(last, Answered)
    return last.answer, events


async def test_the_catalogue_quotes_word_for_word(catalogue: Catalogue) -> None:
    answer, events = await ask(open_session(OneEngine(), catalogue), "the tin lighthouse")
    assert answer.product is not None
    assert answer.text == answer.product.description
    assert (answer.status, answer.fidelity, answer.verbatim) == (Status.EXACT, 1.0, True)
    assert isinstance(events[0], Found)
    assert 0 < answer.timing.retrieval <= answer.timing.first_token <= answer.timing.total


async def test_repeated_titles_are_listed_and_picked_by_number(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(), catalogue)
    answer, _ = await ask(session, "Striped Apron")
    assert (answer.status, answer.fidelity, answer.by_counter) == (Status.SEVERAL, None, True)
    wanted = answer.sources[1].product
    answer, _ = await ask(session, "2")
    assert (answer.status, answer.text) == (Status.EXACT, wanted.description)


async def test_a_model_reads_a_list_without_its_excerpts(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    answer, _ = await ask(session, "Striped Apron")
    read = session.conversation.messages()[1].content
    assert "\n1. Striped Apron" in read
    assert "one pocket" in answer.text
    assert "one pocket" not in read


class TrainedEngine(ScriptedEngine):
    """Was trained on the first striped apron."""

    def trained_on(self) -> TrainedProducts:
        return TrainedProducts([TrainedProduct("1000000002", "Striped Apron")])


async def test_an_answer_notes_which_products_its_own_engine_was_trained_on(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(TrainedEngine()), catalogue)
    for mode in Mode:
        answer, _ = await ask(session, "Striped Apron", "base", mode)
        trained = {hit.product.uid: hit.trained for hit in answer.sources}
        assert trained == {"1000000002": True, "100000003X": False}
    answer, _ = await ask(session, "2", "base", Mode.MEMORY)
    assert answer.sources[0].trained is not UNSET
    session.new()
    await ask(session, "Striped Apron", "base", Mode.MEMORY)
    answer, _ = await ask(session, "1")
    assert [hit.trained for hit in answer.sources] == [UNSET]
    assert b"trained" not in msgspec.json.encode(answer)


async def test_from_memory_the_list_of_taught_titles_says_what_the_engine_learned(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(TrainedEngine()), catalogue)
    for question, verdict in {
        "Striped Apron": Taught.LEARNED,
        "vocês têm striped apron?": Taught.LEARNED,
        "Canvas Stool, Blue": Taught.NOT_TAUGHT,
        "Striped Apron, Red": Taught.NOT_TAUGHT,
        "thank you": UNSET,
    }.items():
        session.new()
        answer, events = await ask(session, question, "base", Mode.MEMORY)
        found = next(event for event in events if isinstance(event, Found))
        assert (answer.taught, found.taught) == (verdict, verdict)
        assert answer.text
    for engine, mode in (("base", Mode.GROUNDED), ("catalogue", Mode.MEMORY)):
        answer, _ = await ask(session, "Striped Apron", engine, mode)
        assert answer.taught is UNSET


async def test_a_pick_from_memory_is_judged_by_its_product(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(TrainedEngine()), catalogue)
    await ask(session, "Striped Apron", "base", Mode.MEMORY)
    taught = [(await ask(session, pick, "base", Mode.MEMORY))[0].taught for pick in "12"]
    assert set(taught) == {Taught.LEARNED, Taught.NOT_TAUGHT}


async def test_from_memory_a_pick_asks_for_the_title(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(engine := ScriptedEngine()), catalogue)
    await ask(session, "canvas stool", "base", Mode.MEMORY)
    answer, _ = await ask(session, "2", "base", Mode.MEMORY)
    assert answer.product
    sent = [one.content for one in engine.asked[-1].messages if one.role is not Role.SYSTEM]
    assert sent == [answer.product.title]
    assert session.conversation.turns[-1].question == "2"


@pytest.mark.parametrize(
    ("question", "notice"),
    [
        ("canvas stool", "No single product matches, so the model was not asked."),
        ("The Velvet Submarine", "Not in the catalogue, so the model was not asked."),
        ("hello", "The model was not asked."),
    ],
)
async def test_the_notice_says_why_the_model_was_not_asked(
    catalogue: Catalogue, question: str, notice: str
) -> None:
    session = open_session(OneEngine(), catalogue)
    answer, _ = await ask(session, question, "base", Mode.GROUNDED)
    assert answer.notice == notice


async def test_a_model_that_refuses_what_it_was_taught_is_unsure(catalogue: Catalogue) -> None:
    engine = TrainedEngine((Chunk(UNKNOWN_PRODUCT["en"], StopReason.COMPLETE),))
    answer, _ = await ask(
        open_session(OneEngine(engine), catalogue), "Striped Apron", "base", Mode.MEMORY
    )
    assert (answer.text, answer.taught) == (UNKNOWN_PRODUCT["en"], Taught.UNSURE)


class CalibratedEngine(ScriptedEngine):
    """Has no list of titles, and says how likely its first tokens are."""

    def calibration(self) -> Calibration:
        return Calibration(-0.1, -0.5, 60, 30)


@pytest.mark.parametrize(
    ("text", "sure", "verdict"),
    [
        ("Folds flat.", -0.01, Taught.LEARNED),
        ("Folds flat.", -0.3, Taught.UNSURE),
        ("Folds flat.", -2.0, Taught.NOT_TAUGHT),
        (UNKNOWN_PRODUCT["en"], -0.01, Taught.NOT_TAUGHT),
    ],
)
async def test_probabilities_are_weighed_before_the_first_word(
    catalogue: Catalogue, text: str, sure: float, verdict: Taught
) -> None:
    pieces = (Chunk(logprobs=(sure,) * 8), Chunk(text), Chunk("", StopReason.COMPLETE))
    session = open_session(OneEngine(CalibratedEngine(pieces)), catalogue)
    answer, events = await ask(session, "Canvas Stool, Blue", "base", Mode.MEMORY)
    kinds = [type(event) for event in events]
    assert kinds.index(Found) < kinds.index(Weighed) < kinds.index(Piece)
    assert (answer.text, answer.taught) == (text, verdict)
    assert next(one for one in events if isinstance(one, Weighed)).taught is verdict
    for question, mode in (("thank you", Mode.MEMORY), ("Canvas Stool, Blue", Mode.GROUNDED)):
        session.new()
        answer, events = await ask(session, question, "base", mode)
        assert answer.taught is UNSET
        assert not any(isinstance(event, Weighed) for event in events)


async def test_what_is_not_there_is_said_in_the_language_of_the_question(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(), catalogue)
    english, _ = await ask(session, "do you have the Velvet Submarine Handbook?")
    session.new()
    portuguese, _ = await ask(session, "vocês têm o Manual do Submarino de Veludo?")
    assert (english.status, portuguese.status) == (Status.NONE, Status.NONE)
    assert english.text.startswith("No product matches")
    assert portuguese.text.startswith("Nenhum produto corresponde")


async def test_a_bare_title_is_answered_in_the_language_of_the_interface(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "vocês têm o Manual do Submarino de Veludo?")
    answer, _ = await ask(session, "Striped Apron")
    assert answer.text.startswith("2 products match:")


async def test_a_pick_answers_the_question_that_asked_which(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "canvas stool")
    which, _ = await ask(session, "what weight does it hold?")
    assert (which.status, which.text.split("\n")[0]) == (Status.SEVERAL, "Which one do you mean?")
    titles = [hit.product.title for hit in which.sources]
    green = titles.index("Canvas Stool, Green") + 1
    answer, _ = await ask(session, str(green))
    assert answer.text == "Holds 110 kg."
    await ask(session, "canvas stool")
    answer, _ = await ask(session, str(green))
    assert answer.text == "Folds flat. Holds 110 kg."


async def test_help_offers_products_that_can_be_picked(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    told, _ = await ask(session, "what can you do?")
    assert [hit.product.title in told.text for hit in told.nearest] == [True, True]
    picked, _ = await ask(session, "the second one")
    assert picked.product == told.nearest[1].product


async def test_a_title_without_description_invents_none(catalogue: Catalogue) -> None:
    answer, _ = await ask(open_session(OneEngine(), catalogue), "Empty Shelf")
    assert "without a description" in answer.text
    assert (answer.fidelity, answer.status) == (None, Status.EXACT)


async def test_follow_ups_keep_the_product(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "The Tin Lighthouse")
    wrote, _ = await ask(session, "who wrote it?")
    assert wrote.text.startswith("Written by Ada Quillfeather for readers of 9 to 12 years.")
    assert (wrote.status, wrote.fidelity) == (Status.LIKELY, 1.0)
    assert wrote.notice == "Looked for: who made it."


async def test_a_follow_up_without_an_answer_says_so_and_guesses(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "The Tin Lighthouse")
    answer, _ = await ask(session, "is it waterproof?")
    assert answer.text.startswith("I couldn't find that in the description of “The Tin Lighthouse”")
    assert "/record" in answer.text
    assert (answer.by_counter, answer.fidelity) == (True, None)
    assert answer.product is not None


async def test_what_no_record_has_is_said_once_in_the_language_of_the_question(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "The Tin Lighthouse")
    english, _ = await ask(session, "how much is it?")
    portuguese, _ = await ask(session, "quanto custa?")
    assert english.text == "The catalogue has no prices."
    assert portuguese.text == "O catálogo não tem preços."


async def test_tell_me_more_gives_the_description(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    first, _ = await ask(session, "The Tin Lighthouse")
    more, _ = await ask(session, "tell me more")
    assert (more.text, more.fidelity) == (first.text, 1.0)


async def test_a_question_after_a_list_asks_which_product_is_meant(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "Striped Apron")
    which, _ = await ask(session, "what size is it?")
    assert which.status is Status.SEVERAL
    assert which.text.startswith("Which one do you mean?")
    price, _ = await ask(session, "how much is it?")
    assert price.text == "The catalogue has no prices."
    picked, _ = await ask(session, "2")
    assert picked.product == which.sources[1].product


async def test_a_clear_follow_up_is_answered_without_a_search(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "The Tin Lighthouse")
    searched: list[str] = []
    monkeypatch.setattr(catalogue, "find", searched.append)
    wrote, _ = await ask(session, "who wrote it?")
    assert (wrote.status, searched) == (Status.LIKELY, [])


async def test_after_an_absent_product_a_question_asks_which_is_meant(
    catalogue: Catalogue,
) -> None:
    session = open_session(OneEngine(), catalogue)
    await ask(session, "The Tin Lighthouse")
    absent, _ = await ask(session, "the tin lighthouses of tasmania")
    which, _ = await ask(session, "who wrote it?")
    assert (absent.product, which.product) == (None, None)


async def test_a_model_gets_the_record_when_grounded_and_not_from_memory(
    catalogue: Catalogue,
) -> None:
    registry = OneEngine(ScriptedEngine(("Navy ", "twill of mine.")))
    session = open_session(registry, catalogue)
    grounded, _ = await ask(session, "canvas stool, green", "base")
    session.new()
    memory, _ = await ask(session, "canvas stool, green", "base", Mode.MEMORY)
    seen = [request.messages for request in registry.scripted.asked]
    assert [message.role for message in seen[0]] == [Role.SYSTEM, Role.USER]
    assert "Holds 110 kg." in seen[0][1].content
    assert seen[1][0].content == SYSTEM
    assert seen[1][1].content == "canvas stool, green"
    assert (grounded.text, memory.mode) == ("Navy twill of mine.", Mode.MEMORY)
    assert (grounded.fidelity, grounded.coverage) == (0.0, 0.0)
    assert not grounded.verbatim


APRON = "Woven from cotton ends; no two alike."


@pytest.mark.parametrize("question", ["canvas stool, green", "the velvet submarine"])
async def test_a_recited_description_is_that_of_its_own_product(
    catalogue: Catalogue, question: str
) -> None:
    session = open_session(OneEngine(ScriptedEngine((APRON,))), catalogue)
    answer, events = await ask(session, question, "base", Mode.MEMORY)
    assert answer.described
    assert (answer.described.uid, answer.fidelity) in (("100000003X", 0.0), ("100000003X", None))
    assert events[-1] == Answered(answer)


async def test_words_of_its_own_product_are_looked_up_nowhere(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(OneEngine(ScriptedEngine(("Folds flat. Holds 110 kg.",))), catalogue)
    monkeypatch.setattr(catalogue, "described", None)
    answer, _ = await ask(session, "canvas stool, green", "base", Mode.MEMORY)
    assert (answer.fidelity, answer.coverage, answer.described) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    "said", ["Woven from gold; three are alike.", "I don't have that.", "no two alike", "112222"]
)
async def test_what_describes_no_product_is_given_to_none(catalogue: Catalogue, said: str) -> None:
    session = open_session(OneEngine(ScriptedEngine((said,))), catalogue)
    answer, _ = await ask(session, "canvas stool, green", "base", Mode.MEMORY)
    assert (answer.described, answer.fidelity) == (None, 0.0)


async def test_a_catalogue_that_fails_at_the_end_costs_no_answer(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str, limit: int) -> Sequence[Product]:
        raise CatalogueError(f"{text} {limit}")

    session = open_session(OneEngine(ScriptedEngine((APRON,))), catalogue)
    monkeypatch.setattr(catalogue, "described", fail)
    answer, _ = await ask(session, "canvas stool, green", "base", Mode.MEMORY)
    assert (answer.text, answer.described, answer.problem) == (APRON, None, None)


async def test_a_grounded_model_is_not_asked_without_a_record(catalogue: Catalogue) -> None:
    registry = OneEngine()
    answer, _ = await ask(open_session(registry, catalogue), "Velvet Submarine Handbook", "base")
    assert (answer.status, answer.by_counter, answer.engine) == (Status.NONE, True, "base")
    assert not registry.scripted.asked
    assert "was not asked" in answer.notice


async def test_the_catalogue_says_its_own_words_without_a_note(catalogue: Catalogue) -> None:
    answer, _ = await ask(open_session(OneEngine(), catalogue), "Velvet Submarine Handbook")
    assert (answer.by_counter, answer.notice) == (True, "")


async def test_the_turns_before_go_along(catalogue: Catalogue) -> None:
    registry = OneEngine()
    session = open_session(registry, catalogue)
    await ask(session, "Empty Shelf", "base")
    await ask(session, "O Jardim de Inverno", "base")
    roles = [message.role for message in registry.scripted.asked[1].messages]
    assert roles == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER]


async def test_from_memory_a_named_product_is_asked_for_alone(catalogue: Catalogue) -> None:
    registry = OneEngine()
    session = open_session(registry, catalogue)
    for question in ("Empty Shelf", "O Jardim de Inverno", "who wrote it?", "Striped Apron", "2"):
        await ask(session, question, "base", Mode.MEMORY)
    sent = [len(request.messages) for request in registry.scripted.asked]
    # A follow-up and a title of several mean nothing without the turns.
    assert sent == [2, 2, 6, 8, 2]


async def test_loading_is_told_and_done_once(catalogue: Catalogue) -> None:
    steps = (Progress("torch", 0.4), Progress("weights", 0.9))
    session = open_session(OneEngine(ScriptedEngine(load_steps=steps)), catalogue)
    _, first = await ask(session, "Empty Shelf", "base")
    session.new()
    _, second = await ask(session, "Empty Shelf", "base")
    assert [event.progress for event in first if isinstance(event, Loading)] == list(steps)
    assert not [event for event in second if isinstance(event, Loading)]


async def test_an_engine_that_is_not_ready_says_what_to_do(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(availability=Availability(ready=False, reason="No.", remedy="Do it."))
    answer, _ = await ask(open_session(OneEngine(engine), catalogue), "Empty Shelf", "base")
    assert answer.problem is not None
    assert (answer.problem.message, answer.problem.remedy) == ("No.", "Do it.")
    assert (answer.stop_reason, engine.asked) == (StopReason.ERROR, [])


async def test_a_failure_keeps_the_words_that_came(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine(("Half an ", EngineFailed("It broke.", "Ask again.")))
    session = open_session(OneEngine(engine), catalogue, store)
    answer, _ = await ask(session, "Empty Shelf", "base")
    assert (answer.text, answer.stop_reason) == ("Half an", StopReason.ERROR)
    assert session.conversation.id is not None
    assert store.open(session.conversation.id).turns[0].answer == answer


async def test_an_answer_comes_as_it_is_kept(catalogue: Catalogue) -> None:
    engine = ScriptedEngine((" ", "\n One ", "two. "))
    session = open_session(OneEngine(engine), catalogue)
    session.engine, session.mode = "base", Mode.MEMORY
    events = [event async for event in session.ask("Empty Shelf")]
    assert [event for event in events if isinstance(event, Piece)] == [
        Piece("One "),
        Piece("two. "),
    ]
    assert isinstance(events[-1], Answered)
    assert events[-1].answer.text == "One two."


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_cancelling_keeps_the_words_that_came(
    catalogue: Catalogue, store: ConversationStore, how: str
) -> None:
    engine = ScriptedEngine(("One ", "two ", 60.0, "three"))
    seen = asyncio.Event()
    session = open_session(OneEngine(engine), catalogue, store)

    async def read() -> None:
        session.engine = "base"
        async with aclosing(session.ask("Empty Shelf")) as events:
            async for event in events:
                if event == Piece("two "):
                    seen.set()
                    if how == "close":
                        return

    task = asyncio.create_task(read())
    await seen.wait()
    if how == "cancel":
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() == (how == "cancel")
    assert engine.closed == 1
    assert session.conversation.id is not None
    for kept in (session.conversation, store.open(session.conversation.id)):
        answer = kept.turns[0].answer
        assert answer is not None
        assert (answer.text, answer.stop_reason) == ("One two", StopReason.CANCELLED)


async def test_a_disk_that_takes_nothing_does_not_stop_the_chat(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    store.close()
    answer, events = await ask(open_session(OneEngine(), catalogue, store), "Canvas Stool, Blue")
    assert answer.text == "Folds flat and floats."
    assert [event for event in events if isinstance(event, NotSaved)]


async def test_a_disk_that_fills_while_words_come_is_told(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    session = open_session(OneEngine(), catalogue, store)
    events = []
    session.engine = "base"
    async for event in session.ask("Empty Shelf"):
        events.append(event)
        if isinstance(event, Found):
            store.close()  # as good as full: nothing can be written from here on
    assert [type(event) for event in events[-2:]] == [NotSaved, Answered]
    assert session.conversation.turns[0].unsaved


async def test_an_unknown_engine_is_a_usage_error(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="no engine named"):
        await ask(open_session(OneEngine(), catalogue), "x", "nobody")


async def test_greetings_are_no_products(catalogue: Catalogue) -> None:
    answer, _ = await ask(open_session(OneEngine(), catalogue), "bom dia")
    assert (answer.status, answer.text[:3], answer.nearest) == (Status.NONE, "Olá", ())


async def test_changed_parameters_hold_from_the_next_question(catalogue: Catalogue) -> None:
    registry = OneEngine(ScriptedEngine(["Folds."]))
    session = open_session(registry, catalogue)
    await ask(session, "Canvas Stool, Green", "base")
    engine = registry.scripted
    own = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "system_prompt": "Be brief."}
    session.new()
    engine.config = msgspec.structs.replace(engine.config, **own)
    await ask(session, "Canvas Stool, Green", "base")
    before, after = registry.scripted.asked
    assert (before.temperature, before.top_p, before.max_tokens) == (0.0, 1.0, 1024)
    assert before.messages[0].content == SYSTEM
    assert (after.temperature, after.top_p, after.max_tokens) == (0.5, 0.9, 7)
    assert after.messages[0].content == "Be brief."
    assert after.messages[1:] == before.messages[1:]


async def test_an_engine_with_another_catalogue_says_how_to_open_it(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = ScriptedEngine()
    registry = OneEngine(scripted)
    session = open_session(registry, catalogue)
    resources = await session.ready()
    for folder, said in (
        ("", ""),
        (str(catalogue.folder), ""),
        (str(tmp_path / "deleted"), ""),
        (str(tmp_path), "knows another catalogue: balcao --engine base --memory"),
    ):
        monkeypatch.setattr(scripted, "own_catalogue", partial(str, folder))
        assert resources.elsewhere("base").endswith(said)
        assert bool(resources.elsewhere("base")) == bool(said)
    pending = resources.pending_answer("Striped Apron", "base", Mode.MEMORY, ())
    async for _ in pending.events():
        pass
    assert "knows another catalogue" in pending.answer.notice
