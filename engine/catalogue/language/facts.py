"""Kinds of facts that a question asks for, with the words that ask and the words that answer.

All patterns are matched with `plain` text. They are compiled at the first follow-up question, not
at import time.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

from engine.core.types import Language

_NUMBER = (
    r"(?:\d[\d.,/]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|hundred|half|dozen|dois|duas|tres"
    r"|quatro|cinco|seis|sete|oito|nove|dez|do[zc]e|tre[zc]e|cator[zc]e|quin[zc]e|vinte|trinta|meia)"
)
_LENGTH = (
    rf"(?:{_NUMBER}[ -]+(?:[a-z]+[ -]){{0,3}}(?:centi\w+|met(?:re|er|ro)s?|inch(?:es)?|feet|foot"
    r"|yards?|polegadas?)|\d ?(?:mm|cm|m|in|ft|\"))(?![a-z])"
)
_VOLUME = (
    rf"(?:{_NUMBER}[ -]+(?:lit(?:re|er|ro)s?|gallons?|quarts?|pints?|cups?)"
    r"|\d ?(?:ml|cl|l|oz|mb|gb))(?![a-z])"
)
_WEIGHT = (
    rf"(?:{_NUMBER}[ -]+(?:[a-z]+[ -])?(?:kilos?|grams?|gramas?|quilos?|pounds?|ounces?)"
    r"|\d ?(?:kg|g|lbs?|oz))(?![a-z])"
)
_TIME = r"(?:min(?:ute|uto)?s?|h(?:ou|o)?r?a?s?|sec(?:ond)?s?|days?|dias?|weeks?|semanas?)"
_COLOURS = "red|blue|green|yellow|black|white|gr[ae]y|brown|pink|orange|purple|silver|navy"
_CORES = "vermelh[oa]|azul|azuis|verde|amarel[oa]|pret[oa]|branc[oa]|cinza|castanh[oa]|marrom|rosa"
_NAME = r"[A-ZÀ-Þ][a-zà-ÿ]+ (?:(?:de|da|dos?|von|van) )?[A-ZÀ-Þ][a-zà-ÿ]+"
_SURNAME = (
    r"\b(?!(?:It|This|That|There|He|She|Here|What|Who|Which|One)\b)[A-ZÀ-Þ][a-zà-ÿ]+"
    r"(?:['’]s| (?:is|was|has|had|writes|tells|offers|brings)) "
)
_SOURCE = r"(?<=[\"'”’])\.?\s+[-–—(]*\s*[A-ZÀ-Þ][^\"'“”‘]*$"
"""What follows a quotation: its author is not the book's."""
_NAMES = {
    # Also "Quill's wit", "Quill has written", but not a company that reprints reviews.
    "author": (rf"^(?!.*[Cc]opyright).*(?:{_NAME}|{_SURNAME})", rf"^{_NAME} [a-z]"),
    "place": (r"\b(?:[Ii]n|[Aa]t|[Nn]ear|[Oo]f|[Ee]m|[Nn][ao]) [A-ZÀ-Þ][a-zà-ÿ]+",),
    "critics": (r"[\"'”’]\.? ?[-–—(]* ?[A-ZÀ-Þ][\w.,&' ]{2,60}\)?$|[\"”’] [-–—]+ [A-Z]",),
}
"""Patterns of facts with capitals, which are matched as they are."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A kind of fact: what asks for it, and what a sentence that gives it contains."""

    english: str
    portuguese: str
    asked: str
    given: str

    @property
    def names(self) -> dict[Language, str]:
        """Return the name of the fact in each language."""
        return {"en": self.english, "pt": self.portuguese}


