"""Read the age that a question asks for, and the ages that a record states, in years."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.catalogue.language.facts import plain

_ADULT = 18
"""Products for adults state no age."""
_MONTHS = 12
_SCHOOL = 5
"""The age in kindergarten, before grade 1."""
_WORDS = {
    word: number
    for number, words in enumerate(
        (
            "one um uma",
            "two dois duas",
            "three tres",
            "four quatro",
            "five cinco",
            "six seis",
            "seven sete",
            "eight oito",
            "nine nove",
            "ten dez",
            "eleven onze",
            "twelve doze",
            "thirteen treze",
            "fourteen catorze quatorze",
            "fifteen quinze",
            "sixteen dezesseis",
        ),
        1,
    )
    for word in words.split()
}
_N = rf"(?:\d{{1,2}}|{'|'.join(_WORDS)})"
_CHILD = (
    r"(?:child|children|kid|boy|girl|son|daughter|grandson|granddaughter|grandchild|nephew|niece"
    r"|brother|sister|crianca|menino|menina|filho|filha|neto|neta|sobrinho|sobrinha|garoto|garota"
    r"|irmao|irma|afilhado|afilhada|bebe)s?"
)
_UNIT = r"(?:years?|anos|anhos|aninhos|months?|meses|mes)"
# Each with the groups low, high and unit, of which the last two may be missing.
_ASKED = (
    rf"(?P<low>{_N})(?: (?:to|or|-) (?P<high>{_N}))?[- ](?P<unit>years?|months?)[- ]olds?",
    rf"(?P<low>{_N}) ?(?:yo|y/o)s?",
    (
        rf"(?:{_CHILD}|someone|alguem)(?: \w+){{0,3}}? "
        rf"(?:of|aged?|is|turning|turns|de|com|tem|faz|fez"
        rf"|fazer) (?P<low>{_N})(?: (?:to|a|-) (?P<high>{_N}))?(?: (?P<unit>{_UNIT}))?"
    ),
    rf"(?:ages?|aged) (?P<low>{_N})(?: ?(?:to|-) ?(?P<high>{_N}))?",
    r"(?P<low>\d{1,2})(?:st|nd|rd|th) birthday",
    rf"(?P<low>{_N}) (?P<unit>aninhos)",
    rf"para (?:quem tem )?(?P<low>{_N}) (?P<unit>anos|meses)",
)
_NAMED_AGES = {
    r"(?:new ?borns?|recem[- ]nascid[oa]s?)": (0, 0.5),
    r"(?:bab(?:y|ies)|infants?|bebes?)": (0, 1.5),
    r"(?:toddlers?|criancas? pequenas?|criancinhas?)": (1, 3),
    r"(?:pre-?schoolers?)": (3, 5),
    r"(?:teens?|teenagers?|teenage \w+|adolescentes?)": (13, 17),
}
_RANGE = r" ?(?:-|–|to|a|ao|aos|and|through|until|ate|or|e) ?"
_UP = r" ?(?:\+|(?:years? |anos )?(?:and|&|or|e|ou) (?:up|over|older|above|mais|acima))"
_STATED = (
    (
        rf"(?:ages?|aged|ages:|idades?|years) (?:of )?(?P<low>{_N})(?: "
        rf"(?P<half>and a half|e meio))?"
        rf"(?: (?P<lowunit>months?|meses|years?))?(?:(?P<up>{_UP}| up)|{_RANGE}"
        rf"(?P<high>{_N}|adults?))"
        r"(?: ?(?P<unit>months?|meses|years?|anos))?"
    ),
    (
        rf"(?P<low>{_N})(?: (?P<lowunit>months?|meses|anos|years?))?(?P<up>{_UP})"
        r"(?! ?(?:pages|players|pieces|jogadores))"
    ),
    r"(?P<low>\d\d?) (?P<lowunit>months?|meses|anos|years?)(?P<up> up)",
    (
        rf"for (?:\w+ ){{0,3}}?(?P<low>{_N})(?: (?P<lowunit>months?|years?))?"
        rf"(?:{_RANGE}(?P<high>{_N}))?[- ](?P<unit>year|month)s?[- ]?olds?"
    ),
    (
        r"(?P<up>from|minimum age:?|a partir d[eo]s?|acima d[eo]s?|maiores d?e?|desde"
        rf"|children over|kids over) (?:os |the age of |age )?(?P<low>{_N})"
        r" ?(?P<unit>years?|months?|anos|meses)(?! (?:ago|after|later|atras|before))"
    ),
    (
        rf"(?P<up>not (?:suitable )?for children under|nao .{{0,20}}menores de) "
        rf"(?:age )?(?P<low>{_N})"
        r"(?: (?P<unit>years?|months?|anos|meses))?"
    ),
    rf"d[eo]s? (?P<low>{_N}) (?:a|ao|aos|ate) (?P<high>{_N}) (?P<unit>anos|meses)",
    rf"(?P<low>{_N}){_RANGE}(?P<high>{_N}) (?P<unit>years?|months?) of age",
    r"(?P<up>(?:suitable|safe) from birth|from birth(?= ?[.!;]| up| on)|desde o nascimento)",
    (
        r"(?P<grade>pre-?school|pres|kindergarten|k|gr(?:ade|ades)?\.? ?\d\d?)"
        r" ?(?:-|–|to|through) ?(?P<tograde>(?:gr(?:ade)?\.? ?)?(?:\d\d?|k|kindergarten|up))"
    ),
)
_SIGNS = "ages age aged years year anos idade idades up olds months meses grade preschool".split()  # noqa: SIM905
_UNSPECIFIC = frozenset(
    """
    algo alguma coisa coisas thing things stuff book books livro livros toy toys gift gifts game
    games fun idea ideas birthday christmas present presents party little small young kid kids child
    children boy boys girl girls
    son daughter grandson granddaughter grandchild niece nephew brother sister baby babies toddler
    toddlers play playing teenage teenager age aged ages year years old
    brinquedo brinquedos presente presentes jogo jogos ideia aniversario natal festa pequeno pequena
    crianca criancas menino menina garoto garota filho filha neto neta sobrinho sobrinha irmao irma
    bebe bebes adolescente brincar legal divertido anos ano idade
    """.split()  # noqa: SIM905 - sixty quoted words are harder to read
)
"""Words beside an age that most products for children do not have."""
_FIRST_GRADE = {"pre": 3, "k": _SCHOOL}


@dataclass(frozen=True, slots=True)
class Ages:
    """A range of ages in years."""

    low: float
    high: float

    def overlaps(self, other: Ages) -> bool:
        """Whether a child can be of both."""
        return self.low <= other.high and other.low <= self.high


def asked_ages(question: str) -> tuple[Ages, str] | None:
    """Return the ages of children that a question asks for, and the rest of the question."""
    asked = plain(question)
    for pattern in _ASKED:
        found = _pattern(pattern).search(asked)
        if found and (ages := _asked(found.groupdict())).high < _ADULT:
            return ages, f"{asked[: found.start()]} {asked[found.end() :]}"
    for pattern, (low, high) in _NAMED_AGES.items():
        found = _pattern(rf"(?:for|to|with|para|pra|com) (?:\w+ ){{0,2}}?{pattern}").search(asked)
        if found:
            return Ages(low, high), f"{asked[: found.start()]} {asked[found.end() :]}"
    return None


def _asked(found: dict[str, str | None]) -> Ages:
    unit = found.get("unit")
    low = _years(found["low"] or "", unit)
    return Ages(low, _years(found.get("high") or "", unit) or low)


def stated_ages(text: str) -> list[Ages]:
    """Return the ranges of ages that a record states."""
    stated = plain(text)
    return [
        ages
        for pattern in _STATED
        for found in _pattern(pattern).finditer(stated)
        if (ages := _stated(found.groupdict())) and ages.low <= min(ages.high, _ADULT)
    ]


def fits(asked: Ages, text: str) -> bool | None:
    """Whether a record is for the ages that are asked for; None if it states none."""
    stated = stated_ages(text)
    return any(asked.overlaps(one) for one in stated) if stated else None


def _stated(found: dict[str, str | None]) -> Ages | None:
    if grade := found.get("grade"):
        return Ages(_age_in(grade), _age_in(found["tograde"] or "") + 1)
    unit = found.get("unit")
    low = _years(found.get("low") or "", found.get("lowunit") or unit)
    low += 0.5 * bool(found.get("half"))
    if found.get("up"):
        return Ages(low, _last(low))
    high = found.get("high") or ""
    if high.startswith("adult"):
        return Ages(low, 99)
    return Ages(low, _years(high, unit) if high else low)


def _last(low: float) -> float:
    """Return the last age for which a product "from 5 years on" is meant, though it is open."""
    return 2 * low + 3


def _age_in(grade: str) -> float:
    """Return the age in a school grade."""
    number = re.search(r"\d+", grade)
    if number:
        return _SCHOOL + int(number[0])
    if grade.startswith("up"):
        return _ADULT
    return next((age for name, age in _FIRST_GRADE.items() if grade.startswith(name)), _SCHOOL)


def _years(number: str, unit: str | None) -> float:
    years = int(number) if number.isdigit() else _WORDS.get(number, 0)
    return years / _MONTHS if unit and unit.startswith("m") else float(years)


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,]){pattern}(?!\w)")


def specific_words(words: Sequence[str]) -> list[str]:
    """Return the words that say which products for children are wanted."""
    return [word for word in words if word not in _UNSPECIFIC]


def search_words(ages: Ages) -> tuple[dict[str, float], dict[str, float]]:
    """Return words of sentences that state ages, and numbers for these ages, with weights."""
    lows = (age for age in range(1, int(ages.high) + 1) if _last(age) >= ages.low)
    return dict.fromkeys(_SIGNS, 1.0), dict.fromkeys(map(str, lows), 1.0)
