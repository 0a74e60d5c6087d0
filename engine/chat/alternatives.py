"""Find what a question wants instead of the product in hand: similar ones, or its DVD."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.catalogue.catalogue import Retriever
from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.language.small_talk import kind_to_list
from engine.chat.followup import MAIN_TITLE
from engine.core.types import Decision, Hit, Product, Status

_MAX_WORDS = 10
_MAX_LISTED = 10
_SIMILAR = re.compile(
    r"\b(?:similar|alike|comparable|related (?:products|items|titles|books|ones)"
    r"|(?:something|anything|others?|more|ones?|products|books|films|games|toys|what else) "
    r"(?:(?:is|are) )?like (?:it|this|that|these|those|him|her)(?: one)?"
    r"|what (?:else|other)\b.* like (?:it|this|that|these|those)"
    r"|parecid[oa]s?|semelhantes?|similares|relacionad[oa]s|(?:do|no) mesmo (?:tipo|g[êe]nero"
    r"|estilo)"
    r"|(?:algo|outr[oa]s?|mais) (?:assim|igua(?:l|is)|(?:d?esse|d?este) tipo)"
    r"|(?:outr[oa]s?|mais|algo) como (?:est[ea]|ess[ea]|isso|el[ea]))\b",
    re.IGNORECASE,
)
_IS_SIMILAR = re.compile(r"^(?:is|are|was|é|são)\b", re.IGNORECASE)
"""A question about the product in hand: "is it similar to the other one?"."""
_INSTEAD = re.compile(
    r"(?:(?:and|e|ok|no|não|what about|how about|i want|i'd like|quero|prefiro|i prefer|show me"
    r"|do you have|have you got|is there|voc[êe]s? t[êe]m|tem|h[áa]|existe|mostre)[\s,]+)*"
    r"(?:(?:the|an?|one|o|a|os|as|um|uma|it|this|that|isso|ele|ela|est[ea]|ess[ea])\s+)*"
    r"(?:(?:on|in|as|em|no|na|de)\s+)?(?:(?:the|an?|o|a|um|uma)\s+)?"
    r"(?P<words>[\w-]+(?: [\w-]+)??)"
    r"(?P<mark>\s+(?:instead|version|edition|one|em vez (?:disso|deste|desta))|)\s*[?.!]*",
    re.IGNORECASE,
)
_INSTEAD_MARK = re.compile(r"\b(?:instead|em vez (?:disso|deste|desta))\s*[?.!]*$", re.IGNORECASE)
_VERSION = re.compile(
    r"\b(?:a )?(?:vers[ãa]o|edi[çc][ãa]o)(?: (?:em|de))? (?P<words>[\w-]+)", re.IGNORECASE
)
_ASIDE = re.compile(
    r"\b(?:it|this|that|isso|ele|ela|instead|version|edition|one|vez)\b|\b(?:on|em)\b"
)
_SAME = 0.5
"""The share of the main title that another version of a product has."""


def alternatives(catalogue: Retriever, product: Product, question: str) -> Decision | None:
    """Find what `question` wants instead of `product`; None if it asks for nothing of the kind."""
    text = question.strip()
    if len(text.split()) > _MAX_WORDS:
        return None
    if _SIMILAR.search(text) and not _IS_SIMILAR.match(text):
        found = _similar(catalogue, product)
        return Decision(Status.SEVERAL if found else Status.NONE, found)
    found = _versions(catalogue, product, text)
    if not found and _INSTEAD_MARK.search(text):
        return Decision(Status.NONE, nearest=_similar(catalogue, product))
    if not found:
        return None
    return Decision(Status.LIKELY if len(found) == 1 else Status.SEVERAL, found)


def listed(catalogue: Retriever, question: str, decision: Decision) -> Decision:
    """Fill the list up if the question asks for a list of a kind: "list your books"."""
    kind = kind_to_list(question)
    if not kind or decision.status is Status.EXACT:
        return decision
    known = [hit.product.uid for hit in decision.hits]
    for words in (kind, kind.removesuffix("s")):
        known += [uid for uid, _ in catalogue.browse(words, 0, _MAX_LISTED).entries]
    wanted = list(dict.fromkeys(known))[len(decision.hits) : _MAX_LISTED]
    found = [Hit(one, 0.0) for one in map(catalogue.get, wanted) if one]
    hits = (*decision.hits, *found)
    return Decision(Status.SEVERAL, hits) if found and len(hits) > 1 else decision


def _similar(catalogue: Retriever, product: Product) -> tuple[Hit, ...]:
    """List the related products, which shops know best, then those with the same words."""
    related = (catalogue.get(uid) for uid, _ in catalogue.related(product.uid, _MAX_LISTED))
    hits = [Hit(one, 1.0) for one in related if one]
    hits += catalogue.similar(product, _MAX_LISTED)
    if not hits:  # as on a server, which compares no products
        found = catalogue.find(" ".join(_content(product.description)[:_MAX_LISTED]))
        hits = [*found.hits, *found.nearest]
    unique = {hit.product.uid: hit for hit in reversed(hits) if hit.product.uid != product.uid}
    return tuple(reversed(unique.values()))[:_MAX_LISTED]


def _versions(catalogue: Retriever, product: Product, text: str) -> tuple[Hit, ...]:
    """List products with the product's main title and the words asked for: "the DVD instead"."""
    asked = _VERSION.search(text) or (_INSTEAD.fullmatch(text) if _ASIDE.search(text) else None)
    wanted = _content(asked["words"]) if asked else []
    main = _content(MAIN_TITLE.split(product.title, maxsplit=1)[0])
    if not wanted or not main:
        return ()
    decision = catalogue.find(" ".join((*main, *wanted)))
    return tuple(
        hit
        for hit in (*decision.hits, *decision.nearest)
        if hit.product.uid != product.uid
        and set(wanted) <= set(tokenise(hit.product.title))
        and len(set(main).intersection(tokenise(hit.product.title))) >= _SAME * len(main)
    )


def _content(text: str) -> list[str]:
    return _unique(token for token in tokenise(text) if token not in STOP_WORDS)


def _unique(tokens: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(tokens))
