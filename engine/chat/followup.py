"""Recognise questions about the turn before: "2", "who wrote it?", "e quem escreveu?".

They count only if the catalogue finds no title in the question, because a book may be named "It".
"""

from __future__ import annotations

import re

from engine.core.types import Conversation, Decision, Status

_NUMBER = re.compile(
    r"(?:(?:number|no|nr|n[oº°]|número|numero|o|a|the|opção|option)\.?\s*)?#?\s*(\d{1,2})\s*[.)!]?",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\b(it|its|it's|this|that|they|them|their|he|she|his|her|"
    r"ele|ela|eles|elas|dele|dela|isso|isto|este|esta|esse|essa|deste|desta|desse|dessa|nele|nela)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"^(?:and|e|so|then|mas|but)?\s*(?:"
    r"who|whose|what|when|where|which|why|how|is|are|was|were|does|do|did|has|have|can|could|tell|"
    r"quem|que|qual|quais|quando|onde|como|quanto|quantos|quantas|é|são|foi|tem|serve|dá|por|para|"
    r"fala|fale|diga|conta|conte|resuma|summari[sz]e|describe|descreva|explain|translate|traduza)\b",
    re.IGNORECASE,
)
# Whole questions without a pronoun; a title may begin with the same words.
_BARE = re.compile(
    r"(?:and |e )?(?:"
    r"who (?:wrote|made|is the author|sings|plays|directed|illustrated)"
    r"|quem (?:escreveu|fez|canta|ilustrou|dirigiu|é o autor|é a autora)"
    r"|how (?:big|large|long|old|heavy|many pages|much)|what (?:size|colou?r|ages?)"
    r"|que (?:tamanho|idade|cor)|qual (?:a cor|a idade|o tamanho|o preço)|quantas páginas"
    r"|(?:tell me |say )?more|(?:conte |fale )?mais"
    r")\s*[?.!]*",
    re.IGNORECASE,
)
_MAX_WORDS = 14
"""Longer questions name their product."""


def pick_from_list(question: str, conversation: Conversation) -> Decision | None:
    """Return the product that a bare number picks from the list in the last answer."""
    found = _NUMBER.fullmatch(question.strip())
    choices = conversation.choices
    if not found or not 1 <= int(found[1]) <= len(choices):
        return None
    return Decision(Status.EXACT, (choices[int(found[1]) - 1],))


def is_followup(question: str) -> bool:
    """Whether a question is about the product of the turn before."""
    text = question.strip()
    if len(text.split()) > _MAX_WORDS:
        return False
    return bool(_BARE.fullmatch(text) or (_ASKS.match(text) and _POINTS_BACK.search(text)))
