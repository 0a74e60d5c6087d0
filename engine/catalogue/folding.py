"""Text as search sees it: no case, no accents, no punctuation; the same for titles and questions.

`FOLD_VERSION` is written into every index; raise it with any change to what is produced here.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

FOLD_VERSION = 1

_APOSTROPHES = "'`´‘’ʼ′"
_LETTERS = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES + "™®©", ""),
        "ø": "o", "Ø": "o", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "ł": "l", "Ł": "l",
        "đ": "d", "Đ": "d", "ð": "d", "Ð": "d", "þ": "th", "Þ": "th", "ı": "i",
    }
)  # fmt: skip
_DROPPED = b"'`"
_PLAIN = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else ord(" ")  # noqa: PLR2004
    for code in range(256)
)
_BESIDE = {code: _PLAIN[code] for code in range(128) if code not in _DROPPED} | dict.fromkeys(
    _DROPPED
)
# What makes most Western text more than ASCII; replaced first because that is quick.
_MARKS = (("’", ""), ("‘", ""), ("“", " "), ("”", " "), ("–", " "), ("—", " "), ("…", " "))
_FOREIGN = re.compile(r"[^\x00-\x7f]+")
# Scripts written without blanks: each character is a word.
_UNSPACED = re.compile(r"([\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_SHORT_RUN = 4
_JOINING = frozenset({"and"})
"""Words that "&" stands for: left out of a title's key, so that either way of writing fits."""


def fold(text: str) -> str:
    """`text` with only its folded words, parted by one or more blanks."""
    # Bytes are translated many times faster than a str.
    if not text.isascii():
        for mark, plain in _MARKS:
            text = text.replace(mark, plain)
        text = _FOREIGN.sub(_fold_match, text)
        if not text.isascii():
            return text.translate(_BESIDE)
    return text.encode("ascii").translate(_PLAIN, _DROPPED).decode("ascii")


def words(text: str) -> list[str]:
    """The folded words of `text`, in order."""
    return fold(text).split()


def key(folded: Sequence[str], text: str = "") -> int:
    """A number that stands for a whole title, whatever its blanks, punctuation, accents and case.

    `text` is the title itself, taken where no word is left of it ("!!!"). Fits SQLite's integers.
    """
    joined = "".join(word for word in folded if word not in _JOINING) or "".join(folded)
    plain = joined or "".join(text.split())
    digest = blake2b(plain.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _fold_match(found: re.Match[str]) -> str:
    run = found[0]
    return _fold_known(run) if len(run) <= _SHORT_RUN else _fold_foreign(run)


def _fold_foreign(text: str) -> str:
    """What characters beyond ASCII fold to."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
    kept = "".join(
        char if char.isalnum() else "" if unicodedata.combining(char) else " " for char in plain
    )
    return _UNSPACED.sub(r" \1 ", kept)


# In Western text such runs are short and recur: quotation marks, dashes, accented letters.
_fold_known = functools.lru_cache(maxsize=4096)(_fold_foreign)


ASKING = frozenset(
    """
    a an the of is are am was were be been being it its this that these those they them their
    there here he she him his her hers i im ive id ill me my mine we us our you your yours do does
    did doing done has have had having got get getting can could would will shall should may might
    must what whats which who whos whom whose when where why how if whether tell telling told
    about regarding concerning describe described description descriptions give show shows find
    finding search searching look looking looked lookup want wanted wanting need needed like know
    wondering wonder curious interested interest heard hear please kindly hello hi hey thanks thank
    say says said read explain summary summarize for to in on at by with from and or any anything
    some something one ones product products item items title titles titled call called name named
    book books info information detail details more long catalog catalogue stock stocked store shop
    sell sells selling sold buy carry carries available listed list offer offers exactly just also
    so then well actually currently still us out wrote written write author made make
    o os as um uma uns umas do da dos das de no na nos nas em ao aos pelo pela por para pra com e
    ou se ja ai la aqui qual quais que quem quando onde como quanto quantos eh sao foi era ser
    seria tem tens tinha temos ter teria haveria ha estou esta estao estava voce voces vc vcs eu
    meu minha seu sua seus suas ele ela eles elas dele dela isso isto este essa esse aquele aquela
    algum alguma alguns algumas lhe fale fala falar falem sobre diga dizer dizem diz conte conta
    contar descreva descreve descrever descricao descricoes mostre mostra mostrar mostrem procuro
    procurando procura procurar quero queria querendo gostaria preciso busco buscando buscar achar
    acho encontrar encontro existe existem conhece conhecem conhecer saber sabe pode podem poderia
    poderiam consegue me dar de favor produto produtos livro livros artigo item titulo chamado
    chamada chama intitulado informacoes informacao detalhes mais ola oi obrigado obrigada bom boa
    dia tarde noite escreveu autor autora vende vendem vender comprar catalogo estoque loja
    disponivel venda
    """.split()  # noqa: SIM905 - two hundred quoted words are harder to read
)

COURTESY = frozenset(
    {
        ("hello",), ("hi",), ("hey",), ("hello", "there"), ("hi", "there"), ("hey", "there"),
        ("good", "morning"), ("good", "afternoon"), ("good", "evening"), ("good", "night"),
        ("thanks",), ("thank", "you"), ("thanks", "a", "lot"), ("many", "thanks"),
        ("thank", "you", "very", "much"), ("bye",), ("goodbye",), ("ok",), ("okay",), ("yes",),
        ("no",), ("please",), ("ola",), ("oi",), ("bom", "dia"), ("boa", "tarde"),
        ("boa", "noite"), ("obrigado",), ("obrigada",), ("muito", "obrigado"),
        ("muito", "obrigada"), ("valeu",), ("tchau",), ("sim",), ("nao",),
    }
)  # fmt: skip
"""Whole questions that are manners and no title, even where a product is named so."""

_LONGEST_HEAD = 12
_LONGEST_TAIL = 6
_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"[\"“”«»„](.{1,2000}?)[\"“”«»„]")


def quoted(question: str) -> list[list[str]]:
    """The folded words of what stands in quotation marks, longest first."""
    found = [words(part) for part in _QUOTED.findall(question)]
    return sorted((part for part in found if part), key=len, reverse=True)


def inner_spans(asked: list[str]) -> Iterator[list[str]]:
    """What may be the title inside a question, longest first; the question itself is not given.

    Only words of asking are left off, and only at the ends.
    """
    head = _run(asked, _LONGEST_HEAD)
    tail = _run(asked[::-1], _LONGEST_TAIL)
    count = len(asked)
    for left_out in range(1, min(head + tail, count - 1) + 1):
        for front in range(min(left_out, head), max(0, left_out - tail) - 1, -1):
            yield asked[front : count - (left_out - front)]


def names_pronouns(span: Sequence[str], question: str) -> bool:
    """Whether `span`, all of it words of asking, is written as a title: "Who wrote It?"."""
    inner = _WORD.findall(question)[1:]
    capitals = {word for part in inner if part[:1].isupper() for word in words(part)}
    return bool(span) and span[0] in capitals


def _run(asked: list[str], longest: int) -> int:
    count = 0
    for word in asked[:longest]:
        if word not in ASKING:
            break
        count += 1
    return count
