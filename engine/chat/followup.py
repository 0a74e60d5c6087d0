"""Recognise questions about the turn before: "2", "who wrote it?", "e quem escreveu?".

The search has a say, because a book may be named "It".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.catalogue.folding import STOP_WORDS, quoted_spans, tokenise
from engine.catalogue.language.facts import asked_for, without_facts
from engine.catalogue.language.passages import choose, likeness
from engine.catalogue.language.phrases import asks_which
from engine.catalogue.language.small_talk import is_small_talk
from engine.chat import picks
from engine.core.types import Conversation, Decision, Hit, Product, Status, Turn

_POINTS_BACK = re.compile(
    r"\b(it|its|it's|this|these|those|they|them|their|theirs|he|him|she|his|her|hers|"
    r"ele|ela|eles|elas|dele|dela|deles|delas|isso|isto|este|esta|esse|essa|deste|desta|desse"
    r"|dessa|"
    r"disso|disto|nele|nela|nisso)\b"
    r"|\b(?:is|was|does|did|can|about|of|for|with) that\b|\bthat(?: one)?\s*\?*$",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"^(?:(?:and|e|so|then|mas|but|ok|okay)\b[\s,]*)*(?:"
    r"who|whose|what|what's|whats|when|where|which|why|how|is|isn't|are|was|were|does|doesn't|do"
    r"|did|has|have|had|can|could|will|would|should|may|must|tell|any|any other|for|with"
    r"|quem|que|qual|quais|quando|onde|como|quanto|quantos|quanta|quantas|é|e|eh|são|foi|tem|têm"
    r"|serve|servem|dá|da|por|para|pra|posso|pode|podem|vem|vêm|vai|precisa|funciona|cabe|dura"
    r"|inclui|acompanha|será|existe|há|ha|com|preciso(?: de)?|quero saber|a partir"
    r"|(?:em|de|a|sobre) (?:que|quem|qual|quais)|i (?:want|need|would like) to know"
    r"|fala|fale|diga|conta|conte|resuma|summari[sz]e|describe|descreva|explain|translate"
    r"|traduza)\b",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"^(?:and|e|mas|but)\b(?!\s+(?:do you|vocês?)\b)", re.IGNORECASE)
# These ask for products, unless they point back at one: "do you have it in red?".
_SEARCHES = re.compile(
    r"^(?:(?:and|e|so|then|mas|but|ok|okay|hi|hello|oi|olá)\b[\s,]*)*(?:"
    r"do you (?:have|sell|stock|carry|know)|have you got|got|i(?:'d| would)? (?:want|need|like)|"
    r"(?:i'm |i am )?looking for|show me|list|find|search(?: for)?|give me|something|anything|some|"
    r"voc[êe]s? (?:t[êe]m|vendem?|conhecem?)|tem alg(?:o|um|uma|uns|umas)|procuro|quero"
    r"|preciso(?: de)?(?!.*\?\s*$)|"
    r"gostaria(?: de)?|estou (?:procurando|buscando)|(?:me )?mostr[ea]m?|list[ea]|busqu[ea]|algo|"
    r"alguma coisa|algum|alguma)\b"
    r"(?!\s+(?:it|this|that|them|to know|saber|isso|isto|ele|ela|este|esta|esse|essa|more|mais"
    r"|(?!comprar|encontrar|achar|ver)\w+[aei]r)\b)"
    r"|\bdo you have\b(?!\s+(?:it|this|that)\b)|\bvoc[êe]s? t[êe]m\b"
    # "what books", but not "which other books has she written".
    r"|\b(?:what|which|que|quais|que outros|other|outros|outras)\s+(?:of your\s+)?(?:books|dvds"
    r"|films|movies|"
    r"games|toys|products|things|cds|livros|filmes|jogos|brinquedos|produtos|coisas)\b"
    r"(?!.*\b(?:s?he|ele|ela|eles|elas)\b)",
    re.IGNORECASE,
)
_EXISTS = re.compile(
    r"^(?:what about|how about|any|is there|are there|tem|h[áa]|existe|e quanto a)\b", re.IGNORECASE
)
# Facts that are named alone; words such as "kids" and "cotton" alone are a search.
_NAMES_FACT = re.compile(
    r"(?:(?:the|its|o|a|os|as|seu|sua)\s+)?(?:size|dimensions|measurements|price|cost|author"
    r"|writer|ages?|"
    r"weight|materials?|colou?rs?|pages|length|duration|format|languages?|subtitles|year|warranty|"
    r"guarantee|contents|batteries|description|summary|plot|more|reviews?|shipping|delivery"
    r"|tamanho|"
    r"dimens[õo]es|medidas|pre[çc]o|valor|autora?|idade|peso|material|cor(?:es)?|p[áa]ginas|"
    r"dura[çc][ãa]o|formato|idioma|legendas|ano|garantia|conte[úu]do|pilhas|descri[çc][ãa]o|resumo|"
    r"mais|entrega|frete|avalia[çc][õo]es)\b",
    re.IGNORECASE,
)
_HOW_TO = re.compile(r"how to\b|como\s+\w+[aei]r\b", re.IGNORECASE)
_WHAT_ABOUT = re.compile(
    r"^(?:what is|what's) .+ about\b|^(?:do que|sobre o que) (?:trata|fala|[ée]) ", re.IGNORECASE
)
MAIN_TITLE = re.compile(r":\s|\s[-–—]\s|\s?[(\[]|,\s")
"""Where a title's main part ends."""
_MAX_WORDS = 16
"""Longer questions name their product."""
_REPEATED = 0.75
"""The same, with which it repeats the title of the product in hand."""
_STEM = 5
"""Letters that the forms of a word share: dog, dogs; illustrated, illustrations."""
_DESCRIBES = 3
"""Content words with which a question describes a product."""
_DESCRIBED = 0.75
"""The share of these words in the record of the product that it describes."""
_ANSWERS = 0.15
"""The score of a sentence that shows what a question without a question word is about."""
_NAMED = 0.5
"""The share of a title's content words with which a question names it."""


