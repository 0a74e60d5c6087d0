"""Recognise questions about no product, in both languages, and no titles among them."""

from __future__ import annotations

import pytest

from engine.catalogue.language.phrases import PHRASES, courtesy
from engine.catalogue.language.small_talk import is_small_talk, kind_to_list, small_talk
from engine.core.types import Hit, Product


@pytest.mark.parametrize(
    ("question", "kind", "language"),
    [
        ("Hi there!", "hello", "en"),
        ("Bom dia", "hello", "pt"),
        ("olá, tudo bem?", "well", "pt"),
        ("hello, how are you?", "well", "en"),
        ("Obrigada!", "thanks", "pt"),
        ("thanks for your help", "thanks", "en"),
        ("tchau", "bye", "pt"),
        ("who are you?", "who", "en"),
        ("Qual é o seu nome?", "who", "pt"),
        ("what can you do?", "help", "en"),
        ("Help!", "help", "en"),
        ("O que posso perguntar?", "help", "pt"),
        ("ajuda", "help", "pt"),
        ("ok", "noted", None),
    ],
)
def test_small_talk_has_a_kind_and_a_language(
    question: str, kind: str, language: str | None
) -> None:
    assert small_talk(question) == (kind, language)


@pytest.mark.parametrize(
    "question",
    [
        "Hello Kitty",
        "Hi-Fi Speakers",
        "Oil",
        "Thanksgiving Plates",
        "Thanks for the Memories",
        "“Help!”",
        "Ajuda de Mãe",
        "how does it work?",
        "como funciona?",
        "",
        "help " * 1000,
    ],
)
def test_titles_and_follow_ups_are_no_small_talk(question: str) -> None:
    assert not is_small_talk(question)


def test_a_reply_is_in_the_language_of_the_question_if_that_shows() -> None:
    assert courtesy("bom dia", "en") == PHRASES["pt"]["hello"]
    assert courtesy("ok", "pt") == PHRASES["pt"]["noted"]
    assert courtesy("the tin lighthouse", "en") == ""


def test_help_lists_examples_if_there_are_any() -> None:
    examples = (Hit(Product("1", "Desk", "Oak."), 0.0), Hit(Product("2", "Lamp", "Tin."), 0.0))
    text = courtesy("what can you do?", "pt", examples)
    assert text.startswith(PHRASES["en"]["help"])
    assert text.endswith("For example:\n\n1. Desk (1)\n   Oak.\n2. Lamp (2)\n   Tin.")
    assert courtesy("ajuda", "en") == PHRASES["pt"]["help"]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("list your books", "books"),
        ("Please show me some board games!", "board games"),
        ("what DVDs do you have?", "dvds"),
        ("quais livros vocês têm?", "livros"),
        ("liste os seus livros", "livros"),
        ("show me the tin lighthouse", ""),
        ("list", ""),
        ("what do you have?", ""),
        ("“list your books”", ""),
    ],
)
def test_a_question_for_a_list_names_a_kind(question: str, kind: str) -> None:
    assert kind_to_list(question) == kind
