"""Describe answers and engines in a line each, for every front end."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from engine.backends.base import Engine, memory_words
from engine.catalogue.language.small_talk import is_small_talk
from engine.core import types
from engine.core.i18n import tr, tr_n
from engine.core.text import duration, one_line
from engine.fidelity.quotes import PARTLY, compare, is_whole

_SECOND = 1000
_PERCENT = 100
_MIN_SECONDS = 0.1
"""A text that arrived in a shorter time has no speed."""


def describe(answer: types.Answer, *, source: bool = True, bar: str = "") -> str:
    """Return one line about an answer: source, basis, fidelity and its `bar`, ending and speed."""
    product = title_of(answer.product) if answer.product and source else ""
    faithful = f"{faithfulness(answer)} {bar}".strip()
    place = place_words(answer)
    parts = (product, basis(answer), faithful, place, ending(answer), speed(answer))
    return " · ".join(part for part in parts if part)


def verdict(answer: types.Answer) -> tuple[str, str]:
    """Return a sign and one line: how faithful an answer is, and what else to know of it."""
    in_hand = answer.is_list or answer.mode is types.Mode.QUOTE
    understood = "" if in_hand else _understood(answer)
    place = place_words(answer)
    parts = (faithfulness(answer), place, taught_words(answer.taught), understood)
    words = " · ".join(part for part in (*parts, ending(answer)) if part)
    return sign(answer), words


def sign(answer: types.Answer) -> str:
    """Return whether the answer is the record's: yes, partly or no; empty without a record."""
    share = _precision(answer)
    if share is None or not answer.text:
        return ""
    if share == 1.0:
        return "✓"
    return "≈" if share >= PARTLY and not answer.described else "✗"


def title_of(product: types.Product, width: int = 0) -> str:
    """Return a product's title and number, cut to `width` if that is not 0."""
    return one_line(f"{product.title or tr('(no title)')} ({product.uid})", width)


def training_words(hit: types.Hit) -> str:
    """Return whether the adapter that answered was trained on the product, empty if unknown."""
    if hit.trained is UNSET:
        return ""
    if hit.trained:
        return tr("in this adapter's training data")
    return tr("not in this adapter's training data")


def basis(answer: types.Answer) -> str:
    """Return what a model answered from, and how the question was understood."""
    mode = {
        types.Mode.QUOTE: _chooser(answer),
        types.Mode.GROUNDED: "" if answer.verbatim else tr("grounded"),
        types.Mode.MEMORY: tr("from memory"),
    }[answer.mode]
    parts = (mode, taught_words(answer.taught), _understood(answer))
    return ", ".join(part for part in parts if part)


def _chooser(answer: types.Answer) -> str:
    by_model = answer.tokens is not None
    return tr("quote, chosen by the model") if by_model else tr("quote, chosen by the search")


def place_words(answer: types.Answer) -> str:
    """Return which sentences of the record an answer quotes, empty if it is no excerpt."""
    spans = answer.sources[0].quoted if answer.sources else UNSET
    if not spans or answer.product is None:
        return ""
    from engine.catalogue.language.passages import sentence_spans  # the first frame does not wait

    every = sentence_spans(answer.product.description)
    places = ", ".join(str(place) for place, one in enumerate(every, 1) if one in spans)
    return tr_n(
        "sentence {places} of {count}",
        "sentences {places} of {count}",
        len(spans),
        places=places,
        count=len(every),
    )


def taught_words(taught: types.Taught | UnsetType) -> str:
    """Return whether the adapter was taught what the question asks for, empty if unknown."""
    return {
        UNSET: "",
        types.Taught.LEARNED: tr("learned"),
        types.Taught.UNSURE: tr("unsure"),
        types.Taught.NOT_TAUGHT: tr("not taught"),
    }[taught]


def not_taught_sentence() -> str:
    """Return what the program says in place of a model's words about what it was not taught."""
    return tr("This adapter was not taught that.")


def _understood(answer: types.Answer) -> str:
    match answer.status:
        case types.Status.LIKELY:
            return tr("best match")
        case types.Status.SEVERAL:
            count = len(answer.sources)
            return tr_n("{count} product matches", "{count} products match", count)
        # Without a text it may have been cancelled before the search ended.
        case types.Status.NONE if answer.text and not is_small_talk(answer.question):
            return tr("no product matches")
    return ""


