"""What leans on the turn before, and what does not."""

from __future__ import annotations

import pytest

from engine.catalogue.language.phrases import language_of
from engine.chat.followup import in_hand, is_about, needs_no_search, pick_from_list
from engine.core.types import (
    Answer,
    Conversation,
    Decision,
    Hit,
    Mode,
    Product,
    Status,
    StopReason,
    Turn,
)

LIST = tuple(Hit(Product(str(n), f"Title {n}", ""), 1.0) for n in range(1, 4))


def after(status: Status) -> Conversation:
    several = status is Status.SEVERAL
    answer = Answer(
        "q",
        "catalogue",
        Mode.GROUNDED,
        status,
        "…",
        StopReason.COMPLETE,
        sources=LIST if several else (),
        nearest=() if several else LIST,
    )
    return Conversation(turns=[Turn("q", answer), Turn("now")])


@pytest.mark.parametrize(
    "question",
    [
        "2",
        " 2.",
        "#2",
        "number 2",
        "nº 2",
        "o 2",
        "número 2",
        "the second one",
        "Second, please",
        "2nd",
        "o segundo",
        "a segunda?",
        "a 2ª",
        "tell me about the second one",
        "fale sobre o segundo",
        "number two",
        "2. Title 2",
    ],
)
@pytest.mark.parametrize("status", [Status.SEVERAL, Status.NONE])
def test_a_number_picks_from_the_list(question: str, status: Status) -> None:
    decision = pick_from_list(question, after(status))
    assert decision is not None
    assert decision.product == LIST[1].product


@pytest.mark.parametrize("question", ["the last one", "last", "o último", "a última", "third"])
def test_the_last_can_be_picked(question: str) -> None:
    decision = pick_from_list(question, after(Status.SEVERAL))
    assert decision is not None
    assert decision.product == LIST[-1].product


def test_one_after_the_other_is_picked_from_a_list() -> None:
    conversation = after(Status.SEVERAL)
    for question in ("2", "the last one"):
        decision = pick_from_list(question, conversation)
        assert decision is not None
        answer = Answer(
            question, "catalogue", Mode.GROUNDED, Status.EXACT, "…", StopReason.COMPLETE,
            sources=decision.hits,
        )  # fmt: skip
        conversation.turns.append(Turn(question, answer))
    assert decision
    assert decision.product == LIST[2].product


def test_another_question_ends_picking_by_place_but_not_by_title() -> None:
    conversation = after(Status.SEVERAL)
    one = Answer("x", "catalogue", Mode.GROUNDED, Status.EXACT, "…", StopReason.COMPLETE, LIST[:1])
    conversation.turns.append(Turn("Title 1", one))
    assert pick_from_list("2", conversation) is None
    decision = pick_from_list("2. Title 2", conversation)
    assert decision is not None
    assert decision.product == LIST[1].product


@pytest.mark.parametrize(
    "question",
    ["0", "4", "12 Angry Hens", "2001", "", "1. Title 2", "the fourth", "Second Hand Cars", "the"],
)
def test_other_numbers_do_not(question: str) -> None:
    assert pick_from_list(question, after(Status.SEVERAL)) is None


def test_nothing_to_pick_from() -> None:
    assert pick_from_list("1", Conversation()) is None


LIGHTHOUSE = Product(
    "1", "The Tin Lighthouse", "A keeper of sixty climbs each dusk. 212 pages. Folds away."
)
LOOM = Product("2", "The Loom and the Hare", "A weaver finds a hare under the treadle of her loom.")
SHELVES = Product("6", "Do It Yourself: Shelves for Sheds", "Oak.")
APRONS = tuple(Hit(Product(str(n), "Striped Apron", "Twill."), 1.0) for n in (3, 4))
NOTHING = Decision(Status.NONE)


def found(product: Product, status: Status = Status.LIKELY) -> Decision:
    return Decision(status, (Hit(product, 1.0),))


@pytest.mark.parametrize(
    "question",
    [
        "who wrote it?",
        "Is it for children?",
        "and what size is it",
        "who is the author?",
        "quem escreveu?",
        "É bom para crianças? qual a idade dele?",
        "tell me more",
        "how many pages?",
        "e o tamanho?",
        "size?",
        "price",
        "serve para crianças?",
        "posso lavar na máquina?",
        "does the lid come off?",
        "is a pump needed?",
        "suitable for a 5-year-old?",
        "and the lamp?",
        "do you have it in red?",
        "is it a DVD?",
        "DVD?",
        "quanto custa?",
        "preciso montar?",
        "quero saber o preço",
        "dobra para guardar?",
        "quais outros livros ele escreveu?",
    ],
)
@pytest.mark.parametrize(
    "decision", [NOTHING, Decision(Status.SEVERAL, APRONS), found(LOOM), found(LIGHTHOUSE)]
)
def test_a_short_question_that_names_no_title_stays_with_the_product(
    question: str, decision: Decision
) -> None:
    assert is_about(LIGHTHOUSE, question, decision)


