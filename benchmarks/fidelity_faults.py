"""Plant faults in answers that quote records, and count how many are found.

.venv/bin/python -m benchmarks.fidelity_faults
.venv/bin/python -m benchmarks.fidelity_faults --rows data/sample_catalogue.jsonl --show missed

Each answer is a record, three of its sentences, or one, with one faulty sentence: two words or two
parts changed places, a number is another one, a negation is missing, a word is another one, or the
whole sentence is another record's. A fault is found if a word of the sentence does not count as the
record's. False alarms are sentences with such a word in faithful answers: records, excerpts of
them, their sentences in another order, and the same with other blanks, quotes and dashes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.catalogue.clean import clean
from engine.catalogue.language.passages import split_sentences
from engine.fidelity.quotes import spans
from engine.fidelity.tokens import is_negation, split

ROWS = Path("data/sample_catalogue.jsonl")
_WORD = re.compile(r"[\w'’]+")
_NUMBER = re.compile(r"\d+")
_NUMERALS = {
    "en": "two three four five six seven eight nine ten twelve twenty thirty forty fifty".split(),  # noqa: SIM905
    "pt": "dois três quatro cinco seis sete oito nove dez doze vinte trinta quarenta".split(),  # noqa: SIM905
}
_PORTUGUESE = frozenset("de da do dos das em um uma para com não que os as se é por".split())  # noqa: SIM905
_ENGLISH = frozenset("the of and a to in is for with that it on as by from this are".split())  # noqa: SIM905
_LEAST_WORDS = 4
_EXCERPT = 3


class Record(NamedTuple):
    """A description, its sentences and its language."""

    text: str
    sentences: list[str]
    language: str


class Fault(NamedTuple):
    """An answer with a faulty sentence, and where that is."""

    kind: str
    answer: str
    start: int
    end: int
    record: Record


def read_records(rows: Path) -> list[Record]:
    """Read the descriptions of a data set that have a few words."""
    with rows.open(encoding="utf-8") as lines:
        texts = [clean(json.loads(line)["content"]) for line in lines]
    return [
        Record(text, split_sentences(text), _language(text))
        for text in dict.fromkeys(texts)
        if len(text.split()) >= _LEAST_WORDS
    ]


def _language(text: str) -> str:
    words = Counter(_WORD.findall(text.lower()))
    portuguese, english = (sum(words[one] for one in kind) for kind in (_PORTUGUESE, _ENGLISH))
    return "pt" if portuguese > english else "en"


def faults(records: Sequence[Record], rng: random.Random) -> Iterator[Fault]:
    """Plant one fault of each kind in each sentence of each record where there is room for it."""
    for record in records:
        others = [one for one in records if one is not record and one.language == record.language]
        for index, sentence in enumerate(record.sentences):
            if len(split(sentence).words) < _LEAST_WORDS:
                continue
            for kind, change in _KINDS.items():
                faulty = change(sentence, record, rng)
                if faulty and _is_fault(faulty, sentence, record):
                    yield _planted(kind, faulty, index, record, rng)
            if others:
                other = rng.choice(rng.choice(others).sentences)
                if len(split(other).words) >= _LEAST_WORDS and _is_fault(other, sentence, record):
                    yield _planted("other record", other, index, record, rng)


def _is_fault(faulty: str, sentence: str, record: Record) -> bool:
    """Return whether a sentence is not, after all, something that the record says."""
    words = split(faulty).words
    wanted, whole = f" {' '.join(words)} ", f" {' '.join(split(record.text).words)} "
    return bool(words) and words != split(sentence).words and wanted not in whole


def _planted(kind: str, faulty: str, index: int, record: Record, rng: random.Random) -> Fault:
    reach = rng.choice((0, 1, len(record.sentences)))
    before = " ".join(record.sentences[max(0, index - reach) : index])
    after = " ".join(record.sentences[index + 1 : index + 1 + reach])
    start = len(before) + 1 if before else 0
    answer = " ".join(part for part in (before, faulty, after) if part)
    return Fault(kind, answer, start, start + len(faulty), record)


def _swap_neighbours(sentence: str, record: Record, rng: random.Random) -> str:
    del record
    words = sentence.split()
    at = rng.randrange(len(words) - 1) if len(words) > 1 else 0
    words[at : at + 2] = reversed(words[at : at + 2])
    return " ".join(words)


def _move_part(sentence: str, record: Record, rng: random.Random) -> str:
    """Move the first words of a sentence to its end, or the last part to its front."""
    del record
    words = sentence.rstrip(".!?").split()
    at = rng.randrange(1, len(words)) if len(words) > 1 else 0
    return " ".join([*words[at:], *words[:at]]) + "."


def _change_number(sentence: str, record: Record, rng: random.Random) -> str:
    numerals = _NUMERALS[record.language]
    found = [one for one in _WORD.finditer(sentence) if one[0].lower() in numerals]
    found += list(_NUMBER.finditer(sentence))
    if not found:
        return ""
    number = rng.choice(found)
    if number[0].isdigit():
        new = str(int(number[0]) + rng.choice((-1, 1, 10)))
    else:
        new = rng.choice([one for one in numerals if one != number[0].lower()])
    return sentence[: number.start()] + new + sentence[number.end() :]


def _drop_negation(sentence: str, record: Record, rng: random.Random) -> str:
    del record
    found = [
        one for one in _WORD.finditer(sentence) if is_negation(one[0].lower().replace("’", "'"))
    ]
    if not found:
        return ""
    word = rng.choice(found)
    kept = word[0][:-3] if word[0].lower().endswith(("n't", "n’t")) else ""
    changed = sentence[: word.start()] + kept + sentence[word.end() :]
    return " ".join(changed.split())


def _change_word(sentence: str, record: Record, rng: random.Random) -> str:
    words = sentence.split()
    at = rng.randrange(len(words))
    words[at] = rng.choice(record.text.split())
    return " ".join(words)


_KINDS: dict[str, Callable[[str, Record, random.Random], str]] = {
    "words swapped": _swap_neighbours,
    "part moved": _move_part,
    "number changed": _change_number,
    "negation dropped": _drop_negation,
    "word changed": _change_word,
}


def is_found(fault: Fault) -> bool:
    """Return whether a word of the faulty sentence does not count as the record's."""
    return any(fault.start <= at < fault.end for at in _unquoted(fault.answer, fault.record.text))


