"""Measure how well products are found that are described rather than named, and fit the rule.

    python -m benchmarks.catalogue_described --catalogue DIR [--fit]

    python -m benchmarks.generate_catalogue --rows 200000 --seed 18 --whole --out W/made.json
    cat W/made.json data/sample_catalogue.jsonl REAL.jsonl > W/all.jsonl
    balcao index W/all.jsonl --out DIR

The catalogue must have the rows that the questions name by uid: those of data/ for
questions_sample.jsonl, of AmazonTitles-1.3MM for questions_real.jsonl, alone or among others.
Questions about rows that it lacks are left out. Columns, in % of the questions: first, ten: the
product is the first, or among the first ten, of those that answer; offered: or among the closest;
sure: answered with one product; wrong: with another one; listed: with several. A vague question
has several products that fit, an absent one none.

--fit prints weights for engine/catalogue/confidence.py, and what each limit would let through when
each fifth of the questions is judged by weights from the others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.confidence import figures
from engine.catalogue.folding import tokenise
from engine.catalogue.rank import content_of
from engine.core.types import Decision, Status

_QUESTIONS = [
    Path(__file__).with_name(f"questions_{name}.jsonl") for name in ("sample", "real", "absent")
]
_SURE = (Status.EXACT, Status.LIKELY)
_COLUMNS = ("first", "ten", "offered", "sure", "wrong", "listed")
_LIMITS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_FOLDS = 5
_STEPS = 3_000
_RATE, _DECAY = 0.5, 0.01

Numbers = NDArray[np.float64]


class Question(msgspec.Struct, frozen=True):
    """A question, with the product that it describes, or those that fit it."""

    kind: str
    language: str
    question: str
    uid: str = ""
    also: tuple[str, ...] = ()
    """Other editions, which are as right."""
    fits: tuple[str, ...] = ()

    @property
    def right(self) -> set[str]:
        """The uids of the products that fit."""
        return {uid for uid in (self.uid, *self.also, *self.fits) if uid}


@dataclass(slots=True)
class Tally:
    """Answers to questions of one kind; times in milliseconds."""

    asked: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def add(self, question: Question, decision: Decision, took: float) -> None:
        """Count an answer."""
        shown = [hit.product.uid for hit in decision.hits]
        offered = (shown + [hit.product.uid for hit in decision.nearest])[:10]
        is_sure = decision.status in _SURE
        is_first = bool(question.right.intersection(shown[:1]))
        self.asked += 1
        self.times.append(took)
        self.counts += Counter(
            first=is_first,
            ten=bool(question.right.intersection(shown)),
            offered=bool(question.right.intersection(offered)),
            sure=is_sure,
            wrong=is_sure and not is_first,
            listed=decision.status is Status.SEVERAL,
        )

    def row(self, name: str) -> str:
        """Format the tally as a row of the report."""
        shares = "".join(f"{100 * self.counts[one] / self.asked:8.1f}" for one in _COLUMNS)
        times = sorted(self.times)
        middle, high = times[len(times) // 2], times[int(len(times) * 0.95)]
        return f"{name:14}{self.asked:6}{shares}{middle:8.0f}{high:8.0f}"


def read(files: Sequence[Path], catalogue: Catalogue) -> list[Question]:
    """Read the questions whose products the catalogue has."""
    decode = msgspec.json.Decoder(Question).decode
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    questions = [decode(line) for line in lines]
    return [one for one in questions if all(catalogue.get(uid) for uid in one.right)]


def ask(catalogue: Catalogue, questions: Sequence[Question]) -> dict[str, Tally]:
    """Ask all questions; count by kind, and by kind and language."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for question in questions:
        began = time.perf_counter()
        decision = catalogue.find(question.question)
        took = (time.perf_counter() - began) * 1000
        for name in (question.kind, f"{question.kind} {question.language}"):
            tallies[name].add(question, decision, took)
    return tallies


