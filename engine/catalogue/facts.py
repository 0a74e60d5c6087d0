"""Kinds of facts that a question asks for, with the words that ask and the words that answer.

All patterns are matched with `plain` text. They are compiled at the first follow-up question, not
at import time.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import dataclass

_NUMBER = (
    r"(?:\d[\d.,/]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty"
    r"|thirty"
    r"|forty|fifty|sixty|hundred|half|dois|duas|tres|quatro|cinco|seis|sete|oito|nove|dez|doze"
    r"|vinte"
    r"|trinta|meia)"
)
_LENGTH = (
    r"(?:mm|cm|centi\w*|met(?:re|er|ro)s?|m|inch(?:es)?|in|ft|feet|foot|yards?|pole?gadas?|pes)"
)
_VOLUME = r"(?:ml|cl|lit(?:re|er|ro)s?|l|gallons?|quarts?|pints?|fl oz|cups?|mb|gb)"
_WEIGHT = r"(?:kg|kilos?|g|grams?|gramas?|quilos?|lbs?|pounds?|oz|ounces?|stone)"
_TIME = r"(?:min(?:ute|uto)?s?|h(?:ou|o)?r?a?s?|sec(?:ond)?s?|days?|dias?|weeks?|semanas?)"


@dataclass(frozen=True, slots=True)
class Fact:
    """A kind of fact: what asks for it, and what a sentence that gives it contains."""

    asked: str
    given: str


FACTS: dict[str, Fact] = {
    "age": Fact(
        r"how old|what ages?|\bages?\b|\bkids?\b|child\w*|toddlers?|bab(?:y|ies)\b|adults?|teen\w*"
        r"|\d+.years?.old\w*|grandchild\w*|\b(?:grand)?(?:son|daughter)s?\b"
        r"|idades?|crianca\w*|bebes?\b|adultos?|adolescentes?|(?:de )?\d+ anos|filh[oa]s?\b"
        r"|net[oa]s?\b",
        rf"\bage[ds]?\b|year.olds?|{_NUMBER}\+|\bgrades? [\dk]|from birth|\bchild|\bkids?\b|toddler"
        rf"|\bbab(?:y|ies)|months?|under.{_NUMBER}s|adults? only|{_NUMBER} and (?:up|over|under)"
        rf"|rated"
        rf"|\b(?:up to|to|from) {_NUMBER} years|readers of|{_NUMBER} anos|meses|crianca|bebe|adult",
    ),
    "size": Fact(
        r"how (?:big|large|tall|wide|high|deep|thick|small)|what sizes?|\bsizes?\b|dimensions?"
        r"|measure(?:s|ments?)?|\bwidth|\bheight|\blength|\bdepth|diameter|capacity"
        r"|tamanhos?|medidas?|\bmede|dimens\w+|altura|largura|comprimento|profundidade|capacidade"
        r"|diametro|(?:muito|tao|e) grande",
        rf"{_NUMBER}[ -]*(?:x|by|por) *\d|{_NUMBER}[ -]*(?:{_LENGTH}|{_VOLUME})\b|\d\"|\bsizes?\b"
        r"|\bx[sl]\b|xx+l|\b[sml], [ml]\b|\btamanhos?\b|one size|\bfits? |numeros? \d"
        r"|\d+ ?[-–] ?\d+\.$"
        r"|spans?|diameter|diametro|large as|taller|shorter",
    ),
    "length": Fact(
        r"how long(?! is the)|how long|\bduration|running time|\bruntime|duracao|\bduram?\b"
        r"|quanto tempo"
        r"|quantos minutos|quantas horas|how many (?:minutes|hours)",
        rf"{_NUMBER}[ -]*{_TIME}\b|\d:\d\d|running time|total time|\bhour|\bminutes",
    ),
    "pages": Fact(r"(?:how many )?\bpages\b|(?:quantas )?\bpaginas\b", r"\bpages?\b|\bpp\b|pagina"),
    "weight": Fact(
        r"how heavy|\bweighs?\b|\bweight|\bheavy|\bpes(?:o|a|ado|ada)\b",
        rf"{_NUMBER}[ -]*{_WEIGHT}\b|\bweigh|\bpesa\b|\bpeso\b",
    ),
    "author": Fact(
        r"who (?:wrote|writes|is (?:it|this|that) by|made|sings?|plays?|directed|illustrated|drew"
        r"|is in"
        r"|(?:are|is) the|narrat\w+|perform\w*|record\w*|composed|design\w*|stars?)"
        r"|\bauthors?\b|\bwriter|\bwritten by|\billustrators?|\bdirectors?|\bdirected|\bsingers?"
        r"|\bcast\b"
        r"|\bactors?|quem (?:escreveu|fez|canta|toca|ilustrou|dirigiu|e o|e a|sao|narra|desenhou"
        r"|compos"
        r"|atua|gravou)|\bautor(?:a|es)?\b|\bescritor|ilustrador|\bdiretora?\b|\bcantora?\b|elenco",
        r"\bby\b|\bauthors?\b|\bwritten|\bwrites|\bwrote|illustrat|direct(?:or|ed)|narrat"
        r"|starring|\bsings"
        r"|\bsung|vocals|played by|compos|singer|\bpor\b|\bautora?\b|\bescrit|ilustra|dirigid"
        r"|\bvoz\b"
        r"|realizador|design(?:er|ed)",
    ),
    "material": Fact(
        r"made (?:of|from|out of)|\bmaterials?\b|\bfabric|wood(?:en)?\b|\bplastic|\bmetal\b"
        r"|\bleather"
        r"|\bcotton|feit[oa] de|de que (?:e|sao) feit\w+|\bmaterial|tecido|\bmadeira|plastico"
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
        r"what colou?rs?|\bcolou?rs?\b|\b(?:que|qual a|quais as|de que) cor(?:es)?\b"
        r"|\bcor(?:es)?\b",
        r"colou?r|\bcor(?:es)?\b|\bred\b|\bblue|\bgreen|\byellow|\bblack|\bwhite|\bgr[ae]y"
        r"|\bbrown|\bpink"
        r"|\borange|purple|\bsilver|\bgold|\bnavy|\bcream|vermelh|\bazul|\bverde|amarel|\bpret"
        r"|\bbranc"
        r"|cinz|\brosa\b|castanh|marrom",
    ),
    "washing": Fact(
        r"(?:machine.)?wash\w*|dishwasher|\bclean\w*|\b(?:lavar?|lavavel|lavad\w+)\b|\blava.loucas?"
        r"|maquina de lavar(?: louca)?|(?:na|a) maquina|\blimpar|\blimpa|\blimpeza",
        r"\bwash|\bwipes?\b|\bhose off|\bclean(?:s|ed|ing)?\b|\bspong|dishwasher|\blav(?:a|e|ar"
        r"|avel)\b"
        r"|\bmaquina\b|\blimp|\bsabao",
    ),
    "contents": Fact(
        r"in the (?:box|package|set|kit)|\bcontents?\b|includ\w+|comes? with|(?:na|dentro da) caixa"
        r"|\binclui|\binclus\w+|acompanha\w*|\bvem com|conteudo|\bvem (?:na|dentro)",
        r"\binclud|comes? with|\bsupplied|\benclosed|\bpacked|\bcontains?|in the (?:box|carton|kit)"
        r"|\bset of|\bprovided|\baccompan|\bwith (?:a|an|two|three|four|five|six|\d+)\b"
        r"|\beverything"
        r"|not included|\binclui|\bacompanha|\bvem (?:com|em)|\btraz\b|\bcontem",
    ),
    "power": Fact(
        r"batter(?:y|ies)|\bpowered|\bvolt\w*|\bwatt\w*|\bplug|\bmains|\brecharg\w*|\bcharger?\b"
        r"|\bpilhas?|\bbaterias?|\btomada|eletric\w+|voltagem|\belectric\w*",
        r"batter|\bcells?\b|\bvolts?\b|\bwatts?\b|\d ?[vw]\b|\bmains|recharg|\bplug|\busb\b"
        r"|adapt[oe]r"
        r"|wind-up|clockwork|\bpilha|\bbateria|\btomada",
    ),
    "language": Fact(
        r"what languages?|\blanguages?\b|subtitle\w*|translat\w+|\bin (?:english|spanish|french"
        r"|portuguese|german)|\bidiomas?|\blinguas?\b|\blegendas?|\blegendad\w+|\btraduzid\w+"
        r"|\bem (?:ingles|portugues|espanhol|frances)|dublad\w+",
        r"\benglish|\bspanish|\bfrench\b|\bportugu|\bgerman|subtitle|language|translat|legenda"
        r"|ingles"
        r"|frances\b|francais|espanhol|espanol|\bfalado|\bidioma|traduz",
    ),
    "year": Fact(
        r"\bwhen (?:was|were|did)|what year|\bpublished|publication|\breleased|which edition"
        r"|\bedition"
        r"|\bquando foi|\bem que ano|\bde que ano|qual o ano|\bpublicad\w+|\blancad\w+|\bedicao",
        r"\b1[4-9]\d\d\b|\b20\d\d\b|\bcentur|\bseculo|edition|\bedicao|\bseventies|\bsixties",
    ),
    "format": Fact(
        r"\bdvds?\b|\bvhs\b|\bblu.?ray|\bcds?\b|cassettes?|\bvinyl|paperback|hardcover|hardback"
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
        r"how many(?: pieces| parts| discs| songs| tracks| players| people| volumes| items"
        r"| episodes"
        r"| recipes| pairs| are (?:there|in it)| in (?:the|a) \w+)?|number of"
        r"|quant[oa]s(?: pecas| partes| discos| musicas| faixas| jogadores| pessoas| volumes| itens"
        r"| episodios| receitas| pares| vem| tem)?|numero de",
        rf"\b{_NUMBER}\b|\b\w+teen\b|\bdozen|\bpair\b|\bhundred|\bcento\b|\bum[a]?\b",
    ),
    "guarantee": Fact(
        r"warrant\w+|guarant\w+|\bgarantia",
        r"warrant|guarant|\bgarant|\brefund|\breplaced?\b|no returns",
    ),
    "price": Fact(
        r"\bprices?\b|\bpriced|how much(?: (?:is|are|does|do) (?:it|they|this|that)(?: cost)?)?"
        r"|\bcosts?\b|\bcheap\w*|expensive|discounts?|\bprecos?\b|quanto (?:custa|e|sai|fica)"
        r"|\bcusta\w*"
        r"|\bcar[oa]\b|\bbarat\w+|\bdesconto|\bvalor\b",
        r"[$£€] ?\d|\d ?(?:dollars|euros|reais|pounds sterling)",
    ),
    "stock": Fact(
        r"(?:in|out of) stock|\bstock\b|\bavailab\w+|\bestoque|disponi\w+",
        r"in stock|out of stock|\bsold out|\bestoque",
    ),
    "delivery": Fact(
        r"\bdeliver\w*|\bshipping|\bshipped|\bships?\b|\bpostage|\barrive|\bentrega\w*|\bfrete"
        r"|\benvi\w+"
        r"|\bchega\b",
        r"deliver|\bshipp|\bcarrier|\bpostage|allow (?:\d+|two|three|four) (?:days|weeks)|entreg"
        r"|\bfrete",
    ),
    "reviews": Fact(
        r"\breviews?\b|\bratings?\b|\bstars\b|what do (?:people|others|customers) (?:say|think)"
        r"|avaliac\w+|\bopinioes|\bresenhas?|\bnotas?\b|\bestrelas",
        r"\breviews?\b|\bstars?\b.{0,20}out of|\bresenha",
    ),
    "about": Fact(
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
}  # fmt: skip
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
    return frozenset(name for name, fact in FACTS.items() if _pattern(fact.asked).search(asked))


def gives(sentence: str, fact: str) -> bool:
    """Report whether `sentence` contains a fact of this kind."""
    given = FACTS[fact].given
    return bool(given and _pattern(given).search(plain(sentence)))


def without_facts(question: str) -> str:
    """Return the folded question without the words that ask for facts."""
    rest = plain(question).rstrip(" ?!.")
    for fact in FACTS.values():
        rest = _pattern(fact.asked).sub(" ", rest)
    return rest
