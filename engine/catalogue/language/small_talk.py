"""Recognise questions about no product: greetings, thanks, "what can you do?".

The forms are whole folded questions (engine/catalogue/folding.py). None can be about a product
that was just shown: "how does it work?" is not among them.
"""

from __future__ import annotations

import re
from typing import Literal

from engine.catalogue.folding import quoted_spans, tokenise
from engine.core.types import Language

Kind = Literal["hello", "well", "thanks", "bye", "noted", "who", "help", "all"]

_LONGEST = 80
_HELLO = r"(?:hello|hi|hey|hiya|greetings|good (?:morning|afternoon|evening|day))"
_TO_ALL = r"(?: (?:there|all|everyone|everybody|again|balcao|today))*"
_OLA = r"(?:ola|oi|oie|bom dia|boa (?:tarde|noite)|saudacoes)"
_A_TODOS = r"(?: (?:a todos|gente|pessoal|de novo|balcao|hoje|ai|com voce))*"

_FOR = r"(?: (?:a lot|so much|very much|again|anyway|for (?:that|it|everything|your help)))*"
_POR = r"(?: (?:mesmo|demais|de novo|por tudo|pel[oa] (?:sua )?ajuda))*"
_PLEASE = r"(?:(?:please|hi|hello) )?"
_ALL_EN = r"(?:(?:all|of|your|the) )*(?:products|items|things|stuff|catalogue|catalog|stock|titles)"
_ALL_PT = r"(?:(?:todos|todas|os|as|seus|suas|o|seu) )*(?:produtos|itens|coisas|catalogo|titulos)"
_FAVOR = r"(?:(?:por favor|oi|ola) )?"

_FORMS: tuple[tuple[Kind, Language | None, tuple[str, ...]], ...] = (
    ("hello", "en", (_HELLO + _TO_ALL,)),
    ("hello", "pt", (_OLA + _A_TODOS,)),
    (
        "well",
        "en",
        (
            rf"(?:{_HELLO}{_TO_ALL} )?how (?:are (?:you|things)|do you do){_TO_ALL}",
            rf"(?:{_HELLO}{_TO_ALL} )?(?:how are you doing|hows it going|whats up){_TO_ALL}",
        ),
    ),
    (
        "well",
        "pt",
        (
            rf"(?:{_OLA}{_A_TODOS} )?(?:esta )?tudo (?:bem|bom|certo|joia){_A_TODOS}",
            rf"(?:{_OLA}{_A_TODOS} )?(?:como vai(?: voce)?|como (?:voce )?esta|e ai){_A_TODOS}",
        ),
    ),
    (
        "thanks",
        "en",
        (rf"(?:(?:ok|okay|great|perfect|super|no|many) )*(?:thanks|thank you|thx|cheers){_FOR}",),
    ),
    (
        "thanks",
        "pt",
        (rf"(?:(?:ok|otimo|perfeito|certo|nao|muito) )*(?:obrigad[oa]|brigad[oa]|valeu){_POR}",),
    ),
    ("bye", "en", (rf"(?:bye|bye bye|goodbye|good night|see you(?: later| soon)?){_TO_ALL}",)),
    ("bye", "pt", (rf"(?:tchau|adeus|ate (?:logo|mais|breve|amanha)){_A_TODOS}",)),
    ("noted", "en", ("yes", "no", "okay", "great", "cool", "nice", "sure", "please")),
    ("noted", "pt", ("sim", "nao", "otimo", "legal", "claro", "beleza", "por favor")),
    ("noted", None, ("ok",)),
    (
        "who",
        "en",
        (
            r"(?:and )?(?:who|what) (?:exactly )?are you",
            r"what(?:s| is) your name",
            r"are you (?:a |an )?(?:human|robot|bot|person|machine|ai|real)",
            r"who am i (?:talking|speaking) (?:to|with)",
        ),
    ),
    (
        "who",
        "pt",
        (
            r"(?:e )?(?:quem|o que|que) (?:e|eh) voce",
            r"voce (?:e|eh) (?:quem|(?:uma? )?(?:robo|humano|pessoa|maquina|ia|bot))",
            r"qual (?:(?:e|eh) )?(?:o )?seu nome",
            r"como voce se chama",
            r"com quem (?:eu )?(?:falo|estou falando)",
        ),
    ),
    (
        "help",
        "en",
        (
            rf"{_PLEASE}(?:(?:can you )?help(?: me)?|i need (?:some )?help)(?: please)?",
            r"what (?:can|do) you (?:do|know|help(?: me)? with|tell me)(?: for me)?",
            r"how can you help(?: me)?",
            r"what (?:can|should|may|do) i (?:ask|type|say|do)(?: you| here)*",
            r"how do you work",
        ),
    ),
    (
        "help",
        "pt",
        (
            rf"{_FAVOR}(?:(?:me )?ajud[ae](?: me)?|preciso de ajuda)(?: por favor)?",
            r"(?:como )?(?:voce |vc )?pode me ajudar",
            r"(?:o )?que (?:e que )?(?:voce|vc) (?:faz|sabe|(?:pode|sabe|consegue) fazer)",
            r"(?:o )?que (?:eu )?(?:posso|devo) (?:perguntar|fazer|pedir|digitar)(?: aqui)?",
            r"como voce funciona",
        ),
    ),
    (
        "all",
        "en",
        (
            (
                rf"{_PLEASE}(?:show|list|give|tell|browse|see)(?: me)? (?:all|everything|{_ALL_EN})"
                rf"(?: {_ALL_EN})?(?: (?:please|you have|you sell))*"
            ),
            r"what (?:else |all )?(?:do you (?:have|sell)|is there|have you got)(?: here)?",
            rf"what (?:{_ALL_EN}) (?:do you (?:have|sell)|are there)",
        ),
    ),
    (
        "all",
        "pt",
        (
            (
                rf"{_FAVOR}(?:mostre|mostra|liste|lista|ver)(?: me)? (?:tudo|{_ALL_PT})"
                r"(?: (?:por favor|que (?:voce tem|voces tem)))*"
            ),
            r"(?:o )?que (?:mais )?(?:voce|voces|vc|vcs) (?:tem|vende|vendem)(?: (?:aqui|ai))?",
            rf"(?:que|quais) (?:{_ALL_PT}) (?:voce|voces|vc|vcs) (?:tem|vende|vendem)",
        ),
    ),
)

