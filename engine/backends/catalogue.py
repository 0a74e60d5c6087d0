"""The catalogue as an engine: it quotes the record, or reports that nothing was found."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator

from engine.backends.base import Engine, EngineConfig
from engine.core.i18n import tr
from engine.core.types import Chunk, Request, StopReason

# Not compiled here: the first frame of the chat waits for this module.
_SENTENCE = r"(?s).+?(?:[.!?…]+[\"'”’)\]]*(?=\s|$)|$)"
_WORD = r"\w+"
_SHORTEST = 4
"""Letters; shorter words ("the", "it", "que") do not name a topic."""
_STEM = 5
"""Letters that the forms of a word share: illustrated, illustrations."""

# Question words, with the beginnings of words in a sentence that answers. Without accents, and in
# both languages: a record may be in another language than the question.
_TOPICS = {
    "who quem wrote escreveu author autor autora": (
        "by autho writt illus direc sung escri autor ilust por"
    ),
    "old age idade": "ages age aged years month anos idade meses",
    "big large size tamanho": (
        "inch inche cm mm size metre meter feet tall wide long"
        " tamanh altura largu metro litre litro"
    ),
    "heavy": "kg gram grams poun pound ounce weigh",
    "pages paginas": "page pages pagin",
    "when quando": "year publi first since centu desde secul",
    "material made": (
        "cotto wool steel wood woode plast leath made algod madei aco couro vidro glass linen"
    ),
}
_ASKED_FOR = {word: stems.split() for words, stems in _TOPICS.items() for word in words.split()}


def _folded(word: str) -> str:
    bare = unicodedata.normalize("NFKD", word.lower())
    return "".join(letter for letter in bare if not unicodedata.combining(letter))


def _stems(question: str) -> frozenset[str]:
    words = [_folded(word) for word in re.findall(_WORD, question)]
    wanted = {stem for word in words for stem in _ASKED_FOR.get(word, ())}
    wanted |= {word[:_STEM] for word in words if len(word) >= _SHORTEST}
    return frozenset(wanted)


def _bears(sentence: str, stems: frozenset[str]) -> bool:
    words = {_folded(word) for word in re.findall(_WORD, sentence)}
    return any(word in stems or word[:_STEM] in stems for word in words)


def bearing_on(question: str, description: str) -> str:
    """Return the sentences of `description` that answer `question`, unchanged and in order.

    Compares the first five letters of words, without accents; a question word matches what it asks
    for (who: by, author, written).
    """
    stems = _stems(question)
    sentences = [found.strip() for found in re.findall(_SENTENCE, description)]
    return " ".join(sentence for sentence in sentences if sentence and _bears(sentence, stems))


class CatalogueConfig(EngineConfig, frozen=True, forbid_unknown_fields=True):
    """The values of the catalogue's own engine."""

    title: str = "Catalogue"


class CatalogueEngine(Engine):
    """Answer with the record in the request; no model, key or download is needed."""

    kind = "catalogue"
    config_type = CatalogueConfig
    verbatim = True

    def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer in one piece."""
        return counter_stream(request)

    def summary(self, products: int) -> str:
        """Return the number of products."""
        return tr("{products:,} products, in their own words", products=products)

    def details(self) -> list[tuple[str, str]]:
        """Return that the engine works without a model."""
        model = tr("none: the record's own words")
        return [(tr("model"), model), (tr("address"), tr("this machine"))]


async def counter_stream(request: Request, *, for_model: bool = False) -> AsyncGenerator[Chunk]:
    """Quote the record, or reply that there is none; `for_model` adds that no model was asked."""
    if quote := _quote(request):
        yield Chunk(quote, StopReason.COMPLETE)
        return
    told = tr("Said by the counter: the model has no record to answer from, and was not asked.")
    notice = told if for_model else ""
    yield Chunk(_own_words(request), StopReason.COMPLETE, notice=notice, by_counter=True)


def _quote(request: Request) -> str:
    product = request.decision.product
    if product is None:
        return ""
    if request.followup:
        return bearing_on(request.question, product.description)
    return product.description


def _own_words(request: Request) -> str:
    from engine.catalogue import phrases  # the first frame waits for this module

    product, language = request.decision.product, request.language
    if product is None:
        question, decision = request.question, request.decision
        courtesy = phrases.courtesy(question, language, decision.nearest)
        return courtesy or phrases.undecided(question, decision, language, asked=request.followup)
    if not product.description:
        return phrases.missing("no_description", product, language)
    return phrases.missing("not_said", product, language)