def pick_from_list(question: str, conversation: Conversation) -> Decision | None:
    """Return the product that a question picks from a list, by its place, or number and title.

    A place is one of the last list, from which several may be picked one after the other.
    """
    found = _picked(question, conversation)
    return Decision(Status.EXACT, (found[1],)) if found else None


def question_of_pick(question: str, conversation: Conversation) -> str:
    """Return the question about one of several products that a pick completes, or the pick."""
    found = _picked(question, conversation)
    asked = found[0] if found else None
    return asked.question if asked and asked.answer and asks_which(asked.answer.text) else question


def _picked(question: str, conversation: Conversation) -> tuple[Turn, Hit] | None:
    """Return the turn whose list a question picks from, and the product."""
    turns = [(turn, turn.answer.choices) for turn in reversed(conversation.turns) if turn.answer]
    for turn, choices in turns:
        place = picks.named_in(question, choices)
        if place is not None:
            return turn, choices[place]
    for turn, choices in turns:
        place = picks.place_in(question, len(choices))
        if place is not None:
            return turn, choices[place]
        if choices or not picks.is_pick(turn.question):
            break
    return None


def in_hand(conversation: Conversation, question: str, decision: Decision) -> Decision | None:
    """Return the product, or the products to choose from, that a follow-up question is about.

    `decision` is what the search found for the question; None says that it counts.
    """
    last = next((turn.answer for turn in reversed(conversation.turns) if _is_search(turn)), None)
    listed = last.choices if last and (last.sources or last.is_list) else ()
    product = listed[0].product if listed else last.product if last else None
    if product is None or not is_about(product, question, decision):
        return None
    if len(listed) > 1:
        return Decision(Status.SEVERAL, listed)
    return Decision(Status.LIKELY, (Hit(product, 1.0),))


def needs_no_search(question: str) -> bool:
    """Whether a question can only be a follow-up, or a title: "what size is it?"."""
    text = question.strip()
    is_plain = not (_capitals(text) or quoted_spans(text))
    return is_plain and _is_sure(text, _content_words(without_facts(text)))


def _is_sure(text: str, content: list[str]) -> bool:
    return not content or (bool(_POINTS_BACK.search(text)) and text.endswith("?"))


def _is_search(turn: Turn) -> bool:
    return bool(turn.answer) and not is_small_talk(turn.question)


