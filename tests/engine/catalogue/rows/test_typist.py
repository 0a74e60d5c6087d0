"""Questions are varied as people type them: often in lower case, never beyond recognition."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.catalogue.rows.typist import Typist, clear_short_titles, short_title, title_keys

TITLE = "The Brass Kettle: A Story in 1.5 Parts (Paperback)"
FORM = "What is the description of “{title}”?"
PLAIN = FORM.format(title=TITLE)


def typed(share: float = 1.0, short: str = "", seed: int = 0) -> list[str]:
    typist = Typist(share, seed)
    return [typist.question(FORM, TITLE, str(number), short) for number in range(2_000)]


def test_the_share_of_varied_questions_is_the_one_asked_for() -> None:
    varied = sum(map(bool, typed(0.4)))
    assert 700 < varied < 900
    assert not any(typed(0.0))
    assert all(typed(1.0))


def test_all_that_people_leave_out_occurs_and_much_stays() -> None:
    found = typed()
    assert 0.6 < sum(one.islower() for one in found) / len(found) < 0.9
    assert 0.2 < sum("?" not in one for one in found) / len(found) < 0.5
    same = [one for one in found if one.lower() in (PLAIN.lower(), "".join(typed_bare()))]
    mistyped = len(found) - len(same)
    assert 0.15 < mistyped / len(found) < 0.35


def typed_bare() -> str:
    return "what is the description of the brass kettle a story in 1.5 parts paperback"


def test_a_question_has_one_typo_at_most_inside_a_word() -> None:
    letters = Counter(PLAIN.lower())
    for one in typed():
        words = one.split()
        assert len(words) == len(PLAIN.split())
        assert [word[:1] for word in words[:3]] in (["W", "i", "t"], ["w", "i", "t"])
        kept = Counter(one.lower())
        letters_only = {key: kept[key] - letters[key] for key in letters if key.isalpha()}
        assert sum(map(abs, letters_only.values())) <= 1
        assert "1.5" in one


def test_short_titles_stand_for_the_whole_in_a_part_of_the_questions() -> None:
    found = typed(short="The Brass Kettle")
    assert 0.35 < sum("stor" not in one.lower() for one in found) / len(found) < 0.65


def test_the_same_seed_gives_the_same_questions() -> None:
    assert typed(0.5) == typed(0.5)
    assert typed(0.5) != typed(0.5, seed=1)


@pytest.mark.parametrize(
    ("title", "short"),
    [
        (TITLE, "The Brass Kettle"),
        ("Worship at Noon [VHS]", "Worship at Noon"),
        ("12:30 Express", ""),
        ("A: B", ""),
        ("(Untitled)", ""),
        ("Plain Title", ""),
    ],
)
def test_short_titles_end_before_the_subtitle_or_bracket(title: str, short: str) -> None:
    assert short_title(title) == short


def test_a_short_title_that_could_be_another_product_is_none() -> None:
    titles = ["Mog: Kittens", "Mogs Day: One", "Mogs day: Two", "Tides (DVD)", "Tides", "Owls [CD]"]
    assert clear_short_titles(titles) == {"Owls"}


def test_titles_of_the_same_words_have_one_key() -> None:
    assert title_keys("Étude, “No. 2”") == title_keys("no 2 étude")