FACTS: dict[str, Fact] = {
    "age": Fact(
        "age",
        "idade",
        r"how old|what ages?|\bages?\b|\bkids?\b|child\w*|toddlers?|bab(?:y|ies)\b|adults?|teen\w*"
        rf"|{_NUMBER}.years?.old\w*|grandchild\w*|\b(?:grand)?(?:son|daughter)s?\b"
        r"|idades?|crianca\w*|bebes?\b|adultos?|adolescentes?|(?:de )?\d+ anos|filh[oa]s?\b"
        r"|net[oa]s?\b",
        rf"\bage[ds]?\b|\b\d\d? (?:to|a) \d\d?[.;,)]|year.olds?|{_NUMBER}\+|\bgrades? [\dk]"
        rf"|months?|from birth|{_NUMBER} and (?:up|over|under)|\brated\b|\bpre-?school"
        rf"|\b(?:to|from|at|about) {_NUMBER}(?: years|[,.])|under.{_NUMBER}s|{_NUMBER} anos"
        r"|\bmeses\b",
    ),
    "readers": Fact(
        "age",
        "idade",
        r"\bkids?\b|child\w*|toddlers?|bab(?:y|ies)\b|adults?|girls?\b|boys?\b|crianca\w*|bebes?\b"
        r"|adultos?|menin[oa]s?\b",
        r"\bchild|\bkids?\b|toddler|\bbab(?:y|ies)|\badult|\bgirls?\b|\bboys?\b|crianca|\bbebe",
    ),
    "size": Fact(
        "size",
        "tamanho",
        r"(?:how|(?:is|are) (?:it|they|this)(?: an?| very)?) (?:big|large|tall|wide|high|deep|thick"
        r"|small)|what sizes?|\bsizes?\b|dimensions?|measure(?:s|ments?)?|\bwidth|\bheight|\blength"
        r"|\bdepth|diameter|capacity|tamanhos?|medidas?|\bmede|dimens\w+|altura|largura"
        r"|comprimento|profundidade|capacidade|diametro|(?:muito|tao|e) grande",
        rf"{_NUMBER}[ -]*(?:x|by|por) *\d|{_LENGTH}|{_VOLUME}|\bsizes?\b|\bx[sl]\b|xx+l"
        r"|\b[sml], [ml]\b|\btamanhos?\b|\d+ ?[-–] ?\d+\.$|\bsmall|\bmedium|\blarge|\bpequen"
        r"|\bgrande",
    ),
    "duration": Fact(
        "duration",
        "duração",
        r"how long|\bduration|running time|\bruntime|duracao|\bduram?\b|quanto tempo"
        r"|quantos minutos|quantas horas|how many (?:minutes|hours)",
        rf"{_NUMBER}[ -]*{_TIME}\b|\d:\d\d|{_NUMBER}[ -](?:months|years|anos|meses)\b|\bhours?\b"
        r"|\bheure",
    ),
    "length": Fact(
        "length", "comprimento", r"how long(?! (?:do|did|will|should|can))", rf"{_LENGTH}|\d pages"
    ),
    "pages": Fact(
        "pages", "páginas", r"\bpages\b|\bpaginas\b", rf"{_NUMBER}[ -](?:pages?|paginas?)\b|\bpp\b"
    ),
    "weight": Fact(
        "weight",
        "peso",
        r"how heavy|\bweighs?\b|\bweight|\bheavy|\bpes(?:o|am?|ado|ada)\b",
        rf"{_WEIGHT}|\bweigh|\bpesa\b|\bpeso\b",
    ),
    "author": Fact(
        "who made it",
        "quem fez",
        r"who\b|quem\b|edited|\bauthors?\b|\bwriter|\bwritten by|\billustrators?|\bdirect(?:or|ed)"
        r"|\bsingers?|\bcast\b|\bactors?|(?:who|quem) \w+|\bautor(?:a|es)?\b|\bescritor|ilustrador"
        r"|\bdiretora?\b|\bcantora?\b|elenco",
        r"\bby\b|\bauthor|\bwr(?:itten|ites|ote)|\bedit(?:ed|or)|illustrat|direct(?:or|ed)|narrat"
        r"|starring|\bs[iu]ng|played by|compos|\bpor\b|\bautora?\b|\bescrit|ilustra|dirigid",
    ),
    "material": Fact(
        "material",
        "material",
        r"made (?:of|from|out of)|\bmaterials?\b|\bfabrics?\b|wood(?:en)?\b|\bplastic|\bmetal\b"
        r"|\bleather|\bcotton|feit[oa] de|de que (?:e|sao)\b|tecido|\bmadeira|plastico|\bcouro"
        r"|algodao",
        r"\bcotton|\bwool|\bsteel|\bwood|\bplastic|\bleather|\bglass\b|\biron|\bbrass|rubber"
        r"|\bnylon|polyester|\bmetal|chrome|alumin|ceramic|porcel|\bpaper\b|\bcard(?:board)?\b|\bfelt"
        r"|\btin\b|made (?:of|from)|algodao|\bmadeira|\baco\b|\bcouro|vidro|plastico",
    ),
    "colour": Fact(
        "colour",
        "cor",
        rf"in (?:{_COLOURS})\b|em (?:{_CORES})\b|\bcolou?rs?\b"
        r"|\b(?:que|qual a|quais as|de que) cor(?:es)?\b|\bcor(?:es)?\b",
        rf"colou?r|\bcor(?:es)?\b|\b(?:{_COLOURS})\b|\b(?:{_CORES})s?\b",
    ),
    "washing": Fact(
        "washing and cleaning",
        "lavagem e limpeza",
        r"(?:machine.)?wash\w*|dishwasher|\bclean\w*|\b(?:lavar?|lavavel|lavad\w+)\b|\blava.loucas?"
        r"|maquina de lavar(?: louca)?|(?:na|a) maquina|\blimp(?:ar|a|o|am|eza)\b",
        r"\bwash|\bwip(?:e[ds]?|ing)\b|\bclean(?:s|ed|ing)?\b|\bsponge|dishwasher|\bhose"
        r"|\blav(?:a|e|ar|avel)\b|\bmaquina\b|\blimp",
    ),
    "contents": Fact(
        "contents",
        "conteúdo",
        r"in the (?:box|package|set|kit)|\binside\b|do i get|\bcontents?\b|includ\w+|comes? with"
        r"|(?:na|dentro da) caixa|\binclui|\binclus\w+|acompanha\w*|\bvem com|conteudo"
        r"|\bvem (?:na|dentro)|o que (?:vem|tem dentro)",
        r"\binclud|comes? with|\bsupplied|\bpack(?:ed|et)|\bcontains?|in the (?:box|carton|kit)"
        r"|\bset of|\balso\b|\bwith (?:a|an|two|three|four|\d+)\b|\binclui|\bacompanha|\bvem com",
    ),
    "power": Fact(
        "power",
        "energia",
        r"batter(?:y|ies)|\bpowered|\bvolt\w*|\bwatt\w*|\bplug|\bmains|\brecharg\w*|\bcharger?\b"
        r"|\bpilhas?|\bbaterias?|\btomada|eletric\w+|voltagem|\belectric\w*",
        r"batter|\bcells?\b|\bvolts?\b|\bwatts?\b|\d ?[vw]\b|\bmains|recharg|\bplug|\busb\b"
        r"|adapt[oe]r|wind-up|\bpilha|\btomada",
    ),
    "language": Fact(
        "language",
        "idioma",
        r"what languages?|\blanguages?\b|subtitle\w*|translat\w+|\bin (?:english|spanish|french"
        r"|portuguese|german)|\bidiomas?|\blinguas?\b|\blegenda\w*|\btraduzid\w+"
        r"|\bem (?:ingles|portugues|espanhol|frances)|dublad\w+",
        r"\benglish|\bspanish|\bfrench\b|\bportugu|\bgerman|subtitle|language|translat|legenda"
        r"|ingles|frances\b|espanhol|\bidioma|traduz",
    ),
    "year": Fact(
        "year",
        "ano",
        r"\bwhen (?:is|was|were|did)|(?:what|which) year|\bpublished|publication|\breleased"
        r"|\bedition|\bquando foi|\b(?:d?em?|qual o) (?:que )?ano|\b(?:public|lanc)ad\w+|\bedicao",
        r"\b1[4-9]\d\d\b|\b20\d\d\b|\bcentur|\bseculo|edition|\bedicao",
    ),
    "format": Fact(
        "format",
        "formato",
        r"\baudio|\bdvds?\b|\bvhs\b|\bblu.?ray|\bcds?\b|cassettes?|\bvinyl|paperback|hard(?:cover"
        r"|back)|e-?book|\bformats?\b|\bvideos?\b|\bformato|brochura|capa (?:dura|mole)|\bdisco\b"
        r"|\bfilme?\b|\bfita\b|vinil|\bmovie\b",
        r"\bdvds?\b|\bvhs\b|blu.?ray|\bcds?\b|cassette|\bvinyl|paperback|hardcover|hardback"
        r"|audio|\bdis[ck]s?\b|\btape\b|\d pag(?:es|inas)|brochura|capa dura|\brustica",
    ),
    "count": Fact(
        "numbers",
        "números",
        r"how many(?: pieces| parts| discs| songs| tracks| players| people| kids| volumes| items"
        r"| episodes| recipes| pairs| are (?:there|in it)| in (?:the|a) \w+)?|number of"
        r"|quant[oa]s(?: pecas| partes| discos| musicas| faixas| jogadores| pessoas| volumes| itens"
        r"| episodios| receitas| pares| vem| tem)?|numero de|players\b|jogadores",
        rf"\b{_NUMBER}\b|\bpair\b|\bum[a]?\b",
    ),
    "pictures": Fact(
        "pictures",
        "imagens",
        r"illustrations?\b|illustrated(?! by)|pictures?\b|drawings?\b|photo(?:s|graphs?)?\b"
        r"|maps?\b|images?\b|figuras?\b|foto(?:s|grafias?)?\b|mapas?\b|desenhos?\b|imagens\b"
        r"|ilustra(?:c\w+|d[oa])\b",
        r"illustrat|drawing|photo|\bmaps?\b|engraving|picture|diagram|ilustra|desenho|gravura"
        r"|\bfoto",
    ),
    "maker": Fact(
        "maker",
        "fabricante",
        r"who (?:makes|manufactures|sells|publish\w+)|manufacturer|brands?\b|publisher"
        r"|where (?:is|was) (?:it|this) made|made in\b|(?:which )?country|fabricantes?\b|marca\b"
        r"|editora\b|onde (?:e|foi) (?:feit|fabricad|produzid)\w+|origem\b|quem fabrica",
        r"made (?:by|in)|manufactur|publish|\bimport|\bbrand|fabricad[oa]|feito (?:em|por)|editora",
    ),
    "place": Fact("place", "lugar", r"where (?:is|are|does|do|did|was|were)\b|set in|\bonde\b", ""),
    "guarantee": Fact(
        "guarantee",
        "garantia",
        r"warrant\w+|guarant\w+|\bgarantia",
        r"warrant|guarant|\bgarant|\brefund|\breplaced?\b",
    ),
    "critics": Fact(
        "what critics say",
        "o que a crítica diz",
        r"\bcritics?\b|\breviewers?\b|\bthe press\b|\bsays? (?:about|of)\b|\bcritic[ao]s?\b"
        r"|\bimprensa\b|\bresenhistas?\b",
        "",
    ),
    "price": Fact(
        "prices",
        "preços",
        r"\bprices?\b|\bpriced|how much(?: (?:is|are) (?:it|they|this|that|these|those)\b"
        r"|(?: (?:does|do) (?:it|they|this|that))? cost|$)|\bcosts?\b|\bcheap\w*|expensive"
        r"|discounts?|\bprecos?\b|quanto (?:custa\w*|e|sai|fica|ta)\b|\bcusta\w*|\bcar[oa]\b"
        r"|\bbarat\w+|\bdesconto|\bvalor\b",
        r"[$£€] ?\d|\d ?(?:dollars|euros|reais|pounds sterling)",
    ),
    "stock": Fact(
        "stock levels",
        "estoque",
        r"(?:in|out of) stock|\bstock\b|\bavailab\w+|\bestoque|disponi\w+",
        r"in stock|out of stock|\bsold out|\bestoque",
    ),
    "delivery": Fact(
        "delivery details",
        "dados de entrega",
        r"\bdeliver\w*|\bshipping|\bshipped|\bships?\b|\bpostage|\barrive|\bentrega\w*|\bfrete"
        r"|\benvi\w+|\bchega\b",
        r"deliver|\bshipp|\bcarrier|\bpostage|allow (?:\d+|two|three|four) (?:days|weeks)|entreg",
    ),
    "reviews": Fact(
        "reviews",
        "avaliações",
        r"\breviews?\b|\bratings?\b|how many stars|what do (?:people|others|customers) (?:say"
        r"|think)|avaliac\w+|\bopinioes|\bresenhas?|\bnotas?\b|\bestrelas",
        r"\breviews?\b|\bstars?\b.{0,20}out of|\bresenha",
    ),
    "about": Fact(
        "summary",
        "resumo",
        r"what(?: is|s) (?:it|this|that)(?: all)?(?: about)?$|what(?: is|s) (?:the story|it about)"
        r"|what happens|\bplot\b|\bsummary|\bthe story\b|tell me (?:all |more )?about (?:it|this"
        r"|that|them)|(?:tell me |say |know |read )?\bmore\b"
        r"(?: details| information| about (?:it|this|that))?|\bdescribe (?:it|this|that)"
        r"|\bdescription|(?:do|de|sobre|sobre o|o) que (?:se )?(?:trata|e)(?: (?:isso|ele|ela))?"
        r"|\bsobre o que|\bhistoria|\bresumo|\bresum[ae]\w*|(?:fal|cont|dig|sab)\w+ (?:\w+ )?mais"
        r"|\bmais\b(?: detalhes| informacoes)?|\bdescricao|\bdescreva",
        "",
    ),
}
NEVER = frozenset({"price", "stock", "delivery", "reviews"})
"""Facts that the data set does not have; a description may mention one all the same."""


