"""Complete what is being typed to a title."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.clean import clean
from engine.catalogue.complete import Completer, completer_of
from engine.catalogue.index import build_catalogue

TITLES = (
    "The Tin Lighthouse",
    "Tin Whistle for Beginners",
    "Lighthouse Keeping",
    "Canvas Stool, Green",
    "Canvas Stool, Blue",
    "O Jardim de Inverno",
    "Caf&eacute; Tokyo",
    "Mog's Kittens",
    "Carpentry",
    "/dev/null and Other Voids",
)


Titles = Catalogue | Completer


@pytest.fixture(scope="module", params=["index", "list"])
def titles(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Titles]:
    """The titles in a catalogue, and alike as an adapter's manifest lists them."""
    if request.param == "list":
        yield completer_of(tuple(map(clean, TITLES)))
        return
    folder = tmp_path_factory.mktemp("titles")
    rows = [
        {"uid": f"{n:010}", "title": title, "content": "x", "target_ind": [], "target_rel": []}
        for n, title in enumerate(TITLES)
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    build_catalogue(folder / "rows.jsonl", folder / "index")
    catalogue = Catalogue.open(folder / "index")
    yield catalogue
    catalogue.close()


def completed(titles: Titles, typed: str) -> list[str]:
    return [typed[: found.start] + found.title for found in titles.complete(typed, 20)]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("tin w", "Tin Whistle for Beginners"),
        ("the tin", "The Tin Lighthouse"),
        ("do you have the tin l", "do you have The Tin Lighthouse"),
        ("What is a carp", "What is a Carpentry"),
        ("você tem o jard", "você tem O Jardim de Inverno"),
        ("stool blu", "Canvas Stool, Blue"),
        ("cafe tok", "Café Tokyo"),
        ("mogs kit", "Mog's Kittens"),
        ("Mog's k", "Mog's Kittens"),
        ("/dev", "/dev/null and Other Voids"),
    ],
)
def test_a_title_is_completed_after_the_stop_words(titles: Titles, typed: str, first: str) -> None:
    assert completed(titles, typed)[0] == first


@pytest.mark.parametrize("typed", ["carpnetry b", "crapen", "canvsa stool gr", "lighhtouse ke"])
def test_a_typo_is_corrected(titles: Titles, typed: str) -> None:
    assert completed(titles, typed)


def test_the_shortest_title_comes_first(titles: Titles) -> None:
    assert completed(titles, "canv") == ["Canvas Stool, Blue", "Canvas Stool, Green"]
    assert titles.complete("canv", limit=1)[0].title == "Canvas Stool, Blue"


@pytest.mark.parametrize(
    "typed", ["", " ", "t", "ti", "who wrote it?", "zzzz", "…", "carpentry", "word " * 40, "\0\x1b"]
)
def test_nothing_is_offered_for_short_or_complete_text(titles: Titles, typed: str) -> None:
    assert completed(titles, typed) == []
