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
    r"(?:\d[\d.,/]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty"
    r"|thirty"
    r"|forty|fifty|sixty|hundred|half|dois|duas|tres|quatro|cinco|seis|sete|oito|nove|dez|doze"
    r"|vinte"
    r"|trinta|meia)"
)
_LENGTH = (
    rf"(?:{_NUMBER}[ -]+(?:[a-z]+[ -]){{0,3}}(?:centi\w+|met(?:re|er|ro)s?|inch(?:es)?|feet|foot"
    rf"|yards?"
    r"|polegadas?|palmos?)|\d ?(?:mm|cm|m|in|ft|\"))(?![a-z])"
)
_VOLUME = (
    rf"(?:{_NUMBER}[ -]+(?:lit(?:re|er|ro)s?|gallons?|quarts?|pints?|cups?)"
    r"|\d ?(?:ml|cl|l|fl oz|mb|gb))(?![a-z])"
)
_WEIGHT = (
    rf"(?:{_NUMBER}[ -]+(?:[a-z]+[ -])?(?:kilos?|grams?|gramas?|quilos?|pounds?|ounces?)"
    r"|\d ?(?:kg|g|lbs?|oz))(?![a-z])"
)
_TIME = r"(?:min(?:ute|uto)?s?|h(?:ou|o)?r?a?s?|sec(?:ond)?s?|days?|dias?|weeks?|semanas?)"