def plain(text: str) -> str:
    """Return `text` in lower case, without accents and apostrophes; the punctuation stays."""
    bare = unicodedata.normalize("NFKD", text.lower().replace("’", "").replace("'", ""))
    return "".join(letter for letter in bare if not unicodedata.combining(letter))


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def asked_for(question: str) -> frozenset[str]:
    """Return the names of the facts that `question` asks for."""
    asked = plain(question).rstrip(" ?!.")
    return frozenset(
        name for name, fact in FACTS.items() if _pattern(rf"\b(?:{fact.asked})").search(asked)
    )


def gives(sentence: str, fact: str) -> bool:
    """Report whether `sentence` contains a fact of this kind."""
    return _names(sentence, fact) > 0 if fact in _NAMES else signs(sentence, fact) > 0


def signs(sentence: str, fact: str) -> int:
    """Count the signs of a fact in `sentence`: its words, and for some facts names."""
    given = FACTS[fact].given
    has_words = bool(given and _pattern(given).search(plain(sentence)))
    return has_words + _names(sentence, fact)


def _names(sentence: str, fact: str) -> int:
    if fact == "author":
        sentence = _pattern(_SOURCE).sub(" ", sentence)
    return sum(bool(_pattern(one).search(sentence)) for one in _NAMES.get(fact, ()))


def without_facts(question: str) -> str:
    """Return the folded question without the words that ask for facts."""
    rest = plain(question).rstrip(" ?!.")
    for fact in FACTS.values():
        rest = _pattern(rf"\b(?:{fact.asked})").sub(" ", rest)
    return rest
