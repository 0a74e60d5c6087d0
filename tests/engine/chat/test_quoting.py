"""Quotes: whatever a model replies, an answer has the record's sentences and no other words."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.clean import clean_rows
from engine.catalogue.formats.counts import Counts
from engine.catalogue.language import passages, phrases
from engine.catalogue.read import read_rows
from engine.chat.open import Resources
from engine.chat.quoting import chosen, quoted_spans, read_choice, read_scores, with_choices
from engine.chat.session import Session
from engine.chat.wording import basis, place_words
from engine.config import paths, settings
from engine.core.types import (
    Answer,
    Answered,
    Availability,
    Chunk,
    Decision,
    Hit,
    Mode,
    Product,
    Request,
    Status,
    StopReason,
    Tokens,
)
from tests.engine.chat.test_answer import OneEngine
from tests.scripted import ScriptedEngine

TITLE = "The Tin Lighthouse"
FIRST = "A keeper of sixty climbs three hundred steps each dusk."
SECOND = "Written by Ada Quillfeather for readers of 9 to 12 years."
THIRD = "212 pages."
CHOICES = (FIRST, SECOND, THIRD)
QUESTION = "does it come with a lamp?"
"""The search is not sure of any sentence."""
AGE = "what age is it for?"
"""The search is sure of the second."""
END = Chunk(stop_reason=StopReason.COMPLETE, tokens=Tokens(90, 4))


@pytest.fixture(autouse=True)
def _no_likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages, "likeness", lambda _, sentences: [0.0] * len(sentences))


class RatingEngine(ScriptedEngine):
    """Says how likely each choice is, as a small model does."""

    rates_choices = True


async def ask_twice(
    catalogue: Catalogue, scripted: ScriptedEngine, question: str, mode: Mode = Mode.QUOTE
) -> tuple[Answer, ScriptedEngine]:
    """Ask for a product, then about it; return the second answer."""
    session = Session(
        settings.load(Path("none"), {}), Resources(OneEngine(scripted), catalogue, None)
    )
    session.engine, session.mode = "base", mode
    for asked in (TITLE, question):
        events = [event async for event in session.ask(asked)]
    last = events[-1]
    assert isinstance(last, Answered)
    return last.answer, scripted


async def test_where_the_search_is_sure_no_model_is_asked(catalogue: Catalogue) -> None:
    answer, engine = await ask_twice(catalogue, ScriptedEngine(), AGE)
    assert (answer.text, answer.mode, answer.verbatim) == (SECOND, Mode.QUOTE, True)
    assert (answer.fidelity, len(engine.asked)) == (1.0, 1)
    assert place_words(answer) == "sentence 2 of 3"
    assert basis(answer).startswith("quote, chosen by the search")
    quoted = answer.sources[0].quoted
    assert quoted
    assert [answer.sources[0].product.description[slice(*one)] for one in quoted] == [SECOND]


async def test_the_first_question_is_answered_as_grounded(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(("Words of mine.",))
    session = Session(
        settings.load(Path("none"), {}), Resources(OneEngine(engine), catalogue, None)
    )
    session.engine = "base"
    assert session.mode is Mode.QUOTE
    *_, last = [event async for event in session.ask(TITLE)]
    assert isinstance(last, Answered)
    assert (last.answer.mode, last.answer.text) == (Mode.GROUNDED, "Words of mine.")


@pytest.mark.parametrize("mode", [Mode.GROUNDED, Mode.MEMORY])
async def test_the_other_modes_let_the_model_write(catalogue: Catalogue, mode: Mode) -> None:
    answer, _ = await ask_twice(catalogue, ScriptedEngine(("Yes!",)), "how many pages?", mode)
    assert (answer.text, answer.mode) == ("Yes!", mode)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ('{"sentence": 1}', FIRST),
        ("```json\n{'sentence': 2}\n```".replace("'", '"'), SECOND),
        ("3.", THIRD),
        (f"<think>Is it 1? Or 2?</think>\n{THIRD}", THIRD),
        (f"The answer is: “{SECOND}”", SECOND),
    ],
)
async def test_where_it_is_not_the_model_chooses(
    catalogue: Catalogue, reply: str, text: str
) -> None:
    answer, engine = await ask_twice(catalogue, ScriptedEngine((reply, END)), QUESTION)
    assert (answer.text, answer.by_counter) == (text, False)
    assert set(engine.asked[-1].choices) == set(CHOICES)
    assert all(one in engine.asked[-1].messages[-1].content for one in (*CHOICES, QUESTION))
    assert basis(answer).startswith("quote, chosen by the model")


@pytest.mark.parametrize("reply", ['{"sentence": 0}', "0"])
async def test_none_of_them_is_a_choice(catalogue: Catalogue, reply: str) -> None:
    answer, _ = await ask_twice(catalogue, ScriptedEngine((reply, END)), QUESTION)
    assert answer.by_counter
    assert answer.text.startswith("I couldn't find that in the description of")
    assert not any(one in answer.text for one in CHOICES)


async def test_scores_are_added_to_those_of_the_search(catalogue: Catalogue) -> None:
    scored = json.dumps([-9.0, -80.0, -7.5])
    answer, _ = await ask_twice(catalogue, ScriptedEngine((scored, END)), QUESTION)
    assert answer.by_counter  # the search is not sure, and scores do not make it so
    assert answer.text.endswith(f"{FIRST}\n\n{THIRD}")


@pytest.mark.parametrize(
    ("scores", "text"),
    [
        ([-9.0, -8.0, -20.0], f"{FIRST} {SECOND}"),
        ([-20.0, -20.0, -1.0], f"{SECOND} {THIRD}"),
        ([-20.0, -8.0, -20.0], SECOND),
    ],
)
async def test_a_model_that_rates_adds_to_the_only_sentence(
    catalogue: Catalogue, scores: list[float], text: str
) -> None:
    answer, engine = await ask_twice(catalogue, RatingEngine((json.dumps(scores), END)), AGE)
    assert (answer.text, answer.by_counter) == (text, False)
    assert set(engine.asked[-1].choices) == set(CHOICES)


async def test_an_engine_that_is_not_ready_answers_nothing(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(availability=Availability(ready=False, reason="No.", remedy="Wait."))
    answer, _ = await ask_twice(catalogue, engine, "how many pages?")
    assert answer.problem
    assert not answer.text


@pytest.mark.parametrize(
    "reply",
    ["", "4", "-1", "[1, 2]", f"{FIRST} {SECOND}", '{"sentence": null}', "x" * 9],
)
def test_other_replies_choose_nothing(reply: str) -> None:
    assert read_choice(reply, CHOICES) is None
    assert read_scores(reply, CHOICES) == []


def test_places_of_sentences() -> None:
    record = " ".join(CHOICES)
    assert quoted_spans(f"{FIRST} {THIRD}", record) == (
        (0, len(FIRST)),
        (len(record) - 10, len(record)),
    )
    assert quoted_spans(f"{THIRD} {FIRST}", record) == ()
    assert quoted_spans(f"{FIRST} More.", record) == ()


ENGINES = (ScriptedEngine(), RatingEngine())


def hostile_reply(number: random.Random, choices: Sequence[str]) -> str:
    """Return what a model or a server might reply that does not do as it was asked."""
    one, other = number.choice(choices), number.choice(choices)
    place = number.randrange(-2, len(choices) + 3)
    return number.choice(
        (
            json.dumps({"sentence": place}),
            json.dumps({"sentence": one, "answer": "Invented."}),
            json.dumps([number.uniform(-90, 0) for _ in choices]),
            f"{place}",
            f"{one} And a word more.",
            one.replace(" ", "  ").upper(),
            one[: len(one) // 2],
            f"{one} {other}",
            f"<think>{other}</think>{one}",
            "It costs 5 dollars and is blue.",
            "\x1b[2J" + one[::-1],
            "[NaN, 1e999]",
            "",
        )
    )


def hostile_requests(count: int) -> Iterator[tuple[Request, Product, random.Random]]:
    """Yield requests for a choice about products of the sample, in both languages."""
    number = random.Random(7)  # noqa: S311 - the same examples each time
    products = list(clean_rows(read_rows(paths.sample_source(), Counts()), Counts()))
    questions = (QUESTION, "and what about the shade?", "tem alguma coisa assim?", "é bom mesmo?")
    for product in itertools.cycle(products):
        decision = Decision(Status.LIKELY, (Hit(product, 1.0),))
        request = Request(
            number.choice(questions), Mode.QUOTE, (), decision, True, number.choice(("en", "pt"))
        )
        asked = with_choices(request, number.choice(ENGINES))
        if asked.choices:
            yield asked, product, number
            count -= 1
        if not count:
            return


def own_words(text: str, product: Product) -> str:
    """Return the words of an answer after the program's own."""
    for known in phrases.PHRASES.values():
        text = text.removeprefix(known["not_found"].format(title=" ".join(product.title.split())))
        text = text.replace(known["whole"], "", 1).replace(known["guess"], "", 1)
    return text


async def test_a_thousand_answers_have_no_word_that_is_not_the_records() -> None:
    quoted = 0
    for request, product, number in hostile_requests(1000):
        reply = hostile_reply(number, request.choices)
        pieces = [reply[at : at + 7] for at in range(0, len(reply), 7)]
        engine = number.choice((ScriptedEngine, RatingEngine))([*pieces, END])
        (chunk,) = [one async for one in chosen(engine, request, product)]
        left = own_words(chunk.text, product) if chunk.by_counter else chunk.text
        for sentence in sorted(passages.split_sentences(product.description), key=len)[::-1]:
            left = left.replace(sentence, "")
        assert not left.strip(), (reply, chunk.text)
        quoted += not chunk.by_counter
    assert 100 < quoted < 900