def _unquoted(answer: str, record: str, *, cut: bool = False) -> list[int]:
    """Return where the words that are not quoted begin."""
    at, found = 0, []
    for span in spans(answer, record, cut=cut):
        if not span.quoted:
            found += [at + word.start() for word in _WORD.finditer(span.text)]
        at += len(span.text)
    return found


class Faithful(NamedTuple):
    """A faithful answer: its sentences and what joins them; `cut` ends inside a sentence."""

    kind: str
    sentences: list[str]
    joint: str = " "
    cut: bool = False


def faithful(record: Record, rng: random.Random) -> Iterator[Faithful]:
    """Quote a record in several ways."""
    sentences = record.sentences
    yield Faithful("whole", sentences)
    yield Faithful("whole, other signs", [_other_signs(one) for one in sentences], "\n\n")
    start = rng.randrange(len(sentences))
    yield Faithful("excerpt", sentences[start : start + _EXCERPT])
    yield Faithful("one sentence", [rng.choice(sentences)])
    some = sorted(rng.sample(range(len(sentences)), max(1, len(sentences) // 2)))
    yield Faithful("some sentences", [sentences[at] for at in some])
    yield Faithful("another order", rng.sample(sentences, len(sentences)), "\n")
    quotes = [f"“{one}”" for one in rng.sample(sentences, len(sentences))]
    yield Faithful("quotes in another order", quotes, " … ")
    yield Faithful("cut", [record.text[: rng.randrange(1, len(record.text))]], cut=True)


_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-", "…": "..."})
_BACK = str.maketrans({'"': "”", "'": "’", "-": "–"})


def _other_signs(sentence: str) -> str:
    plain = sentence.translate(_SIGNS)
    return "  ".join((plain if plain != sentence else sentence.translate(_BACK)).split())


def has_alarm(answer: Faithful, record: Record) -> list[str]:
    """Return the sentences with a word that does not count as the record's."""
    text, at, wrong = answer.joint.join(answer.sentences), 0, []
    unquoted = _unquoted(text, record.text, cut=answer.cut)
    for sentence in answer.sentences:
        if any(at <= place < at + len(sentence) for place in unquoted):
            wrong.append(sentence)
        at += len(sentence) + len(answer.joint)
    return wrong


def main() -> None:
    """Plant, look, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, nargs="+", default=[ROWS], metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", choices=("missed", "alarms"), help="print some of them")
    options = parser.parse_args()
    records = [record for rows in options.rows for record in read_records(rows)]
    rng = random.Random(options.seed)
    _count_found(records, rng, show=options.show == "missed")
    _count_alarms(records, rng, show=options.show == "alarms")


def _count_found(records: Sequence[Record], rng: random.Random, *, show: bool) -> None:
    planted, found = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for fault in faults(records, rng):
        hit = is_found(fault)
        for kind in (fault.kind, "all"):
            planted[fault.record.language, kind] += 1
            found[fault.record.language, kind] += hit
        if show and not hit:
            print(f"{fault.kind}: {fault.answer[fault.start : fault.end]}")
            print(f"   {fault.record.text[:300]}")
    for key in sorted(planted):
        share = found[key] / planted[key]
        print(f"found {key[0]} {key[1]:18}{found[key]:6} of {planted[key]:6}  {share:.1%}")


def _count_alarms(records: Sequence[Record], rng: random.Random, *, show: bool) -> None:
    said, alarms = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for record in records:
        for answer in faithful(record, rng):
            wrong = has_alarm(answer, record)
            if show and wrong:
                print(f"{answer.kind}: {wrong}\n   {answer.joint.join(answer.sentences)[:300]}")
            for name in (answer.kind, "all"):
                said[record.language, name] += len(answer.sentences)
                alarms[record.language, name] += len(wrong)
    for key in sorted(said):
        share = alarms[key] / said[key]
        print(f"alarms {key[0]} {key[1]:24}{alarms[key]:5} of {said[key]:6}  {share:.2%}")


if __name__ == "__main__":
    main()