def measure_figures(
    catalogue: Catalogue, questions: Sequence[Question]
) -> tuple[Numbers, list[list[str]]]:
    """Return the figures of each question's best record, and the first ten uids."""
    ranker = catalogue._decider.ranker  # noqa: SLF001 - its figures are not in a Decision
    found, uids = [], []
    for question in questions:
        words = content_of(tokenise(question.question))
        ranked = ranker.rank(words, (), question.question)
        found.append(figures(ranked, len(words)) if ranked else (0.0, 0.0, 0.0, 0.0))
        uids.append([one.product.uid for one in ranked[:10]])
    return np.array(found), uids


def fit(values: Numbers, labels: Numbers) -> Numbers:
    """Fit a logistic regression; the last weight is the bias."""
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    scaled = np.c_[(values - mean) / spread, np.ones(len(values))]
    weights = np.zeros(scaled.shape[1])
    keep = np.r_[np.ones(values.shape[1]), 0]
    for _ in range(_STEPS):
        error = _logistic(scaled @ weights) - labels
        weights -= _RATE * (scaled.T @ error / len(labels) + _DECAY * keep * weights)
    unscaled = weights[:-1] / spread
    result: Numbers = np.r_[unscaled, weights[-1] - unscaled @ mean]
    return result


def _logistic(values: Numbers) -> Numbers:
    result: Numbers = 1 / (1 + np.exp(-values))
    return result


def _held_out(values: Numbers, labels: Numbers, questions: Sequence[Question]) -> Numbers:
    """Judge each fifth of the questions by weights from the others; a product is in one fifth."""
    names = {name: place for place, name in enumerate(dict.fromkeys(map(_group, questions)))}
    folds = np.array([names[_group(one)] % _FOLDS for one in questions])
    judged = np.zeros(len(labels))
    for fold in range(_FOLDS):
        weights = fit(values[folds != fold], labels[folds != fold])
        judged[folds == fold] = _logistic(values[folds == fold] @ weights[:-1] + weights[-1])
    return judged


def _group(question: Question) -> str:
    return question.uid or " ".join(question.fits) or question.question


def report_fit(catalogue: Catalogue, questions: Sequence[Question]) -> Iterator[str]:
    """Fit both rules and yield the lines of a report."""
    values, uids = measure_figures(catalogue, questions)
    kinds = np.array([one.kind for one in questions])
    rules: dict[str, Callable[[Question, list[str]], bool]] = {
        "MEANT": lambda one, found: one.kind == "described" and found[0] in one.right,
        "AMONG": lambda one, found: bool(one.right.intersection(found)),
    }
    for name, is_right in rules.items():
        labels = np.array(
            [
                float(bool(found) and is_right(one, found))
                for one, found in zip(questions, uids, strict=True)
            ]
        )
        coverage, cosine, lead, words, bias = fit(values, labels)
        yield f"{name}: {bias=:.2f} {coverage=:.2f} {cosine=:.2f} {lead=:.2f} {words=:.2f}"
        judged = _held_out(values, labels, questions)
        yield " limit  described: through  wrong   absent: through  vague: through   %"
        for limit in _LIMITS:
            through = judged >= limit
            shares = [
                100 * through[kinds == kind].mean() for kind in ("described", "absent", "vague")
            ]
            wrong = 100 * (through & (labels == 0))[kinds == "described"].mean()
            yield f"{limit:6.2f}{shares[0]:20.1f}{wrong:7.1f}{shares[1]:18.1f}{shares[2]:16.1f}"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--questions", type=Path, nargs="+", default=_QUESTIONS)
    parser.add_argument("--fit", action="store_true", help="fit the weights and limits")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    catalogue = Catalogue.open(options.catalogue)
    questions = read(options.questions, catalogue)
    catalogue.find("a question that describes nothing, to load the encoder")
    print(f"{len(catalogue):,} products, {len(questions):,} questions")
    print(f"{'':14}{'asked':>6}" + "".join(f"{one:>8}" for one in (*_COLUMNS, "p50 ms", "p95 ms")))
    for name, tally in sorted(ask(catalogue, questions).items()):
        print(tally.row(name))
    for line in report_fit(catalogue, questions) if options.fit else ():
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
