"""The report: correct figures, inert text, one HTML file that loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from engine.catalogue.language.phrases import undecided
from engine.core.trained_products import Calibration
from engine.core.types import (
    Decision,
    Hit,
    Mode,
    Product,
    Status,
    StopReason,
    Taught,
    Timing,
    Tokens,
)
from engine.evaluation import render
from engine.evaluation.ask import SavedAnswer, Target
from engine.evaluation.confidence import RiskPoint
from engine.evaluation.metrics import AnswerScores, Verdict, score_answer
from engine.evaluation.questions import Group, Question, QuestionRow, make_question
from engine.evaluation.render import as_html, as_markdown
from engine.evaluation.report import PlotPoint, Report, gather
from engine.evaluation.statistics import wilson
from engine.evaluation.summary import _risk, risk_lines
from tests.engine.evaluation.conftest import Bench

CLOSE = Decision(Status.SEVERAL, (Hit(Product("1", "Elm", "A tree."), 0.1),), close=True)

NASTY = (
    "Paint </div><script src='http://x.example/a.js'></script> | ``` **bold** [link](javascript:1)"
    " \x1b[2J\u202e <img src=//x.example/p.png> & more."
)
TRAINED = [
    make_question(
        Group.TRAINED, QuestionRow(f"Describe {n}", n, f"{n} is a stool of oak and iron.")
    )
    for n in "ABCD"
]
FRESH = [make_question(Group.UNTRAINED, QuestionRow(NASTY, NASTY, NASTY))]
MADE_UP = [make_question(Group.INVENTED, QuestionRow(n, n, "")) for n in ("Xo Yu", "Zi Wa")]
ALL = [*TRAINED, *FRESH, *MADE_UP]


def reply(
    target: Target, one: Question, text: str, status: Status = Status.EXACT, **fields: object
) -> SavedAnswer:
    answer = SavedAnswer(
        target.key,
        one.id,
        target.fingerprint,
        text,
        status,
        StopReason.COMPLETE,
        source=one.record,
        tokens=Tokens(50, 11),
        timing=Timing(1.0, 100.0, 1100.0),
    )
    return replace(answer, **fields)


@pytest.fixture
def report(bench: Bench) -> Report:
    """`base` from memory is half right, the catalogue wholly; one answer failed, one is missing."""
    base, catalogue = bench.targets("base:memory,catalogue")
    texts = [TRAINED[0].record, "B is a stool of", "I don't have that.", "A dream of plastic."]
    with bench.answers() as answers:
        for one, text in zip(TRAINED, texts, strict=True):
            answers.add(reply(base, one, text))
            answers.add(reply(catalogue, one, one.record))
        answers.add(reply(base, FRESH[0], "", error="It broke <b>off</b>."))
        answers.add(reply(catalogue, FRESH[0], NASTY, notice="Older <turns>."))
        answers.add(reply(base, MADE_UP[0], "It is a lamp.", Status.NONE, source=""))
        refusal = "I don't have that in the catalogue."
        for one, status in zip(MADE_UP, (Status.NONE, Status.SEVERAL), strict=True):
            answers.add(reply(catalogue, one, refusal, status, by_counter=True, source=""))
        return gather([base, catalogue], ALL, answers, knows_trained=True)


def test_figures(report: Report) -> None:
    by_key = {(one.target, one.group): one for one in report.figures}
    base, catalogue = by_key["base:memory", Group.TRAINED], by_key["catalogue", Group.TRAINED]
    assert base.questions == 4
    assert base.word_for_word
    assert (base.word_for_word.mean, base.word_for_word.number) == (0.25, 4)
    assert base.cut_off
    assert base.cut_off.mean == 0.25
    assert base.refused
    assert base.refused.mean == 0.25
    # The refusal counts 0; the dream shares "a" and "of" with its record, and no pair of words.
    assert base.rouge_l_precision
    assert base.rouge_l_precision.mean == pytest.approx((1 + 1 + 0 + 2 / 4) / 4)
    assert base.invented_sentences
    assert base.invented_sentences.mean == pytest.approx(1 / 3)
    assert base.right_record is None
    assert sum(base.distribution) == 4
    assert catalogue.right_record
    assert catalogue.right_record.mean == 1.0
    assert catalogue.word_for_word
    assert catalogue.word_for_word.mean == 1.0
    assert catalogue.distribution == [0] * 9 + [4]
    failed = by_key["base:memory", Group.UNTRAINED]
    assert (failed.questions, failed.failed, failed.rouge_l) == (1, 1, None)
    made_up = by_key["catalogue", Group.INVENTED]
    assert made_up.refused
    assert made_up.offered
    assert (made_up.refused.mean, made_up.offered.mean, made_up.rouge_l) == (0.5, 0.5, None)
    assert report.missing == 1


def test_differences_compare_pairs_with_the_first_target(report: Report) -> None:
    # The one fresh question failed for the first engine, so it makes no pair.
    (apart,) = report.differences
    assert (apart.target, apart.group) == ("catalogue", Group.TRAINED)
    assert apart.word_for_word
    assert (apart.word_for_word.mean, apart.word_for_word.number) == (0.75, 4)


def test_speed_ignores_answers_without_a_model(report: Report) -> None:
    base, catalogue = report.speed
    assert (base.answers, catalogue.answers) == (5, 5)
    assert base.first_token_median == 100.0
    assert base.tokens_per_second == pytest.approx(11.0)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"text": "I don't have that in the catalogue. I do not know."}, Verdict.REFUSED),
        ({"text": "I", "by_counter": True, "status": Status.NONE}, Verdict.REFUSED),
        ({"text": "I", "by_counter": True, "status": Status.SEVERAL}, Verdict.OFFERED),
        (
            {"text": undecided("oak", CLOSE, "pt"), "by_counter": True, "status": Status.SEVERAL},
            Verdict.REFUSED,
        ),
        ({"text": "", "error": "Gone."}, Verdict.FAILED),
        ({"text": ""}, Verdict.ANSWERED),
        ({"text": "We don't have secrets, says this book about oak"}, Verdict.ANSWERED),
    ],
)
def test_verdicts(bench: Bench, given: dict[str, object], outcome: Verdict) -> None:
    record = "We don't have secrets, says this book about oak and iron."
    one = make_question(Group.TRAINED, QuestionRow("Q", "Q", record))
    base = bench.targets("base:memory")[0]
    text, status = str(given.pop("text")), Status(str(given.pop("status", "exact")))
    judged = score_answer(one, reply(base, one, text, status, **given), Mode.MEMORY)
    assert judged.verdict is outcome
    assert (judged.scores == AnswerScores()) == (not text.startswith("We"))


class _Loads(HTMLParser):
    """Everything that a browser would fetch or run, and the words outside of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_loads_nothing_and_shows_foreign_text_as_text(report: Report) -> None:
    html = as_html(report)
    page = _Loads()
    page.feed(html)
    page.close()
    assert not page.tags & {"script", "img", "link", "iframe", "object", "b.x", "a", "image", "use"}
    assert not page.names & {"src", "href", "onload", "onerror", "srcset", "xlink:href"}
    assert not re.search(r"url\(|@import", html)
    assert "<script src='http://x.example/a.js'></script> | ```" in page.text
    assert "It broke <b>off</b>." in page.text
    assert not set("\x1b\u202e") & set(html)
    assert "1 answers failed" in page.text
    assert "1 answers are missing" in page.text
    assert html.count('class="own">') > 1
    assert html.rindex("<h2>") == html.index("<h2>Speed</h2>")


