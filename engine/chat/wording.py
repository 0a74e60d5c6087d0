"""What is told about an answer, in words: the same under a chat's answer and after `balcao ask`."""

from __future__ import annotations

import re

from engine.backends.base import Engine, memory_words
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.core.types import (
    Answer,
    Availability,
    EngineFacts,
    Mode,
    Product,
    Progress,
    Status,
    StopReason,
)
from engine.fidelity.measure import is_word_for_word

_SECOND = 1000


def describe(answer: Answer, *, source: bool = True, bar: str = "") -> str:
    """One line: what the answer rests on (if `source`), how faithful it is, how fast it came.

    `bar` draws how faithful it is, and stands behind the words for that.
    """
    product = title_of(answer.product) if answer.product and source else ""
    faithful = f"{faithfulness(answer)} {bar}".strip()
    parts = (product, standing(answer), faithful, ending(answer), speed(answer))
    return " · ".join(part for part in parts if part)


def title_of(product: Product, width: int = 0) -> str:
    """A product's title and number, on one line."""
    return one_line(f"{product.title or tr('(no title)')} ({product.uid})", width)


def standing(answer: Answer) -> str:
    """From what a model spoke, and how the question was understood."""
    spoke = {Mode.GROUNDED: tr("grounded"), Mode.MEMORY: tr("from memory")}[answer.mode]
    if answer.verbatim:
        spoke = ""
    count = len(answer.sources)
    several = tr_n("{count} product fits", "{count} products fit", count)
    understood = {
        Status.EXACT: "",
        Status.LIKELY: tr("taken to mean this"),
        Status.SEVERAL: several.format(count=count),
        Status.NONE: tr("not in the catalogue"),
    }[answer.status]
    return ", ".join(part for part in (spoke, understood) if part)


def faithfulness(answer: Answer) -> str:
    """How much of the answer is the record's words; nothing where there is no record."""
    if answer.fidelity is None or answer.product is None:
        return ""
    if is_word_for_word(answer.text, answer.product.description):
        return tr("word for word")
    if answer.fidelity == 1.0:
        return tr("the record's words, in part")
    percent = int(answer.fidelity * 100)
    if not percent:
        return tr("not the record's words")
    return tr("{percent} % the record's words", percent=percent)


def ending(answer: Answer) -> str:
    """Why the answer stops, where it is not simply whole."""
    return {
        StopReason.COMPLETE: "",
        StopReason.LENGTH: tr("cut at the length limit"),
        StopReason.REPEATED: tr("stopped"),
        StopReason.CANCELLED: tr("cancelled"),
        StopReason.ERROR: tr("broke off") if answer.text else tr("no answer"),
    }[answer.stop_reason]


def speed(answer: Answer) -> str:
    """How long it took; for a model also to its first word, and tokens a second if counted."""
    timing = answer.timing
    if answer.verbatim or not answer.text:
        return _spell(timing.total)
    first = tr("{time} to the first word", time=_spell(timing.first_token))
    parts = [first, _spell(timing.total)]
    seconds = (timing.total - timing.first_token) / _SECOND
    if answer.tokens and answer.tokens.completion > 1 and seconds > 0:
        rate = answer.tokens.completion / seconds
        parts.append(tr("{rate:.0f} tokens/s", rate=rate))
    return ", ".join(parts)


def _spell(milliseconds: float) -> str:
    if milliseconds < _SECOND:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / _SECOND:.1f} s"


_PERCENT = 100
_FIRST_STEP = re.compile(r"\. (?=[A-Z])| \(|, (?:under|em) \[")
"""Where the first thing to do ends in a remedy, and the particulars begin."""


def progress_words(progress: Progress) -> str:
    """How far loading has come."""
    share = f" {progress.fraction * _PERCENT:.0f} %" if progress.fraction else ""
    return tr("loading{share}: {label}", share=share, label=progress.label)


def state_words(
    loaded: bool,
    facts: EngineFacts,
    availability: Availability | None,
    progress: Progress | None = None,
) -> str:
    """One line: ready, loading, loaded with what it takes, or not available and why.

    `availability` is None until it has been looked up.
    """
    if facts.loading:
        return progress_words(progress) if progress else tr("loading")
    if loaded and facts.memory is not None:
        return tr("loaded, takes {memory}", memory=memory_words(facts))
    if availability is None:
        return "…"
    if availability.ready:
        return tr("ready")
    return one_line(tr("not available: {reason}", reason=availability.reason))


def about_words(engine: Engine, availability: Availability | None) -> list[str]:
    """All about one engine, a line each; what is wrong and what to do about it comes first."""
    lines = []
    if availability and not availability.ready:
        lines += [one_line(availability.reason), one_line(availability.remedy), ""]
    rows = [("id", engine.info.id), *engine.details()]
    lines += [f"{name:14}{one_line(value)}" for name, value in rows if value]
    return [*lines, *engine.warnings()]


def welcome_words(engine: Engine, availability: Availability, products: int) -> str:
    """One line: what an engine answers from, or what would make it work."""
    if availability.ready:
        return one_line(engine.summary(products))
    first = _FIRST_STEP.split(availability.remedy or availability.reason)[0]
    return one_line(first).removesuffix(".")
