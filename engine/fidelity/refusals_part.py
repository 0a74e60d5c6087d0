"""Whether a model's own words say that it does not have the product.

The counter's own sentences need no guess: their status says it. This is for models that are asked
from memory, which say it in words of their own, in English or Portuguese.
"""

from __future__ import annotations

import re

_BEGINNING = 200
"""Characters: who refuses says so at once. Further on the same words belong to a description."""

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


def refuses(text: str) -> bool:
    """Whether the beginning of `text` says that the product is not there or not known."""
    return bool(_REFUSAL.search(" ".join(text[:_BEGINNING].split())))