_KIND = r"(?P<words>(?:\w+ )?\w+s)"
"""A kind of product, in the plural."""
_ANY_EN = r"(?:(?:all|of|your|the|some) )*"
_ANY_PT = r"(?:(?:todos|todas|os|as|seus|suas) )*"
_LISTS = (
    rf"{_PLEASE}(?:show|list|give|browse|see)(?: me)? {_ANY_EN}{_KIND}(?: please)?",
    rf"(?:what|which) {_KIND} (?:do you (?:have|sell)|are there|have you got)(?: here)?",
    rf"{_FAVOR}(?:mostre|mostra|liste|lista|ver)(?: me)? {_ANY_PT}{_KIND}",
    rf"(?:que|quais) {_KIND} (?:voce|voces|vc|vcs) (?:tem|vende|vendem)(?: (?:aqui|ai))?",
)


def kind_to_list(question: str) -> str:
    """Return the kind of product that a question wants listed ("list your books"), or nothing."""
    is_title = len(question) > _LONGEST or quoted_spans(question)
    asked = "" if is_title else " ".join(tokenise(question))
    found = (re.fullmatch(form, asked) for form in _LISTS)
    return next((match["words"] for match in found if match), "")


def small_talk(question: str) -> tuple[Kind | None, Language | None]:
    """Return the kind of small talk, and its language if it shows; a quoted text is a title."""
    if len(question) > _LONGEST or quoted_spans(question):
        return None, None
    asked = " ".join(tokenise(question))
    for kind, language, forms in _FORMS:
        if any(re.fullmatch(form, asked) for form in forms):
            return kind, language
    return None, None


def is_small_talk(question: str) -> bool:
    """Whether a question is about no product."""
    return small_talk(question)[0] is not None