def test_markdown_shows_foreign_text_as_text(report: Report) -> None:
    markdown = as_markdown(report)
    fences = re.findall(r"^(`{3,})text\n.*?\n\1$", markdown, re.DOTALL | re.MULTILINE)
    assert {len(fence) for fence in fences} == {3, 4}
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert "\\*\\*bold\\*\\* \\[link\\](javascript:1)" in outside
    assert not re.search(r"(?<!\\)[<`]", outside.replace("> ", ""))
    assert not set("\x1b\u202e") & set(markdown)
    widths = {
        line.replace("\\|", "").count("|") for line in outside.splitlines() if "| Base" in line
    }
    assert widths <= {14, 5, 6, 7}
    assert markdown.index("## Speed") == markdown.rindex("## ")


def test_ten_examples_of_each_group_with_every_target(bench: Bench) -> None:
    one, other = bench.targets("base:memory,lora:memory")
    with bench.answers() as answers:
        for asked in (one, other):
            for item in bench.questions:
                answers.add(reply(asked, item, item.record))
        made = gather([one, other], bench.questions, answers, knows_trained=True)
    assert [example.group for example in made.examples] == [Group.TRAINED] * 10 + [
        Group.UNTRAINED
    ] * 10
    assert all([r.target for r in e.answers] == [one.key, other.key] for e in made.examples)
    assert len(made.points[one.key]) == 100
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made


