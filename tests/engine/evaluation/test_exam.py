"""Questions for a score that cannot flatter: untrained wordings, near misses of known titles."""

from __future__ import annotations

from engine.catalogue.rows.typist import title_key
from engine.evaluation.exam import Wording, ask_untrained, near_misses, reworded
from engine.evaluation.questions import title_of
from engine.prompts import FORM_LANGUAGES, QUESTION_FORMS, UNTRAINED_FORMS

TITLES = [
    "Canvas Stool, Blue",
    "Regador de Zinco Pintado, 5 Litros",
    "Kite: The Ragged Raven",
    "Ferns of Damp Places [Large Print]",
    "Henrietta",
    "Old Mole Tea Infuser",
]
MANY = [f"{title} of Volume {number}" for title in TITLES for number in range(5)]


def test_no_untrained_form_is_a_trained_one() -> None:
    forms = [form for some in UNTRAINED_FORMS.values() for form in some]
    assert len(set(forms)) == len(forms) >= 10
    assert set(forms).isdisjoint(QUESTION_FORMS)
    assert UNTRAINED_FORMS.keys() == set(FORM_LANGUAGES.values())
    # Else a question in one would be a question in another with more of a title.
    assert all(title_of(form.format(title="X")) == form.format(title="X") for form in forms)


def test_each_title_is_asked_once_and_every_wording_has_its_turn() -> None:
    found = list(reworded(TITLES * 5, TITLES))
    assert len(found) == 30
    counts = {wording: [one for one, _ in found].count(wording) for wording in Wording}
    assert min(counts.values()) >= 1
    for (wording, question), title in zip(found, TITLES * 5, strict=True):
        match wording:
            case Wording.LOWER_CASE:
                assert title.lower() in question == question.lower()
            case Wording.TYPO:
                assert title.lower() not in question.lower()
            case Wording.SHORT_TITLE:
                assert title not in question
                assert title.split(":")[0].split(" [")[0].lower() in question.lower()
            case _:
                assert title.lower() in question.lower()


def test_the_same_seed_asks_the_same() -> None:
    assert list(reworded(MANY, MANY, 1)) == list(reworded(MANY, MANY, 1))
    assert list(reworded(MANY, MANY, 1)) != list(reworded(MANY, MANY, 2))
    assert ask_untrained("Henrietta", 3) == ask_untrained("Henrietta", 13)


def test_a_near_miss_is_close_to_its_title_and_none_that_is_taught() -> None:
    keys = {title_key(title) for title in MANY}
    found = list(near_misses(MANY, MANY))
    assert len(found) == len(MANY)
    for title, other in zip(MANY, found, strict=True):
        assert title_key(other) not in keys
        shared = set(title.lower().split()) & set(other.lower().split())
        assert len(shared) >= len(title.split()) - 2
    assert len({_kind(title, other) for title, other in zip(MANY, found, strict=True)}) > 2


def _kind(title: str, other: str) -> str:
    if "[" in other or "(" in other:
        return "edition"
    same = title.translate(_NO_DIGITS) == other.translate(_NO_DIGITS)
    return "number" if same else "word"


_NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))


def test_a_title_of_one_word_has_a_near_miss_too() -> None:
    assert list(near_misses(["Mudwork"], ["Mudwork"])) != []
    assert list(near_misses(["!!!"], ["!!!"])) != []
