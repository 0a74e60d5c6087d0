"""The program's own sentences as answers, in English and Portuguese. They never quote a record."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Literal

from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.language.facts import FACTS
from engine.catalogue.language.small_talk import kind_to_list, small_talk
from engine.catalogue.language.snippets import content_words, snippet
from engine.core.text import one_line
from engine.core.types import Decision, Hit, Language, Product, Status

# Words of one language only; "a", "do", "me", "as" and "no" are words of both.
_ENGLISH = frozenset(
    """
    the of is are was were have you your what which who when where how tell about describe find
    there any does did it this that for and with i i'm i'd looking want need please hello hi thanks
    it's what's who's where's he she they them write wrote can could would will should to in on an
    at from by my our or but not if don't list show give something anything some book books much
    many old get got we us help more other one film films movie movies made make kids child children
    year years gift price cost costs long
    """.split()  # noqa: SIM905 - a hundred quoted words are harder to read
)
_PORTUGUESE = frozenset(
    """
    o os um uma uns umas da dos das de em qual quais que quem quando onde como é são tem têm ter há
    você vocês descrição livro livros sobre fale diga descreva produto produtos procuro quero queria
    preciso existe este esta isso isto ele ela eles elas dele dela deles delas foi escreveu fez
    obrigado obrigada olá oi bom boa dia tarde noite favor gostaria para com não na nos nas ao pelo
    pela por seu sua meu minha conhece mostre mostra liste sem mais muito muita ou mas até já também
    quanto quanta quantos quantas custa preço tamanho idade anos ano algum alguma algo coisa filme
    filmes brinquedo brinquedos presente criança crianças tudo bem vem serve dura ajuda ajude posso
    pode podem vende vendem outro outra outros outras feito feita
    """.split()  # noqa: SIM905 - a hundred quoted words are harder to read
)
_PORTUGUESE_LETTERS = re.compile(r"[ãõç]")
_WORD = re.compile(r"[\w']+")
_MAX_CHARACTERS = 4_000
"""Characters that are enough to detect a language; a pasted text may have a million."""


def language_of(question: str, default: Language = "en", titles: Iterable[str] = ()) -> Language:
    """Detect the language of a question outside its quotes and the words of a title it names."""
    asked = re.sub(r"[\"“”«»].*?[\"“”«»]", " ", question[:_MAX_CHARACTERS])
    words = _without_title(_WORD.findall(asked.lower()), titles)
    english = [word in _ENGLISH for word in words]
    portuguese = [word in _PORTUGUESE or bool(_PORTUGUESE_LETTERS.search(word)) for word in words]
    # A question begins in its own language; a title that the catalogue lacks may follow.
    shown = sum(portuguese) - sum(english) + 2 * (sum(portuguese[:2]) - sum(english[:2]))
    if not shown:
        return default
    return "pt" if shown > 0 else "en"


def _without_title(words: list[str], titles: Iterable[str]) -> list[str]:
    """Remove the longest part that one of the titles has too, unless it is all stop words."""
    folded = ["".join(tokenise(word)) for word in words]
    parts = [
        SequenceMatcher(None, folded, tokenise(title), autojunk=False).find_longest_match()
        for title in titles
    ]
    start, _, size = max(parts, key=lambda part: part.size, default=(0, 0, 0))
    part = folded[start : start + size]
    if size < len(words) and STOP_WORDS.issuperset(part):
        return words
    return words[:start] + words[start + size :]


PHRASES: dict[Language, dict[str, str]] = {
    "en": {
        "one_matches": "1 product matches:",
        "several_match": "{count} products match:",
        "more_match": "{count} or more products match:",
        "close_one": "No title says that. This description comes close:",
        "close": "No title says that. These descriptions come close:",
        "none_matches": "No product matches “{question}”.",
        "closest_one": "Closest title:",
        "closest": "Closest titles:",
        "which": "Which one do you mean?",
        "narrow": "Ask for one by its number, or add a word to narrow the list.",
        "browse": "Ask for one by its number; Ctrl+Y or /list {kind} shows them all.",
        "rephrase": "Ask for one by its number, or try other words.",
        "retry": "Try other words, or part of a title.",
        "no_description": "“{title}” is in the catalogue, but without a description.",
        "in_title": "From the title: “{title}”.",
        "not_found": "I couldn't find that in the description of “{title}”.",
        "whole": "F4 or /record shows the whole record.",
        "guess": "The closest sentences, as a guess:",
        "looked_for": "Looked for: {facts}.",
        "never": "The catalogue has no {facts}.",
        "hello": "Hello! Ask about a product, by its title or in your own words.",
        "well": "All is well, thank you! What are you looking for?",
        "thanks": "You're welcome!",
        "bye": "Goodbye!",
        "noted": "All right. What are you looking for?",
        "who": (
            "I'm Balcão, the counter of this catalogue. I look up its products, and quote their"
            " descriptions word for word."
        ),
        "help": (
            "Ask for a product by its title, by its number or by what it is about, in English or"
            " Portuguese. Then ask about it: who made it, how big it is, what age it is for."
        ),
        "all": ("Ctrl+Y or /list shows all titles. Or ask for a kind of thing, or a subject."),
        "example": "For example:",
        "no_text": "no description",
        "one_edition": "and 1 more edition:",
        "editions": "and {count} more editions:",
    },
    "pt": {
        "one_matches": "1 produto corresponde:",
        "several_match": "{count} produtos correspondem:",
        "more_match": "{count} ou mais produtos correspondem:",
        "close_one": "Nenhum título diz isso. Esta descrição chega perto:",
        "close": "Nenhum título diz isso. Estas descrições chegam perto:",
        "none_matches": "Nenhum produto corresponde a “{question}”.",
        "closest_one": "Título mais próximo:",
        "closest": "Títulos mais próximos:",
        "which": "Qual deles?",
        "narrow": "Peça um pelo número, ou acrescente uma palavra para restringir a lista.",
        "browse": "Peça um pelo número; Ctrl+Y ou /list {kind} mostra todos.",
        "rephrase": "Peça um pelo número, ou tente outras palavras.",
        "retry": "Tente outras palavras, ou parte de um título.",
        "no_description": "“{title}” está no catálogo, mas sem descrição.",
        "in_title": "No título: “{title}”.",
        "not_found": "Não encontrei isso na descrição de “{title}”.",
        "whole": "F4 ou /record mostra o registro inteiro.",
        "guess": "As frases mais próximas, como palpite:",
        "looked_for": "Procurei: {facts}.",
        "never": "O catálogo não tem {facts}.",
        "hello": "Olá! Pergunte por um produto, pelo título ou com as suas palavras.",
        "well": "Tudo bem, obrigado! O que você procura?",
        "thanks": "De nada!",
        "bye": "Até logo!",
        "noted": "Certo. O que você procura?",
        "who": (
            "Sou o Balcão, o balcão deste catálogo. Procuro os produtos e cito as descrições"
            " palavra por palavra."
        ),
        "help": (
            "Peça um produto pelo título, pelo número ou pelo assunto, em português ou em inglês."
            " Depois pergunte sobre ele: quem fez, que tamanho tem, para que idade é."
        ),
        "all": (
            "Ctrl+Y ou /list mostra todos os títulos. Ou peça um tipo de coisa, ou um assunto."
        ),
        "example": "Por exemplo:",
        "no_text": "sem descrição",
        "one_edition": "e mais 1 edição:",
        "editions": "e mais {count} edições:",
    },
}
_MOST_LISTED = 10
"""Products in a list, without other editions; the search stops there."""
_SNIPPET = 69
"""Characters of a description in a list: with its indent a line of 80 columns."""
_INDENT = "   "
_MAX_TITLE = 120
_MAX_ASKED = 60
"""Characters of the question that an answer repeats."""


def courtesy(question: str, language: Language, examples: Sequence[Hit] = ()) -> str:
    """Reply to small talk in its own language, or `language`; empty for any other question."""
    kind, own = small_talk(question)
    phrases = PHRASES[own or language]
    if kind is None:
        return ""
    if kind not in ("help", "all") or not examples:
        return phrases[kind]
    listed = _numbered(examples, frozenset(), own or language)
    return f"{phrases[kind]} {phrases['example']}\n\n{listed}"


def undecided(question: str, decision: Decision, language: Language, *, asked: bool = False) -> str:
    """Word the answer without a single product: a list to choose from, or the closest titles.

    `asked` is for a question about one of the products that were just listed.
    """
    phrases, several = PHRASES[language], decision.status is Status.SEVERAL
    hits = decision.hits if several else decision.nearest
    if asked and several:
        return f"{phrases['which']}\n\n{_numbered(hits, content_words(question), language)}"
    head = (
        _several(hits, phrases, close=decision.close)
        if several
        else _none(question, len(hits), phrases)
    )
    if not hits:
        return f"{head} {phrases['retry']}"
    tail = phrases["narrow"] if several else phrases["rephrase"]
    if several and (kind := kind_to_list(question)):
        tail = phrases["browse"].format(kind=kind)
    return f"{head}\n\n{_numbered(hits, content_words(question), language)}\n\n{tail}"


def asks_which(text: str) -> bool:
    """Whether an answer asks which product a question was about."""
    return any(text.startswith(phrases["which"]) for phrases in PHRASES.values())


def is_only_close(text: str) -> bool:
    """Whether a list begins by saying that no title says what the question does."""
    heads = (phrases[key] for phrases in PHRASES.values() for key in ("close", "close_one"))
    return text.startswith(tuple(heads))


def _several(hits: Sequence[Hit], phrases: dict[str, str], *, close: bool) -> str:
    if close:
        return phrases["close_one" if len(hits) == 1 else "close"]
    if len(hits) == 1:
        return phrases["one_matches"]
    is_full = sum(not hit.edition for hit in hits) >= _MOST_LISTED
    return phrases["more_match" if is_full else "several_match"].format(count=len(hits))


def _none(question: str, closest: int, phrases: dict[str, str]) -> str:
    head = phrases["none_matches"].format(question=one_line(question, _MAX_ASKED))
    if not closest:
        return head
    return f"{head} {phrases['closest_one' if closest == 1 else 'closest']}"


def missing(
    what: Literal["no_description", "in_title", "not_found"], product: Product, language: Language
) -> str:
    """Word the answer for a product whose description is missing or does not answer."""
    return PHRASES[language][what].format(title=one_line(product.title))


def guess(product: Product, sentences: Sequence[str], language: Language) -> str:
    """Word the answer for a question without a sure answer: the likeliest sentences, if any."""
    phrases = PHRASES[language]
    head = f"{missing('not_found', product, language)} {phrases['whole']}"
    return "\n\n".join((head, phrases["guess"], *sentences)) if sentences else head


def looked_for(facts: Collection[str], language: Language) -> str:
    """Return a line about the facts that the quoted sentences were chosen for."""
    return PHRASES[language]["looked_for"].format(facts=_names(facts, language))


def never_known(facts: Collection[str], language: Language) -> str:
    """Word the answer about facts that no record has."""
    return PHRASES[language]["never"].format(facts=_names(facts, language))


def _names(facts: Collection[str], language: Language) -> str:
    names = (FACTS[fact].names[language] for fact in FACTS if fact in facts)
    return ", ".join(dict.fromkeys(names))


def _numbered(hits: Sequence[Hit], words: frozenset[str], language: Language) -> str:
    """List the products, each with a line of its description and its other editions below."""
    phrases = PHRASES[language]
    lines = []
    for number, hit in enumerate(hits, 1):
        mark, product = f"{number}. ", hit.product
        title = f"{mark}{list_title(product)} ({product.uid})"
        if hit.edition:
            lines.append(f"{_INDENT}{title}")
            continue
        indent = " " * len(mark)
        shown = words.union(hit.lit or ())
        text = snippet(product.description, shown, _SNIPPET, hit.passage or 0)
        lines += [title, f"{indent}{text or phrases['no_text']}"]
        if count := _count_editions(hits[number:]):
            others = phrases["one_edition" if count == 1 else "editions"].format(count=count)
            lines.append(f"{indent}{others}")
    return "\n".join(lines)


def _count_editions(hits: Sequence[Hit]) -> int:
    """Count the hits at the beginning that are editions of the one before them."""
    return len(list(itertools.takewhile(lambda hit: hit.edition, hits)))


def list_title(product: Product) -> str:
    """Return the title that a list shows, or the beginning of the description."""
    return one_line(product.title, _MAX_TITLE) or one_line(product.description, _MAX_ASKED)