@pytest.mark.parametrize(
    ("question", "decision"),
    [
        ("It", found(Product("5", "It", ""), Status.EXACT)),
        ("Do you have The Loom and the Hare?", found(LOOM, Status.EXACT)),
        ("who wrote the loom and the hare?", found(LOOM, Status.EXACT)),
        ("and the loom?", found(LOOM)),
        ("and do it yourself shelves for sheds?", found(SHELVES, Status.EXACT)),
        ("who wrote the one on a weaver, treadle and hare?", found(LOOM)),
        ("is it like The Loom and the Hare?", found(LOOM, Status.EXACT)),
        ("The Tin Lighthouse", found(LIGHTHOUSE, Status.EXACT)),
        ("what is the tin lighthouse?", found(LIGHTHOUSE, Status.EXACT)),
        ("apron?", NOTHING),
        ("a weaver is handed a hare by her father", NOTHING),
        ("how to knit socks and jumpers", NOTHING),
        ("what is curtain about?", NOTHING),
        ("red shoes?", NOTHING),
        ("preciso de um avental", NOTHING),
        ("any aprons?", Decision(Status.SEVERAL, APRONS)),
        ("dog training", NOTHING),
        ("kids", NOTHING),
        ("something for a 5-year-old", NOTHING),
        ("do you have aprons?", Decision(Status.SEVERAL, APRONS)),
        ("what books are for children?", NOTHING),
        ("vocês têm aventais?", NOTHING),
        (
            "What is the story of the loom and the hare and all that came of them in winter?",
            NOTHING,
        ),
    ],
)
def test_a_question_that_names_another_product_or_searches_leaves_it(
    question: str, decision: Decision
) -> None:
    assert not is_about(LIGHTHOUSE, question, decision)


def test_after_a_list_a_question_asks_which_product_is_meant() -> None:
    decision = in_hand(after(Status.SEVERAL), "what size is it?", NOTHING)
    assert decision == Decision(Status.SEVERAL, LIST)


FOUND = Answer("t", "catalogue", Mode.GROUNDED, Status.EXACT, "…", StopReason.COMPLETE, LIST[:1])


def test_after_an_absent_product_a_question_is_not_about_an_older_one() -> None:
    answer = Answer(
        "a purple unicorn", "catalogue", Mode.GROUNDED, Status.NONE, "…", StopReason.COMPLETE,
        nearest=LIST, verbatim=True,
    )  # fmt: skip
    turns = [Turn("t", FOUND), Turn("a purple unicorn", answer)]
    decision = in_hand(Conversation(turns=turns), "what size is it?", NOTHING)
    assert decision == Decision(Status.SEVERAL, LIST)


def test_small_talk_leaves_the_product_in_hand() -> None:
    thanks = Answer("thanks", "catalogue", Mode.GROUNDED, Status.NONE, "…", StopReason.COMPLETE)
    turns = [Turn("t", FOUND), Turn("thanks", thanks)]
    decision = in_hand(Conversation(turns=turns), "what size is it?", NOTHING)
    assert decision
    assert decision.product == LIST[0].product


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("what size is it?", True),
        ("e o preço?", True),
        ("does the lid come off it?", True),
        ("It", False),
        ("Is it Love?", False),
        ("the tin lighthouse", False),
        ("and the lamp?", False),
    ],
)
def test_a_clear_follow_up_needs_no_search(question: str, expected: bool) -> None:
    assert needs_no_search(question) is expected


def test_without_a_product_the_search_decides() -> None:
    assert in_hand(Conversation(), "what size is it?", NOTHING) is None


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Do you have the apron?", "en"),
        ("Vocês têm o avental?", "pt"),
        ("Qual a descrição do livro 'The Book of the Dead'?", "pt"),
        ("What is “O Jardim da Dona”?", "en"),
        ("Mog", "en"),
    ],
)
def test_language(question: str, language: str) -> None:
    assert language_of(question) == language


def test_language_stays_where_words_do_not_tell() -> None:
    assert language_of("2", "pt") == "pt"
