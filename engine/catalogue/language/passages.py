"""Choose the sentences of a description that answer a question."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.language.facts import (
    FACTS,
    NEVER,
    asked_for,
    gives,
    plain,
    signs,
    without_facts,
)
from engine.core.errors import CatalogueError
from engine.core.types import Product

# Not compiled at import time: the first frame of the chat may wait for this module.
_BOUNDARY = (
    # A quotation and its source, before the next one: 'A marvel.' The Times 'Funny' …
    r"[.!?…]*[\"'”’]\.?\s+(?:[A-ZÀ-Þ][^\"“”.!?]{2,60}?(?=\s[\"'“‘][A-ZÀ-Þ.…])"
    r"|(?:[A-ZÀ-Þ][\w'&.-]* ?){1,6}$)\s*"
    r"|[.!?…]*[\"'”’]\s*\((?:[^()]|\([^()]*\)){2,60}\)\s*(?=[\"'“‘]|$)"
    r"|[.!?…]+[\"'”’)\]]*\s+"
    # "Ages 3-6.Copyright": some text has no blank after a sentence.
    r"|(?:(?<=[a-zà-ÿ]{2})|(?<=[0-9)]))[.!?][\"'”’]?(?=[A-ZÀ-Þ][a-zà-ÿ])"
    r"|\s*(?=[•■])"
)
_NEVER_LAST = frozenset(
    """
    mr mrs ms dr dra sr sra st vs no nos vol vols pp prof gr sgt capt gen fig figs eds cf approx
    aprox feat núm num pág det insp
    """.split()  # noqa: SIM905 - thirty quoted words are harder to read
)
"""Abbreviations that no sentence ends with."""
_DASHES = ("—", "–", "-")
_UNIT = r"\d\s?[a-z]{1,3}\.\s*$"
_LAST_WORD = r"([^\W\d_]+)\.\s*$"

_SHOWN, _CANDIDATES = 2, 8
_MAX_SENTENCES = 80
"""Sentences that are compared: the longest descriptions have some hundreds."""
_SURE = frozenset(FACTS) - {
    "author",
    "material",
    "contents",
    "count",
    "pictures",
    "place",
    "about",
    "readers",
}
"""Facts whose patterns hardly match another sentence."""
_GIVEN = _SURE | {"readers"}
"""Facts that show that the description has what is asked for."""
_GENERAL = frozenset({"author", "count"})
"""The same, for a question that asks for none of these: "who", "how many"."""
_IN_TITLE = frozenset({"age", "format", "count", "size", "pages", "weight", "colour", "language"})
"""Facts that a title may give."""
_FACT, _SURE_FACT, _WORD = 0.1, 0.25, 0.1
"""What a sentence gains by giving a fact, by a sure one, by a word of the question."""
_LIKELY = 0.03
"""The score from which a sentence may answer."""
_ASKS_WHETHER = (
    r"(?:(?:and|e|but|mas) )?"
    r"(?:does it (?:have|contain|include|come with)|(?:is|are) there|tem|vem com|inclui)\b"
)
_LIKELY_THERE = 0.12
"""Replaces `_LIKELY` for "does it have …?", which no record without it denies."""
_LIKELY_WITHOUT = 0.3
"""Replaces `_LIKELY` if no sentence gives the sure fact that is asked for."""
LEAD = 0.2
"""The lead in score with which the best sentence is shown alone."""
_STEM, _SHORTEST = 5, 3
_COMMON = (
    "who wrote it?",
    "how big is it?",
    "how many are there?",
    "what is it made of?",
    "what is it about?",
    "when was it published?",
    "what is in the box?",
    "is it for children?",
    "quem escreveu?",
    "qual o tamanho?",
    "quantas páginas tem?",
    "de que é feito?",
    "sobre o que é?",
    "quando foi publicado?",
    "o que vem na caixa?",
    "é para crianças?",
)
"""Questions whose mean is what all questions share: short sentences are like any of them."""
_COMMON_SHARE = 0.75
"""The part of that mean that is taken out of a question."""

Likeness = Callable[[str, Sequence[str]], Sequence[float]]
"""How alike a question and each of some sentences are, from -1 to 1."""


@dataclass(frozen=True, slots=True)
class Passages:
    """The likeliest sentences, in the description's order, and whether they surely answer."""

    sentences: tuple[str, ...]
    sure: bool
    score: float = 0.0
    """That of the best sentence."""
    candidates: tuple[tuple[str, float], ...] = ()
    """More of the likeliest sentences with their scores, in the same order."""
    facts: frozenset[str] = frozenset()
    """The facts that were asked for and that a sentence gives."""
    in_title: bool = False
    """Whether the title gives what no sentence does."""
    never: frozenset[str] = frozenset()
    """The facts that were asked for and that catalogues do not have."""