def is_about(product: Product, question: str, decision: Decision) -> bool:
    """Whether `question`, for which the search found `decision`, is about the product in hand."""
    text = question.strip()
    facts, content = asked_for(text), _content_words(without_facts(text))
    found = decision.product
    if (
        len(text.split()) > _MAX_WORDS
        or _SEARCHES.search(text)
        or (found and _is_title(found, text, content, wanted=product, asks_fact=bool(facts)))
        or (decision.status is Status.EXACT and found != product and _is_long(decision))
    ):
        return False
    asks = bool(_ASKS.match(text) or _GOES_ON.match(text) or (facts and text.endswith("?")))
    points_back = bool(_POINTS_BACK.search(text))
    if not _is_sure(text, content) and _describes_another(text, content, product, decision):
        return False
    if not content:
        return asks or points_back or bool(_NAMES_FACT.match(text))
    if points_back:
        is_written = found and _is_written_in(found.title, text)
        return not is_written and (asks or text.endswith("?") or len(content) < _DESCRIBES)
    if _names_another(text, content, product, decision):
        return False
    return asks or (text.endswith("?") and " " in text and _answers(product, text))


def _is_title(
    found: Product, text: str, content: list[str], *, wanted: Product, asks_fact: bool
) -> bool:
    """Whether the question is a title, or repeats that of the product in hand."""
    if tokenise(found.title) == tokenise(text):
        return bool(content or _capitals(text))
    repeats = _share(content, found.title) == 1 and _covers(content, found.title, _REPEATED)
    return found.uid == wanted.uid and not asks_fact and repeats


def _is_long(decision: Decision) -> bool:
    """Whether the title that was found is too long to be part of a question by chance."""
    return len(_content_words(without_facts(decision.hits[0].product.title))) >= _DESCRIBES


def _answers(product: Product, question: str) -> bool:
    """Whether the record answers, which tells "turns itself off?" from "red shoes?"."""
    return choose(question, product, likeness).score >= _ANSWERS


def _names_another(text: str, content: list[str], product: Product, decision: Decision) -> bool:
    """Whether the question names a product that was found, and not the one in hand."""
    in_hand = _share(content, f"{product.title} {product.description}")
    if in_hand == 1:
        return False
    if _WHAT_ABOUT.search(text) and not in_hand:
        return True
    is_open = _GOES_ON.match(text) or _EXISTS.match(text)
    any_part = bool(is_open) and not _answers(product, text)
    titles = [hit.product.title for hit in (*decision.hits, *decision.nearest)]
    named = _content_words(text)
    return any(_share(content, one) == 1 and (any_part or _covers(named, one)) for one in titles)


def _describes_another(text: str, content: list[str], product: Product, decision: Decision) -> bool:
    """Whether the question has several words of a product that was found, not of that in hand."""
    in_hand = _share(content, f"{product.title} {product.description}")
    if _HOW_TO.match(text) and len(content) > 1 and not in_hand:
        return True
    if len(content) > _DESCRIBES and not (in_hand or text.endswith("?")):
        return True
    if len(content) < _DESCRIBES or not decision.hits:
        return False
    found = decision.hits[0].product
    share = _share(content, f"{found.title} {found.description}")
    return share >= _DESCRIBED and share > 2 * in_hand


def _content_words(text: str) -> list[str]:
    return [token for token in tokenise(text) if token not in STOP_WORDS]


def _share(words: Sequence[str], text: str) -> float:
    """Return the share of `words` that `text` has in some form."""
    known = {token[:_STEM] for token in tokenise(text)}
    return sum(word[:_STEM] in known for word in words) / max(1, len(words))


def _covers(words: Sequence[str], title: str, least: float = _NAMED) -> bool:
    main = MAIN_TITLE.split(title, maxsplit=1)[0]
    named = _content_words(main) or tokenise(main)
    return bool(named) and _share(named, " ".join(words)) >= least


def _is_written_in(title: str, question: str) -> bool:
    """Whether `question` has words of the title with capitals, or quotes it."""
    return bool(quoted_spans(question) or _capitals(question).intersection(tokenise(title)))


def _capitals(question: str) -> set[str]:
    """Return the folded words that begin with a capital, but for the first of several."""
    words = re.findall(r"\w+", question)
    return {token for word in words[1:] or words if word[0].isupper() for token in tokenise(word)}
