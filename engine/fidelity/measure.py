"""Measure what an answer's sentences have to do with a record, and recognise a refusal."""

from __future__ import annotations

import re
from itertools import pairwise

MIN_SUPPORT = 0.3
"""A sentence below this counts as unsupported (docs/measurements/evaluation.md)."""

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"”’')\]]*\s+|\n+")
_REFUSAL_LENGTH = 200
"""Characters searched for a refusal. Later ones may belong to a description."""


def is_word_for_word(answer: str, record: str) -> bool:
    """Return whether the answer is the whole record, except for whitespace."""
    return answer.split() == record.split() != []


def sentences(text: str) -> list[str]:
    """Split `text` after . ! ? … and at line breaks; parts without a word are dropped."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part and _WORD.search(part)]


def unsupported_sentences(answer: str, record: str) -> list[str]:
    """Return the sentences of `answer` that `record` does not support."""
    words = _words(record)
    pairs, vocabulary = set(pairwise(words)), set(words)
    return [
        sentence
        for sentence in sentences(answer)
        if _support(sentence, pairs, vocabulary) < MIN_SUPPORT
    ]


def support(sentence: str, record: str) -> float:
    """Return the share (0..1) of neighbouring words that are neighbours in `record` as well.

    Pairs, because any English record contains most of the small words of any English sentence.
    """
    words = _words(record)
    return _support(sentence, set(pairwise(words)), set(words))


def _support(sentence: str, pairs: set[tuple[str, str]], vocabulary: set[str]) -> float:
    words = _words(sentence)
    if len(words) == 1:
        return float(words[0] in vocabulary)
    own_pairs = list(pairwise(words))
    return sum(pair in pairs for pair in own_pairs) / len(own_pairs) if own_pairs else 1.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


_REFUSAL = re.compile(
    r"""
    \b(?:i|we)\s(?:do\snot|don['’]t|did\snot|didn['’]t|can\s?not|can['’]t|could\snot|couldn['’]t
        |am\snot|are\snot|['’]m\snot)\s
        (?:currently\s|actually\s|seem\sto\s|be\s)?
        (?:have|know|find|carry|stock|sell|able\sto\s(?:find|provide)|provide|aware|familiar|sure)
  | \b(?:i|we)['’]m\snot\s(?:aware|familiar|sure|able)
  | \b(?:i|we)\shave\s(?:no|not\sgot)\s(?:\w+\s){0,3}
        (?:information|record|description|such|product|item|entry|details?|knowledge)
  | \bthere\sis\s(?:no|not\sa)\s(?:such|product|record|entry|item|information)
  | \b(?:is|are|was)(?:n['’]t|\snot)\s(?:in|part\sof|listed\sin|found\sin|available\sin)\s
        (?:the|our|my)\s(?:catalogue|catalog|shop|store|inventory|database)
  | \b(?:no|without)\s(?:record|information|description)\s(?:of|on|about|for|found)
  | \bn(?:ã|a)o\s(?:o\s|a\s|os\s|as\s)?
        (?:tenho|temos|encontrei|encontramos|conhe(?:ç|c)o|sei|achei|achamos|vendemos|há|existe
        |consta|está\sno\scat(?:á|a)logo|posso|consigo|possuo|possu(?:í|i)mos|disponho)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Return whether `text` begins by saying that the product is missing or unknown."""
    return bool(_REFUSAL.search(" ".join(text[:_REFUSAL_LENGTH].split())))