def faithfulness(answer: types.Answer) -> str:
    """Return how much of the answer comes from the record, empty without a record."""
    precision = _precision(answer)
    if precision is None or answer.product is None:
        return ""
    if is_whole(answer.text, answer.product.description):
        return tr("word for word")
    if precision == 1.0:
        return tr("excerpt, word for word")
    percent = int(precision * _PERCENT)
    if not percent:
        return tr("not from the description")
    return tr("{percent}% from the description", percent=percent)


def drawn_share(answer: types.Answer) -> float | None:
    """Return the share of a bar below an answer, if it has one: an excerpt would fill it too."""
    share = _precision(answer)
    if share != 1.0 or answer.product is None:
        return share
    return 1.0 if is_whole(answer.text, answer.product.description) else None


def wrong_product(answer: types.Answer) -> str:
    """Return a sentence that names the product whose description the answer is, if another's."""
    if answer.described is None:
        return ""
    return tr("This is the description of {title}.", title=one_line(answer.described.title))


def _precision(answer: types.Answer) -> float | None:
    """Return the share that quotes the record; older versions counted single words."""
    if answer.fidelity is None or answer.product is None:
        return None
    if answer.coverage is None:
        is_cut = answer.stop_reason is not types.StopReason.COMPLETE
        found = compare(answer.text, answer.product.description, cut=is_cut)
        return found.precision if found else 0.0
    return answer.fidelity


def ending(answer: types.Answer) -> str:
    """Return why the answer stops, empty if it is complete."""
    return {
        types.StopReason.COMPLETE: "",
        types.StopReason.LENGTH: tr("cut at the length limit"),
        types.StopReason.REPEATED: tr("stopped"),
        types.StopReason.CANCELLED: tr("stopped by you"),
        types.StopReason.ERROR: tr("interrupted") if answer.text else tr("no answer"),
    }[answer.stop_reason]


def speed(answer: types.Answer) -> str:
    """Return how long an answer took; a model's has more figures, as known.

    Its first word, its tokens per second, and how much of the record it accepted as a draft.
    """
    timing = answer.timing
    if answer.verbatim or not answer.text:
        return _duration(timing.total)
    first = tr("{time} to the first word", time=_duration(timing.first_token))
    parts = [first, _duration(timing.total)]
    seconds = (timing.total - timing.first_token + answer.thinking_ms) / _SECOND
    if answer.tokens and answer.tokens.completion > 1 and seconds >= _MIN_SECONDS:
        rate = answer.tokens.completion / seconds
        parts.append(tr("{rate:.0f} tokens/s", rate=rate))
    if answer.tokens and answer.tokens.drafted:
        percent = int(_PERCENT * answer.tokens.accepted / answer.tokens.drafted)
        parts.append(tr("{percent}% of the draft accepted", percent=percent))
    return ", ".join(parts)


def thinking_words(milliseconds: float, *, ended: bool = False) -> str:
    """Return how long a model has thought, or how long it has been thinking."""
    time = duration(milliseconds / _SECOND)
    return tr("thought for {time}", time=time) if ended else f"{tr('thinking …')} {time}"


def _duration(milliseconds: float) -> str:
    if milliseconds < _SECOND:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / _SECOND:.1f} s"


def progress_words(progress: types.Progress) -> str:
    """Return how far an engine has loaded."""
    share = f" {progress.fraction * _PERCENT:.0f} %" if progress.fraction else ""
    return tr("loading{share}: {label}", share=share, label=progress.label)


def state_words(
    loaded: bool,
    facts: types.EngineFacts,
    availability: types.Availability | None,
    progress: types.Progress | None = None,
) -> str:
    """Return one line: loading, loaded and its memory, ready, or not available and why."""
    if facts.loading:
        return progress_words(progress) if progress else tr("loading")
    if loaded and facts.memory is not None:
        return tr("loaded ({memory})", memory=memory_words(facts))
    if availability is None:
        return "…"
    if availability.ready:
        return tr("ready")
    return one_line(tr("not set up: {reason}", reason=availability.reason))


def about_words(engine: Engine, availability: types.Availability | None) -> list[str]:
    """Return the lines about an engine, first what is wrong and its remedy."""
    lines = []
    if availability and not availability.ready:
        lines += [one_line(availability.reason), one_line(availability.remedy), ""]
    rows = [("id", engine.info.id), *engine.details()]
    lines += [f"{name:14}{one_line(value)}" for name, value in rows if value]
    return [*lines, *engine.warnings()]


def welcome_words(engine: Engine, availability: types.Availability) -> str:
    """Return one line: what an engine answers from, or where to read how to set it up."""
    if availability.ready:
        return one_line(engine.summary())
    return tr("not set up yet: F9 shows how")
