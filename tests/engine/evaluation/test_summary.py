"""What `balcao evaluate` prints: a verdict, and a table that fits 80 columns."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.evaluation import summary
from engine.evaluation.questions import Group
from engine.evaluation.report import Report
from engine.evaluation.statistics import Figures, bootstrap, wilson


def figures(target: str, group: Group, right: int, count: int = 20) -> Figures:
    values = [True] * right + [False] * (count - right)
    found = Figures(target, group, count, 0, refused=wilson(values))
    if group is Group.INVENTED:
        return found
    fidelity = bootstrap([float(value) for value in values])
    return replace(found, word_for_word=wilson(values), fidelity=fidelity)


def report(*given: Figures, titles: dict[str, str]) -> Report:
    groups = {one.group: one.questions for one in given}
    return Report(1, groups, True, titles, {}, list(given), [], {}, [], {}, 0, [])


TITLES = {
    "catalogue": "Catalogue",
    "base:memory": "Base Llama of a very long name, from memory",
    "lora:memory": "LoRA pt, from memory",
}
MANY = report(
    *(
        figures(key, group, right)
        for group in Group
        for key, right in zip(TITLES, (20, 0, 19), strict=True)
    ),
    titles=TITLES,
)


def test_the_verdict_is_about_the_best_model() -> None:
    assert summary.verdict(MANY) == (
        "Best: LoRA pt, from memory: word for word 19 of 20 learned and 19 of 20 not learned; said"
        " no to 19 of 20 invented."
    )
    catalogue = report(figures("catalogue", Group.UNTRAINED, 18), titles=TITLES)
    assert summary.verdict(catalogue) == "Catalogue: word for word 18 of 20 not learned."


def test_the_table_has_a_line_for_each_engine_and_fits() -> None:
    lines = summary.table(MANY)
    assert max(map(len, lines)) <= summary.WIDTH
    assert len(lines) == 2 + len(TITLES)
    assert lines[0].split("  ")[-1] == "invented (20)"
    assert lines[4].startswith("LoRA pt, from memory")
    assert "95.0%  0.950" in lines[4]


@pytest.mark.parametrize("group", [Group.TRAINED, Group.UNTRAINED, Group.INVENTED])
def test_a_table_of_one_group(group: Group) -> None:
    lines = summary.table(report(figures("lora:memory", group, 20), titles={"lora:memory": "L"}))
    assert "100.0%" in lines[2]
