"""Questions that lean on the turn before: "2", "who wrote it?", "e quem escreveu?".

Asked only where the catalogue found no title in the question itself, so that a book named "It"
still wins over the pronoun.
"""

from __future__ import annotations

import re

from engine.core.types import Conversation, Decision, Hit, Product, Status

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
# Questions without a pronoun that still ask about a product in hand; whole, so that a title that
# merely begins this way is not taken for one.
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
_LONGEST = 14
"""Words: a longer question names what it is about."""


def picked(question: str, conversation: Conversation) -> Decision | None:
    """The product that a bare number picks from the list in the last answer."""
    found = _NUMBER.fullmatch(question.strip())
    choices = conversation.choices
    if not found or not 1 <= int(found[1]) <= len(choices):
        return None
    return Decision(Status.EXACT, (choices[int(found[1]) - 1],))


def leans_back(question: str) -> bool:
    """Whether the question is about the product of the turn before."""
    asked = question.strip()
    if len(asked.split()) > _LONGEST:
        return False
    if _BARE.fullmatch(asked):
        return True
    return bool(_ASKS.match(asked) and _POINTS_BACK.search(asked))


def kept(product: Product) -> Decision:
    """The decision to stay with the product of the turn before."""
    return Decision(Status.LIKELY, (Hit(product, 1.0),))