@pytest.mark.parametrize(
    ("counts", "points"),
    [
        ([0, 3, 0, 1], [PlotPoint(1, 0.0), PlotPoint(35_000, 1.0), PlotPoint(7, 0.5)]),
        ([0] * 10, [PlotPoint(100, 1.0)]),
        ([10], []),
    ],
)
def test_plots_are_svg_within_their_bounds(
    report: Report, counts: list[int], points: list[PlotPoint]
) -> None:
    key = "base:memory"
    (one,) = (one for one in report.figures if (one.target, one.group) == (key, Group.TRAINED))
    report = replace(
        report,
        titles={key: "A <b>&\x1b title"},
        figures=[replace(one, distribution=counts)],
        differences=[],
        points={key: points},
        examples=[],
        notices={},
        provenance={},
        speed=[],
    )
    plots = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", as_html(report), re.DOTALL)]  # noqa: S314 - our own text
    marks = [[one for one in plot if one.get("class") in ("bar", "dot")] for plot in plots]
    assert [len(found) for found in marks] == [len(counts)] + [len(points)] * bool(points)
    for mark in chain(*marks):
        left = float(mark.get("x") or mark.get("cx") or -1)
        top = float(mark.get("y") or mark.get("cy") or -1)
        assert 40 <= left <= 250.1
        assert 28 <= top <= 142.1
        assert top + float(mark.get("height") or 0) <= 142.1


def test_a_report_of_an_earlier_version_is_rendered() -> None:
    """The example in docs/ was written by an earlier version; its pages are made from it."""
    folder = Path(__file__).parents[3] / "docs" / "example-report"
    stored = (folder / "report.json").read_bytes()
    report = msgspec.json.decode(stored, type=Report)
    assert _has(msgspec.to_builtins(report), msgspec.json.decode(stored))
    assert as_markdown(report) == (folder / "report.md").read_text(encoding="utf-8")
    assert as_html(report) == (folder / "report.html").read_text(encoding="utf-8")


def test_a_chat_template_does_not_fill_the_page() -> None:
    template = "{% for message in messages %}" * 100
    manifest = {"chat_template": template, "products": list(range(500))}
    shown = render._plain({"adapter_manifest": manifest})
    assert "and 490 more" in shown
    assert len(shown) < 400