def asks_for_all(question: str) -> bool:
    """Report whether a question asks for the description: "tell me more", "do que se trata?"."""
    return asked_for(question) == {"about"} and not content_stems(question)


def choose(question: str, product: Product, likeness: Likeness) -> Passages:
    """Choose at most two sentences of a description for `question`."""
    sentences = split_sentences(product.description)[:_MAX_SENTENCES]
    facts = asked_for(question)
    given = {fact for fact in facts for sentence in sentences if gives(sentence, fact)}
    if facts & NEVER and not given:
        return Passages((), sure=False, never=facts & NEVER)
    words = content_stems(question)
    texts = [product.title, *sentences]
    of_title, *scores = [
        alike + _gain(text, facts, words)
        for text, alike in zip(texts, likeness(question, texts), strict=True)
    ]
    ranked = sorted(range(len(sentences)), key=lambda at: scores[at], reverse=True)
    candidates = tuple((sentences[at], scores[at]) for at in sorted(ranked[:_CANDIDATES]))
    best = ranked[:_SHOWN]
    highest = scores[best[0]] if best else 0.0
    needed = facts & _GIVEN or facts & _GENERAL
    is_given = any(gives(sentences[at], fact) for fact in needed for at in best)
    least = _LIKELY_THERE if re.match(_ASKS_WHETHER, plain(question)) else _LIKELY
    sure = highest >= (_LIKELY_WITHOUT if needed and not is_given else least)
    if sure:
        best = [at for at in best if scores[at] >= highest - LEAD]
    chosen = tuple(sentences[at] for at in sorted(best) if scores[at] > 0)
    in_title = any(fact in _IN_TITLE and gives(product.title, fact) for fact in facts - given)
    counts = "count" in facts and gives(product.title, "count") and of_title > highest
    if counts or (not facts and _only_in_title(words, product)):
        sure, in_title = False, True
    return Passages(chosen, sure, highest, candidates, frozenset(given), in_title)


def likeness(question: str, sentences: Sequence[str]) -> list[float]:
    """Compare by the sentence encoder; without its package, nothing is alike."""
    try:
        from engine.catalogue.vectors.encoder import shared_encoder

        encoder = shared_encoder()
        asked = encoder.encode([question])[0]
        asked = asked - _COMMON_SHARE * encoder.stored(_COMMON).mean(axis=0)
        given = encoder.stored(tuple(sentences))
    except (ImportError, CatalogueError):
        return [0.0] * len(sentences)
    return [float(alike) for alike in given @ asked]


def _only_in_title(words: frozenset[str], product: Product) -> bool:
    titled = {token[:_STEM] for token in tokenise(product.title)}
    described = {token[:_STEM] for token in tokenise(product.description)}
    return bool(words) and words <= titled and words.isdisjoint(described)


def _gain(sentence: str, facts: frozenset[str], words: frozenset[str]) -> float:
    gain = max((_SURE_FACT for fact in facts & _SURE if gives(sentence, fact)), default=0.0)
    gain = max(gain, _FACT * max((signs(sentence, fact) for fact in facts), default=0))
    known = {token[:_STEM] for token in tokenise(sentence)}
    return gain + _WORD * len(words & known)


def content_stems(question: str) -> frozenset[str]:
    """Return the beginnings of the words of `question` that name its topic."""
    tokens = tokenise(without_facts(question))
    return frozenset(
        token[:_STEM] for token in tokens if len(token) >= _SHORTEST and token not in STOP_WORDS
    )


def split_sentences(text: str) -> list[str]:
    """Split `text` into sentences; joined by blanks, they are the text but for its blanks."""
    sentences, start = [], 0
    for found in re.finditer(_BOUNDARY, text):
        if _ends(text[start : found.end()], text[found.end() : found.end() + 1]):
            sentences.append(text[start : found.end()].strip())
            start = found.end()
    return [sentence for sentence in (*sentences, text[start:].strip()) if sentence]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return where each sentence of `text` begins and ends."""
    spans, end = [], 0
    for sentence in split_sentences(text):
        start = text.index(sentence, end)
        end = start + len(sentence)
        spans.append((start, end))
    return spans


def _ends(sentence: str, following: str) -> bool:
    if following in _DASHES or following.islower():  # "A marvel." — The Times; etc. and so on
        return False
    if following.isdigit() and re.search(_UNIT, sentence):  # 3 lbs. 2 oz.
        return False
    last = re.search(_LAST_WORD, sentence)
    if last is None:
        return True
    word = last[1].lower()
    is_initial = len(word) == 1 and last[1].isupper()
    return not (word in _NEVER_LAST or is_initial)
