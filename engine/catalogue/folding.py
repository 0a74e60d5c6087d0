"""Fold text for search: without case, accents and punctuation, alike for titles and questions.

`FOLD_VERSION` is written into every index. Raise it with any change to the output of `fold`.
"""

from __future__ import annotations

import functools
import itertools
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
_ASCII = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else ord(" ")  # noqa: PLR2004
    for code in range(256)
)
_ASCII_IN_UNICODE = {
    code: _ASCII[code] for code in range(128) if code not in _DROPPED
} | dict.fromkeys(_DROPPED)
# The characters that make most Western text non-ASCII, replaced first because that is fast.
_PUNCTUATION = (("’", ""), ("‘", ""), ("“", " "), ("”", " "), ("–", " "), ("—", " "), ("…", " "))
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
# Scripts written without spaces: each character is a token.
_UNSPACED = re.compile(r"([\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_MAX_CACHED_RUN = 4
_AMPERSAND_WORDS = frozenset({"and"})
"""Left out of a title's key, so that "&" and "and" match."""
_MAX_LEADING = 12
_MAX_TRAILING = 6
_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"[\"“”«»„](.{1,2000}?)[\"“”«»„]")

STOP_WORDS = frozenset(
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

COURTESIES = frozenset(
    {
        "hello", "hi", "hey", "hello there", "hi there", "hey there", "good morning",
        "good afternoon", "good evening", "good night", "thanks", "thank you", "thanks a lot",
        "many thanks", "thank you very much", "bye", "goodbye", "ok", "okay", "yes", "no",
        "please", "ola", "oi", "bom dia", "boa tarde", "boa noite", "obrigado", "obrigada",
        "muito obrigado", "muito obrigada", "valeu", "tchau", "sim", "nao",
    }
)  # fmt: skip
"""Whole folded questions that are greetings or thanks, even if a product has that title."""


def fold(text: str) -> str:
    """Fold `text` to its tokens, separated by one or more spaces."""
    # Translating bytes is many times faster than translating a str.
    if not text.isascii():
        for mark, replacement in _PUNCTUATION:
            text = text.replace(mark, replacement)
        text = _NON_ASCII.sub(_fold_match, text)
        if not text.isascii():
            return text.translate(_ASCII_IN_UNICODE)
    return text.encode("ascii").translate(_ASCII, _DROPPED).decode("ascii")


def tokenise(text: str) -> list[str]:
    """Split `text` into folded tokens."""
    return fold(text).split()


def title_key(tokens: Sequence[str], title: str = "") -> int:
    """Hash a title, as it is if it has no tokens ("!!!"), else ignoring spaces and "and"."""
    joined = "".join(token for token in tokens if token not in _AMPERSAND_WORDS)
    joined = joined or "".join(tokens) or "".join(title.split())
    digest = blake2b(joined.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _fold_match(found: re.Match[str]) -> str:
    run = found[0]
    return _fold_cached(run) if len(run) <= _MAX_CACHED_RUN else _fold_non_ascii(run)


def _fold_non_ascii(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
    folded = "".join(
        char if char.isalnum() else "" if unicodedata.combining(char) else " "
        for char in decomposed
    )
    return _UNSPACED.sub(r" \1 ", folded)


# In Western text such runs are short and repeat: quotation marks, dashes, accented letters.
_fold_cached = functools.lru_cache(maxsize=4096)(_fold_non_ascii)


def quoted_spans(question: str) -> list[list[str]]:
    """Tokenise each quoted part of `question`, longest first."""
    found = [tokenise(part) for part in _QUOTED.findall(question)]
    return sorted((tokens for tokens in found if tokens), key=len, reverse=True)


def inner_spans(tokens: list[str]) -> Iterator[list[str]]:
    """Yield `tokens` without stop words at either end, longest first; not `tokens` as a whole."""
    leading = count_stop_words(tokens, _MAX_LEADING)
    trailing = count_stop_words(tokens[::-1], _MAX_TRAILING)
    count = len(tokens)
    for left_out in range(1, min(leading + trailing, count - 1) + 1):
        for start in range(min(left_out, leading), max(0, left_out - trailing) - 1, -1):
            yield tokens[start : count - (left_out - start)]


def is_capitalised(span: Sequence[str], question: str) -> bool:
    """Report whether a span of stop words is capitalised like a title, as in "Who wrote It?"."""
    inner = _WORD.findall(question)[1:]
    capitalised = {token for word in inner if word[:1].isupper() for token in tokenise(word)}
    return bool(span) and span[0] in capitalised


def count_stop_words(tokens: Sequence[str], limit: int | None = None) -> int:
    """Count the stop words at the beginning, up to `limit`."""
    return len(list(itertools.takewhile(STOP_WORDS.__contains__, tokens[:limit])))
