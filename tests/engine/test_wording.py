"""What is told about an answer."""

from __future__ import annotations

import pytest

from engine.types import Answer, Hit, Mode, Product, Status, StopReason, Timing, Tokens
from engine.wording import describe

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
        "timing": Timing(1.0, 500.0, 2500.0),
        **changed,
    }
    return Answer(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "Tin [b] (012X) · grounded · word for word · 2.5 s"),
        ({"verbatim": True}, "Tin [b] (012X) · word for word · 2.5 s"),
        ({"mode": Mode.MEMORY}, "Tin [b] (012X) · from memory · word for word · 2.5 s"),
        ({"text": "Rings"}, "Tin [b] (012X) · grounded · the record's words, in part · 2.5 s"),
        (
            {"text": "x", "fidelity": 0.619},
            "Tin [b] (012X) · grounded · 61 % the record's words · 2.5 s",
        ),
        (
            {"text": "x", "fidelity": 0.0},
            "Tin [b] (012X) · grounded · not the record's words · 2.5 s",
        ),
        (
            {"status": Status.LIKELY, "verbatim": True},
            "Tin [b] (012X) · taken to mean this · word for word · 2.5 s",
        ),
        (
            {"status": Status.SEVERAL, "verbatim": True, "fidelity": None},
            "1 products fit · 2.5 s",
        ),
        (
            {"status": Status.NONE, "sources": (), "mode": Mode.MEMORY, "fidelity": None},
            "from memory, not in the catalogue · 2.5 s",
        ),
        (
            {"stop_reason": StopReason.LENGTH, "tokens": Tokens(9, 100)},
            (
                "Tin [b] (012X) · grounded · word for word · cut at the length limit"
                " · 2.5 s, 50 tokens/s"
            ),
        ),
        (
            {"stop_reason": StopReason.ERROR, "text": "", "fidelity": None},
            "Tin [b] (012X) · grounded · no answer · 2.5 s",
        ),
    ],
)
def test_one_line_about_an_answer(changed: dict[str, object], told: str) -> None:
    assert describe(answer(**changed)) == told