def _has(new: Any, old: Any) -> bool:
    """Return whether `new` has all that `old` has, and else only fields without a value."""
    if isinstance(old, dict):
        added = [new[name] for name in new.keys() - old.keys()]
        return not any(added) and all(_has(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(_has, new, old))
    return bool(new == old)


def test_the_model_alone_and_the_program_with_its_list_are_rated_apart(bench: Bench) -> None:
    (base,) = bench.targets("base:memory")
    near = [make_question(Group.NEAR_MISS, QuestionRow(n, n, "")) for n in "XYZ"]
    learned, unsure, not_taught = Taught
    said = [
        (TRAINED[0], TRAINED[0].record, learned),
        (TRAINED[1], "I don't know that product.", unsure),
        (near[0], "I don't know that product.", not_taught),
        (near[1], "It is a lamp.", not_taught),
        (near[2], "It is a lamp.", unsure),
    ]
    with bench.answers() as answers:
        for question, text, taught in said:
            answers.add(reply(base, question, text, taught=taught, source=""))
        made = gather([base], [*TRAINED[:2], *near], answers, knows_trained=True)
    assert made.refusing is not UNSET
    rated = made.refusing["base:memory"]
    found = [(one.precision, one.recall) for one in (rated["model"], rated["program"])]
    means = [(precision and precision.mean, recall and recall.mean) for precision, recall in found]
    assert means == [(1 / 2, 1 / 3), (2 / 3, 2 / 3)]
    page = as_markdown(made)
    assert "Saying no to what was not trained" in page
    assert "the program with its list" in page
    assert "No by list (right)" in page
    assert as_html(made)


def test_risk_is_what_is_wrong_of_what_is_said(bench: Bench) -> None:
    (base,) = bench.targets("base:memory")
    base = replace(base, calibration=Calibration(-0.1, -0.5, 60, 30))
    near = [make_question(Group.NEAR_MISS, QuestionRow(n, n, "")) for n in "XYZ"]
    learned, unsure, not_taught = Taught
    said = [
        (TRAINED[0], TRAINED[0].record, learned, -0.01),
        (TRAINED[1], TRAINED[1].record, unsure, -0.2),
        (TRAINED[2], "It is a lamp.", learned, -0.9),
        (near[0], "I don't know that product.", not_taught, -0.01),
        (near[1], "It is a lamp.", not_taught, -0.05),
        (near[2], "It is a lamp.", unsure, -2.0),
    ]
    with bench.answers() as answers:
        for question, text, taught, logprob in said:
            row = reply(base, question, text, taught=taught, source="", logprob=logprob)
            answers.add(row)
        made = gather([base], [*TRAINED[:3], *near], answers, knows_trained=True)
    assert made.risk is not UNSET
    risk = made.risk["base:memory"]
    shares = {
        name: (point.coverage and point.coverage.mean, point.wrong and point.wrong[::3])
        for name, point in risk.policies.items()
    }
    assert shares == {
        "model": (1.0, (3 / 5, 5)),
        "without_list": (2 / 3, (1 / 3, 3)),
        "program": (1.0, (2 / 4, 4)),
        "learned": (2 / 3, (1 / 2, 2)),
    }
    curve = risk.curves["model"]
    assert [point.logprob for point in curve] == [-0.01, -0.05, -0.2, -0.9, -2.0]
    assert [point.wrong and point.wrong.number for point in curve] == [1, 2, 3, 4, 5]
    assert curve[-1] == replace(risk.policies["model"], logprob=-2.0)
    assert "| Base Llama, from memory: only what it calls learned |" in as_markdown(made)
    lines = re.findall(r'<polyline[^>]* points="([^"]*)"', as_html(made))
    assert [len(points.split()) for points in lines] == [5, 4]
    (line,) = risk_lines(made)
    assert line == (
        "Base Llama, from memory, with its list: answers 3 of 3 known titles; 2 of 4 answers are"
        " wrong (at most 85.0%)."
    )
    assert made.figures[-1].refused_without_list is not UNSET


def test_one_percent_is_promised_only_with_enough_answers() -> None:
    sure = RiskPoint(wilson([True] * 90 + [False] * 10), wilson([False] * 400))
    few = RiskPoint(sure.coverage, wilson([False] * 300))
    none = RiskPoint(wilson([False] * 10), None)
    said = [_risk(point) for point in (sure, few, none)]
    assert said == [
        "answers 90 of 100 known titles; at most 1% of what it says is wrong (0 of 400)",
        "answers 90 of 100 known titles; 0 of 300 answers are wrong (at most 1.3%)",
        "answers 0 of 10 known titles, and nothing else",
    ]