_COLOURS = "red|blue|green|yellow|black|white|gr[ae]y|brown|pink|orange|purple|silver|navy"
_CORES = "vermelh[oa]|azul|azuis|verde|amarel[oa]|pret[oa]|branc[oa]|cinza|castanh[oa]|marrom|rosa"
_NAME = r"[A-ZÀ-Þ][a-zà-ÿ]+ (?:(?:de|da|dos?|von|van) )?[A-ZÀ-Þ][a-zà-ÿ]+"
_SURNAME = r"[A-ZÀ-Þ][a-zà-ÿ]+(?:['’]s| (?:has|writes|tells|offers|is an?)) "
_NAMES = {
    # Also "Quill's wit", "Quill has written", but not a company that reprints reviews.
    "author": (
        rf"^(?!.*[Cc]opyright).*(?:{_NAME}|{_SURNAME})",
        rf"^{_NAME} [a-z]",
    ),
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
        rf"|from birth|months?|under.{_NUMBER}s|{_NUMBER} and (?:up|over|under)|\brated\b"
        r"|\bpre-?school|kindergarten|adults? only|readers of"
        rf"|\b(?:up to|to|from) {_NUMBER} years|{_NUMBER} anos|\bmeses\b",
    ),
    "readers": Fact(
        "age",
        "idade",
        r"\bkids?\b|child\w*|toddlers?|bab(?:y|ies)\b|adults?|girls?\b|boys?\b|crianca\w*|bebes?\b"
        r"|adultos?|menin[oa]s?\b",
        r"\bchild|\bkids?\b|toddler|\bbab(?:y|ies)|infants?|\badults?|\bgirls?\b|\bboys?\b|crianca"
        r"|\bbebe|adulto",
    ),
    "size": Fact(
        "size",
        "tamanho",
        r"(?:how|(?:is|are) (?:it|they|this)(?: an?| very)?) (?:big|large|tall|wide|high|deep|thick"
        r"|small)|what sizes?|\bsizes?\b|dimensions?"
        r"|measure(?:s|ments?)?|\bwidth|\bheight|\blength|\bdepth|diameter|capacity"
        r"|tamanhos?|medidas?|\bmede|dimens\w+|altura|largura|comprimento|profundidade|capacidade"
        r"|diametro|(?:muito|tao|e) grande",
        rf"{_NUMBER}[ -]*(?:x|by|por) *\d|{_LENGTH}|{_VOLUME}|\bsizes?\b"
        r"|\bx[sl]\b|xx+l|\b[sml], [ml]\b|\btamanhos?\b|one size|\bfits? |numeros? \d"
        r"|\d+ ?[-–] ?\d+\.$"
        r"|spans?|diameter|diametro|taller|shorter|\bsmall|\bmedium|\blarge|\bpequen|\bgrande",
    ),
    "duration": Fact(
        "duration",
        "duração",
        r"how long|\bduration|running time|\bruntime|duracao|\bduram?\b|quanto tempo"
        r"|quantos minutos|quantas horas|how many (?:minutes|hours)",
        rf"{_NUMBER}[ -]*{_TIME}\b|\d:\d\d|running time|total time|\bhour|\bminutes"
        rf"|\bheures?\b|(?:over|after|in|for|,) {_NUMBER} years\b",
    ),
    "length": Fact(
        "length", "comprimento", r"how long(?! (?:do|will|did|should|can))", rf"{_LENGTH}|\d pages"
    ),
    "pages": Fact(
        "pages",
        "páginas",
        r"(?:how many )?\bpages\b|(?:quantas )?\bpaginas\b",
        r"\bpages?\b|\bpp\b|pagina",
    ),
    "weight": Fact(
        "weight",
        "peso",
        r"how heavy|\bweighs?\b|\bweight|\bheavy|\bpes(?:o|a|ado|ada)\b",
        rf"{_WEIGHT}|\bweigh|\bpesa\b|\bpeso\b",
    ),
    "author": Fact(
        "who made it",
        "quem fez",
        r"who\b|quem\b|edited|who (?:wrote|writes|is (?:it|this|that) by|made|sings?|plays?"
        r"|directed|illustrated|drew"
        r"|is in"
        r"|(?:are|is) the|narrat\w+|perform\w*|record\w*|composed|design\w*|stars?)"
        r"|\bauthors?\b|\bwriter|\bwritten by|\billustrators?|\bdirectors?|\bdirected|\bsingers?"
        r"|\bcast\b"
        r"|\bactors?|quem (?:escreveu|fez|canta|toca|ilustrou|dirigiu|e o|e a|sao|narra|desenhou"
        r"|compos"
        r"|atua|gravou)|\bautor(?:a|es)?\b|\bescritor|ilustrador|\bdiretora?\b|\bcantora?\b|elenco",
        r"\bby\b|\bedit(?:ed|ors?)\b|\bauthors?\b|\bwritten|\bwrites|\bwrote|illustrat"
        r"|direct(?:or|ed)|narrat"
        r"|starring|\bsings"
        r"|\bsung|vocals|played by|compos|singer|\bpor\b|\bautora?\b|\bescrit|ilustra|dirigid"
        r"|\bvoz\b"
        r"|realizador|design(?:er|ed)",
    ),
    "material": Fact(
        "material",
        "material",
        r"made (?:of|from|out of)|\bmaterials?\b|\bfabrics?\b|wood(?:en)?\b|\bplastic|\bmetal\b"
        r"|\bleather"
        r"|\bcotton|feit[oa] de|de que (?:e|sao)\b|\bmaterial|tecido|\bmadeira|plastico"
        r"|\bcouro"
        r"|algodao",
        r"\bcotton|\bwool|\bsteel|\bwood|\bplastic|\bleather|\blinen|\bglass\b|\biron|\bbrass"
        r"|\boak|\bash\b"
        r"|\bbirch|beech|\bmaple|\bpine\b|\bbamboo|rubber|\bnylon|polyester|\bmetal|alumin"
        r"|ceramic|porcel"
        r"|earthenware|stoneware|\bcard(?:board)?\b|\bpaper\b|\bfelt|velour|\bcanvas|\btwill"
        r"|\btin\b|copper"
        r"|\bsilk|\bcork|acrylic|\bpvc\b|silicon|made (?:of|from)|algodao|\bla\b|\bmadeira"
        r"|\baco\b|\bcouro"
        r"|vidro|\blona|latao|plastico|borracha|oliveira",
    ),
    "colour": Fact(
        "colour",
        "cor",
        rf"in (?:{_COLOURS})\b|em (?:{_CORES})\b|\bcolou?rs?\b"
        r"|\b(?:que|qual a|quais as|de que) cor(?:es)?\b"
        r"|\bcor(?:es)?\b",
        rf"colou?r|\bcor(?:es)?\b|\b(?:{_COLOURS})\b|\b(?:{_CORES})s?\b|\bgold\b|\bcream\b",
    ),
    "washing": Fact(
        "washing and cleaning",
        "lavagem e limpeza",
        r"(?:machine.)?wash\w*|dishwasher|\bclean\w*|\b(?:lavar?|lavavel|lavad\w+)\b|\blava.loucas?"
        r"|maquina de lavar(?: louca)?|(?:na|a) maquina|\blimp(?:ar|a|o|am|eza)\b",
        r"\bwash|\bwip(?:e[ds]?|ing)\b|\bhose off|\bclean(?:s|ed|ing)?\b|\bsponge[ds]?\b(?! cake)"
        r"|dishwasher"
        r"|\blav(?:a|e|ar"
        r"|avel)\b"
        r"|\bmaquina\b|\blimp|\bsabao",
    ),
    "contents": Fact(
        "contents",
        "conteúdo",
        r"in the (?:box|package|set|kit)|\binside\b|do i get|\bcontents?\b|includ\w+|comes? with"
        r"|(?:na|dentro da) caixa"
        r"|\binclui|\binclus\w+|acompanha\w*|\bvem com|conteudo|\bvem (?:na|dentro)|o que (?:vem"
        r"|tem dentro)",
        r"\binclud|comes? with|\bsupplied|\benclosed|\bpacked|\bcontains?|in the (?:box|carton|kit)"
        r"|\bset of|\bprovided|\baccompan|\bwith (?:a|an|two|three|four|five|six|\d+)\b"
        r"|\beverything"
        r"|not included|\binclui|\bacompanha|\bvem (?:com|em)|\btraz\b|\bcontem",
    ),
    "power": Fact(
        "power",
        "energia",
        r"batter(?:y|ies)|\bpowered|\bvolt\w*|\bwatt\w*|\bplug|\bmains|\brecharg\w*|\bcharger?\b"
        r"|\bpilhas?|\bbaterias?|\btomada|eletric\w+|voltagem|\belectric\w*",
        r"batter|\bcells?\b|\bvolts?\b|\bwatts?\b|\d ?[vw]\b|\bmains|recharg|\bplug|\busb\b"
        r"|adapt[oe]r"
        r"|wind-up|clockwork|\bpilha|\bbateria|\btomada",
    ),
    "language": Fact(
        "language",
        "idioma",
        r"what languages?|\blanguages?\b|subtitle\w*|translat\w+|\bin (?:english|spanish|french"
        r"|portuguese|german)|\bidiomas?|\blinguas?\b|\blegendas?|\blegendad\w+|\btraduzid\w+"
        r"|\bem (?:ingles|portugues|espanhol|frances)|dublad\w+",
        r"\benglish|\bspanish|\bfrench\b|\bportugu|\bgerman|subtitle|language|translat|legenda"
        r"|ingles"
        r"|frances\b|francais|espanhol|espanol|\bfalado|\bidioma|traduz",
    ),
    "year": Fact(
        "year",
        "ano",
        r"\bwhen (?:is|was|were|did)|what year|which year|\bpublished|publication|\breleased"
        r"|which edition"
        r"|\bedition"
        r"|\bquando foi|\bem que ano|\bde que ano|qual o ano|\bpublicad\w+|\blancad\w+|\bedicao",
        r"\b1[4-9]\d\d\b|\b20\d\d\b|\bcentur|\bseculo|edition|\bedicao|\bseventies|\bsixties",
    ),
    "format": Fact(
        "format",
        "formato",
        r"\baudio|\bdvds?\b|\bvhs\b|\bblu.?ray|\bcds?\b|cassettes?|\bvinyl|paperback|hardcover"
        r"|hardback"
        r"|e-?book"
        r"|audiobook|\bformats?\b|\bvideos?\b|\bformato|brochura|capa (?:dura|mole)|\bdisco\b"
        r"|\bfilme\b"
        r"|\bfita\b|vinil|\bmovie\b|\bfilm\b",
        r"\bdvds?\b|\bvhs\b|blu.?ray|\bcds?\b|cassette|\bvinyl|paperback|hardcover|hardback"
        r"|\bpages\b"
        r"|audio|\bdiscs?\b|\bdisks?\b|\btape\b|\balbum|\bregions?\b|\bstapled|\bspiral|brochura"
        r"|capa dura|paginas|\brustica",
    ),
    "count": Fact(
        "numbers",
        "números",
        r"how many(?: pieces| parts| discs| songs| tracks| players| people| volumes| items"
        r"| episodes"
        r"| recipes| pairs| are (?:there|in it)| in (?:the|a) \w+)?|number of"
        r"|quant[oa]s(?: pecas| partes| discos| musicas| faixas| jogadores| pessoas| volumes| itens"
        r"| episodios| receitas| pares| vem| tem)?|numero de",
        rf"\b{_NUMBER}\b|\b\w+teen\b|\bdozen|\bpair\b|\bhundred|\bcento\b|\bum[a]?\b",
    ),
    "players": Fact(
        "players",
        "jogadores",
        r"players|(?:how many|number of) (?:people|kids|children|persons)(?: can)?(?: play)?"
        r"|how many can play|jogadores|quantas pessoas|quantos jogam",
        r"\bplayers?\b|\bjoueurs|\bjogador|\bjugador|\bfor (?:two|three|four)\b|or more\b|people",
    ),
    "pictures": Fact(
        "pictures",
        "imagens",
        r"illustrations?\b|illustrated(?! by)|pictures?\b|drawings?\b|photos?\b|photographs?\b"
        r"|maps?\b"
        r"|images?\b|figuras?\b|foto(?:s|grafias?)?\b|mapas?\b|desenhos?\b|imagens\b|ilustrac\w+"
        r"|ilustrad[oa]\b",
        r"illustrat|drawing|photograph|collage|\bmaps?\b|engraving|\bplates\b|picture|diagram"
        r"|painting|ilustra"
        r"|desenho"
        r"|gravura|\bfotos?\b|fotografia",
    ),
    "maker": Fact(
        "maker",
        "fabricante",
        r"who (?:makes|manufactures|sells|publish\w+)|manufacturer|brands?\b|publisher"
        r"|where (?:is|was)"
        r" (?:it|this) made|made in\b|country of|which country|fabricantes?\b|marca\b|editora\b"
        r"|onde (?:e|foi) (?:feit|fabricad|produzid)\w+|origem\b|pais de origem|quem fabrica",
        r"made by|made in|manufactur|publish|\bimport|\bbrand|fabricad[oa]|feito (?:em|por)"
        r"|editora",
    ),
    "place": Fact("place", "lugar", r"where (?:is|are|does|do|did|was|were)\b|set in|\bonde\b", ""),
    "guarantee": Fact(
        "guarantee",
        "garantia",
        r"warrant\w+|guarant\w+|\bgarantia",
        r"warrant|guarant|\bgarant|\brefund|\breplaced?\b|no returns",
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
        r"|\benvi\w+"
        r"|\bchega\b",
        r"deliver|\bshipp|\bcarrier|\bpostage|allow (?:\d+|two|three|four) (?:days|weeks)|entreg"
        r"|\bfrete",
    ),
    "critics": Fact(
        "what critics say",
        "o que a crítica diz",
        r"\bcritics?\b|\breviewers?\b|\bthe press\b|\bsays? (?:about|of)\b|\bcritic[ao]s?\b"
        r"|\bimprensa\b|\bresenhistas?\b",
        r"\breview",
    ),
    "reviews": Fact(
        "reviews",
        "avaliações",
        r"\breviews?\b|\bratings?\b|how many stars|what do (?:people|others|customers) (?:say"
        r"|think)"
        r"|avaliac\w+|\bopinioes|\bresenhas?|\bnotas?\b|\bestrelas",
        r"\breviews?\b|\bstars?\b.{0,20}out of|\bresenha",
    ),
    "about": Fact(
        "summary",
        "resumo",
        r"what(?: is|s) (?:it|this|that)(?: all)?(?: about)?$|what(?: is|s) (?:the story|it about)"
        r"|what happens|\bplot\b|\bsummary|\bthe story\b|tell me (?:all |more )?about (?:it|this"
        r"|that|them)"
        r"|(?:tell me |say |know |read )?\bmore\b(?: details| information| about (?:it|this|that))?"
        r"|\bdescribe (?:it|this|that)|\bdescription|(?:do|de|sobre|sobre o"
        r"|o) que (?:se )?(?:trata|e)(?: (?:isso|ele|ela))?"
        r"|\bsobre o que|\bhistoria|\bresumo|\bresum[ae]\w*|(?:fal|cont|dig|sab)\w+ (?:\w+ )?mais"
        r"|\bmais\b(?: detalhes| informacoes)?"
        r"|\bdescricao|\bdescreva",
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
    return sum(bool(_pattern(one).search(sentence)) for one in _NAMES.get(fact, ()))


def without_facts(question: str) -> str:
    """Return the folded question without the words that ask for facts."""
    rest = plain(question).rstrip(" ?!.")
    for fact in FACTS.values():
        rest = _pattern(rf"\b(?:{fact.asked})").sub(" ", rest)
    return rest
