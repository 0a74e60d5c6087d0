"""What is told about an answer."""

from __future__ import annotations

import pytest

from engine.chat.wording import describe, drawn_share, faithfulness, wrong_product
from engine.core.types import Answer, Hit, Mode, Product, Status, StopReason, Timing, Tokens

RECORD = Hit(Product("012X", "Tin [b]", "Rings twice a day."), 1.0)


def answer(**changed: object) -> Answer:
    values: dict[str, object] = {
        "question": "q",
        "engine": "lora",
        "mode": Mode.GROUNDED,
        "status": Status.EXACT,
        "text": RECORD.product.description,
        "stop_reason": StopReason.COMPLETE,
        "sources": (RECORD,),
        "fidelity": 1.0,
        "coverage": 1.0,
        "timing": Timing(1.0, 500.0, 2500.0),
        **changed,
    }
    return Answer(**values)  # type: ignore[arg-type]


FIRST = "500 ms to the first word, 2.5 s"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, f"Tin [b] (012X) · grounded · word for word · {FIRST}"),
        ({"verbatim": True}, "Tin [b] (012X) · word for word · 2.5 s"),
        ({"mode": Mode.MEMORY}, f"Tin [b] (012X) · from memory · word for word · {FIRST}"),
        ({"text": "Rings"}, f"Tin [b] (012X) · grounded · excerpt, word for word · {FIRST}"),
        (
            {"text": "x", "fidelity": 0.619},
            f"Tin [b] (012X) · grounded · 61% from the description · {FIRST}",
        ),
        (
            {"text": "x", "fidelity": 0.0},
            f"Tin [b] (012X) · grounded · not from the description · {FIRST}",
        ),
        (
            {"status": Status.LIKELY, "verbatim": True},
            "Tin [b] (012X) · best match · word for word · 2.5 s",
        ),
        (
            {"status": Status.SEVERAL, "verbatim": True, "fidelity": None},
            "1 product matches · 2.5 s",
        ),
        (
            {"status": Status.NONE, "sources": (), "mode": Mode.MEMORY, "fidelity": None},
            f"from memory, no product matches · {FIRST}",
        ),
        (
            {"status": Status.NONE, "sources": (), "text": "", "fidelity": None},
            "grounded · 2.5 s",
        ),
        (
            {"status": Status.NONE, "question": "bom dia", "verbatim": True, "fidelity": None},
            "2.5 s",
        ),
        (
            {"stop_reason": StopReason.LENGTH, "tokens": Tokens(9, 100)},
            (
                "Tin [b] (012X) · grounded · word for word · cut at the length limit"
                f" · {FIRST}, 50 tokens/s"
            ),
        ),
        (
            {"tokens": Tokens(9, 100, 80, 79)},
            (
                "Tin [b] (012X) · grounded · word for word"
                f" · {FIRST}, 50 tokens/s, 98% of the draft accepted"
            ),
        ),
        (
            {"stop_reason": StopReason.REPEATED},
            f"Tin [b] (012X) · grounded · word for word · stopped · {FIRST}",
        ),
        (
            {"stop_reason": StopReason.ERROR, "text": "", "fidelity": None},
            "Tin [b] (012X) · grounded · no answer · 2.5 s",
        ),
    ],
)
def test_one_line_about_an_answer(changed: dict[str, object], told: str) -> None:
    assert describe(answer(**changed)) == told


def test_an_answer_of_an_older_version_is_measured_again() -> None:
    flattered = answer(text="A 1122 twice a", fidelity=0.5, coverage=None)
    assert faithfulness(flattered) == "not from the description"
    assert drawn_share(flattered) == 0.0


def test_only_a_whole_description_has_a_full_bar() -> None:
    assert drawn_share(answer()) == 1.0
    assert drawn_share(answer(text="twice a day", coverage=0.75)) is None
    assert drawn_share(answer(text="x", fidelity=0.6)) == 0.6
    assert drawn_share(answer(fidelity=None, coverage=None)) is None


def test_another_products_description_is_named() -> None:
    assert wrong_product(answer()) == ""
    told = wrong_product(answer(described=Product("1", "Mudwork\x1b", "Clay.")))
    assert told == "This is the description of Mudwork."
