"""Decide which products a question means: exact, likely, several or none."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from msgspec.structs import replace

from engine.catalogue import folding
from engine.catalogue.confidence import (
    AMONG,
    DEFAULT,
    MEANT,
    Thresholds,
    list_limit,
    probability,
    single_limit,
)
from engine.catalogue.folding import STOP_WORDS, title_key, tokenise
from engine.catalogue.language.ages import Ages, asked_ages, fits, search_words, specific_words
from engine.catalogue.language.excerpts import with_excerpts
from engine.catalogue.language.wishes import asks_for_any, format_group, signs_of_format
from engine.catalogue.rank import Ranked, Ranker, content_of
from engine.catalogue.search import TitleMatch, match_title
from engine.core.types import Decision, Hit, Product, Status

_MAX_QUESTION = 4_000
"""Characters: twice the longest known title."""
MAX_HITS = 10
_MAX_EDITIONS = 20
_MAX_AGED = 200
"""Records that may state ages."""
_CHILD = ("child",)
_ANY_SHARE = 0.5
"""Replaces the limit of a list for a question for anything that fits."""
_SUGGESTED = 0.5
"""The score of a title that a question may be a part of, like others."""
_MIN_WANTED = 0.5
"""The coverage of the words beside an age from which a record is of what is wanted."""
_LAST_GROUP = 4
_MAX_NEAR_TITLES = 3
_COMPARED = 500
"""Characters of a description by which similar products are found."""
_MIN_LISTED = 3
_MAX_CANDIDATES = 60
MAX_SPANS = 90
_MAX_TITLES = 500
_EDITS_PER_WORD = 2
_MIN_MAIN_TITLE = 2
"""Tokens: a single word before a subtitle is common to too many products."""
_SUBTITLE = re.compile(r":\s|\s[-–—]\s|\s?[(\[]")
_RARE = 3
"""A token in fewer titles than this may be a typo of a more frequent one."""
_UID = re.compile(r"[0-9A-Za-z_-]{6,20}")
_UID_WORDS = STOP_WORDS | {"uid", "number", "numero", "asin", "isbn"}
_NONE = Decision(Status.NONE)


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: int
    match: TitleMatch
    main_title: tuple[str, ...]
    """The content words before the subtitle; empty without a subtitle."""

    @property
    def scored(self) -> tuple[int, float]:
        return self.row, self.match.score


@dataclass(frozen=True, slots=True)
class Decider:
    """Decide over an open index. Safe to use from several threads if its parts are."""

    ranker: Ranker
    suggest: Callable[[str, int], list[int]] = lambda _text, _limit: []
    """Return the rows of the titles that are suggested for a text while it is typed."""
    thresholds: Thresholds = DEFAULT

    def decide(self, question: str) -> Decision:
        """Decide which products `question` means, by uid, by whole title, or by its tokens."""
        question = html.unescape(question[:_MAX_QUESTION]).strip()
        tokens = tokenise(question)
        if " ".join(tokens) in folding.COURTESIES:
            return _NONE
        exact = self._by_uid(question) or self._by_title(question, tokens)
        if exact:
            return exact
        content = list(dict.fromkeys(_content_words(tokens)))
        return self._by_tokens(question, tokens, content)

    def named(self, question: str) -> Decision:
        """Decide by uid or whole title only, without a search."""
        question = html.unescape(question[:_MAX_QUESTION]).strip()
        return self._by_uid(question) or self._by_title(question, tokenise(question)) or _NONE

    def alike(self, product: Product, limit: int) -> tuple[Hit, ...]:
        """Return the products most like `product` by its rare words and by meaning, best first."""
        text = f"{product.title}. {product.description[:_COMPARED]}"
        words = self.ranker.rarest(tokenise(text))
        ranked = self.ranker.rank(words, question=text) if words else []
        return _as_hits([one for one in ranked if one.product.uid != product.uid][:limit])

    def _by_uid(self, question: str) -> Decision | None:
        """Find a product whose uid is the only content word of the question."""
        uids = [word for word in _UID.findall(question) if any(map(str.isdigit, word))]
        if len(uids) != 1:
            return None
        if not _UID_WORDS.issuperset(tokenise(question.replace(uids[0], " "))):
            return None
        found = self.ranker.products.by_uid([uids[0], uids[0].upper()])
        return Decision(Status.EXACT, (Hit(found[0], 1.0),)) if found else None

    def _by_title(self, question: str, tokens: list[str]) -> Decision | None:
        """Find a whole title: the question, a quoted part, or a part without stop words."""
        inner = [
            span
            for span in itertools.islice(folding.inner_spans(tokens), MAX_SPANS)
            # "who wrote it?" is about the previous turn, even if there is a book called "It".
            if not STOP_WORDS.issuperset(span) or folding.is_capitalised(span, question)
        ]
        keys = [
            title_key(span) for span in (tokens, *folding.quoted_spans(question), *inner) if span
        ]
        if not tokens and question:
            keys.insert(0, title_key([], question))
        if not keys:
            return None
        by_key: dict[int, list[tuple[int, str]]] = {}
        for key, row, title in self.ranker.products.rows_by_key(
            list(dict.fromkeys(keys)), _MAX_TITLES
        ):
            by_key.setdefault(key, []).append((row, title))
        found = next((by_key[key] for key in keys if key in by_key), None)
        return self._named(found, question) if found else None

    def _named(self, rows: list[tuple[int, str]], question: str) -> Decision:
        """Decide among titles with the same key; those written as in the question come first."""
        folded = question.casefold()
        literal = [(len(title), row) for row, title in rows if title.casefold() in folded]
        # The title "C" is also part of "C++".
        longest = max((length for length, _ in literal), default=0)
        chosen = [row for length, row in literal if length == longest] or [row for row, _ in rows]
        return self._decision(((row, 1.0) for row in chosen), Status.EXACT) or _NONE

    def _by_tokens(self, question: str, tokens: list[str], content: list[str]) -> Decision:
        rows = (
            self.ranker.titles.rows(self._query_weights(content), _MAX_CANDIDATES)
            if content
            else []
        )
        ranked = self._rank(tokens, rows)
        meant = self._by_main_title(ranked, tokens) or self._fitting(ranked, content)
        if meant:
            named = _content_words(tokenise(meant.hits[0].product.title))
            if ranked[0].match.edits:
                meant = self._with_unedited(meant, question, content)
            elif not set(named).issubset(tokens):
                meant = self._with_suggested(meant, question)
            # Other editions lack words of the question.
            return self._with_editions(meant, {hit.product.uid for hit in meant.hits})
        return self._with_editions(self._by_words(question, tokens, ranked))

    def _with_suggested(self, meant: Decision, question: str) -> Decision:
        """Add other titles with all words of a question that is only a part of a title."""
        found = self._hits([(row, _SUGGESTED) for row in self.suggest(question, MAX_HITS)])
        uids = {hit.product.uid for hit in meant.hits}
        others = [hit for hit in found if hit.product.uid not in uids]
        if not others:
            return meant
        return Decision(Status.SEVERAL, (*meant.hits, *others)[: max(MAX_HITS, len(uids))])

    def _with_unedited(self, meant: Decision, question: str, content: list[str]) -> Decision:
        """Place titles that have the words as they are typed before those that need edits."""
        rows = self.suggest(question, MAX_HITS)
        titles = self.ranker.products.titles(rows)
        unedited = [row for row in rows if set(content).issubset(tokenise(titles[row]))]
        found = self._hits([(row, _SUGGESTED) for row in unedited])
        first = {hit.product.uid for hit in found}
        if first.issubset(hit.product.uid for hit in meant.hits):
            return meant
        others = (hit for hit in meant.hits if hit.product.uid not in first)
        return Decision(Status.SEVERAL, (*found, *others)[:MAX_HITS])

    def _query_weights(self, content: list[str]) -> dict[str, float]:
        """Weight the content words and, for a rare one, the words that it may be a typo of."""
        wanted = list(content)
        for token in content:
            if self.ranker.titles.frequency(token) < _RARE:
                wanted.extend(self.ranker.similar(token))
        return self.ranker.titles.weights(wanted)

    def _rank(self, tokens: list[str], rows: list[int]) -> list[_Candidate]:
        titles = self.ranker.products.titles(rows)
        tokenised = {row: tokenise(title) for row, title in titles.items()}
        weights = self.ranker.titles.weights(itertools.chain(tokens, *tokenised.values()))
        count = self.ranker.titles.frequency
        candidates = [
            _Candidate(row, match_title(tokens, title, weights, count), main_title(titles[row]))
            for row, title in tokenised.items()
        ]
        return sorted(candidates, key=lambda candidate: candidate.match.score, reverse=True)

    def _fitting(self, ranked: list[_Candidate], content: list[str]) -> Decision | None:
        limits = self.thresholds
        most_edits = limits.edit_share * sum(map(len, content))
        fitting = [
            one for one in ranked if _fits(one.match, limits) and one.match.edits <= most_edits
        ]
        if not fitting:
            return None
        best = fitting[0].match
        rivals = [one.scored for one in fitting if _is_rival(best, one.match, limits)]
        return self._decision(rivals, Status.LIKELY)

    def _by_main_title(self, ranked: list[_Candidate], tokens: list[str]) -> Decision | None:
        """Find titles by their main part ("City of Wells" for "City of Wells: A Year")."""
        content = _content_words(tokens)
        if len(content) < _MIN_MAIN_TITLE:
            return None
        found = [one.scored for one in ranked if one.main_title == content]
        return self._decision(found, Status.LIKELY)

    def _by_words(self, question: str, tokens: list[str], titles: list[_Candidate]) -> Decision:
        """Decide by any word of title or description, and by meaning if words do not settle it."""
        words = content_of(tokens)
        if not words:
            return _NONE
        near = [one.row for one in titles if _is_near(one.match, self.thresholds)]
        suggested = self.suggest(question, MAX_HITS)
        if listed := self._for_any(question, words, near, suggested):
            return self._with_excerpts(listed, question)
        ranked = self.ranker.rank(words, (*near, *suggested))
        sure = self._sure(ranked, len(words), suggested)
        if sure and {sure.row}.issuperset(suggested):
            return Decision(Status.LIKELY, _as_hits([sure]))
        wanted = [*suggested, *self._with_all(ranked)]
        if not self._are_settled(ranked, words, suggested):
            by_meaning = self.ranker.rank(words, (*near, *suggested), question)
            if any(one.cosine for one in by_meaning):
                meant = self._by_meaning(by_meaning, len(words), wanted, list_limit(question))
                return self._with_excerpts(meant, question)
        listed = self._listed(ranked, len(words), wanted)
        if listed and not self._names_another(ranked, titles):
            return listed
        return self._nearest(ranked, [*suggested, *near[:_MAX_NEAR_TITLES], *wanted])

    def _for_any(
        self, question: str, words: list[str], near: list[int], suggested: list[int]
    ) -> Decision | None:
        """List what fits, if the question asks for anything of an age, a format or a kind."""
        if for_ages := self._for_ages(question, suggested):
            return for_ages
        is_title = bool(suggested) and len(words) >= _MIN_LISTED
        if is_title or not asks_for_any(question):
            return None
        signs = signs_of_format(words)
        groups = [*({word: 1.0} for word in words), dict.fromkeys(signs, 1.0)]
        rows = self.ranker.titles.search(groups, _MAX_CANDIDATES) if signs else []
        ranked = self.ranker.rank(words, (*near, *rows, *suggested), question)
        formatted: list[int] = []
        if signs:
            formats = {one.row: format_group(one.product, signs) for one in ranked}
            ranked.sort(key=lambda one: formats[one.row])
            formatted = [one.row for one in ranked if not formats[one.row]]
        wanted = [*suggested, *formatted, *self._with_all(ranked)]
        least = list_limit(question) * _ANY_SHARE
        if len(ranked) > 1 and (wanted or probability(AMONG, ranked, len(words)) >= least):
            points = ranked[0].points * self.thresholds.list_share
            listed = self._several(ranked, wanted, lambda one: one.points >= points)
            return replace(listed, close=not wanted)
        return None

    def _for_ages(self, question: str, suggested: list[int]) -> Decision | None:
        """List products for children of the ages in a question, those that state them first."""
        found = asked_ages(question)
        content = content_of(tokenise(found[1])) if found else []
        words = specific_words(content)
        if not found or len(words) >= self.thresholds.body_words:
            return None
        wanted = [{word: 1.0} for word in words]
        rows = self.ranker.bodies.search([*wanted, *search_words(found[0])], _MAX_AGED)
        ranked = self.ranker.rank(words or content or _CHILD, (*rows, *suggested), question)
        groups = {one.row: _age_group(one, found[0], wanted=bool(words)) for one in ranked}
        fitting = [row for row in groups if groups[row] == 0]
        if not fitting:
            return None
        ranked.sort(key=lambda one: groups[one.row])
        return self._several(ranked, [*suggested, *fitting], lambda one: groups[one.row] == 1)

    def _by_meaning(
        self, ranked: list[Ranked], words: int, wanted: list[int], limit: float
    ) -> Decision:
        """Decide by a fitted rule; a list has the rows of `wanted`, or a probability of `limit`."""
        least = single_limit(self.ranker.titles.count)
        best = ranked[0]
        if {best.row}.issuperset(wanted) and probability(MEANT, ranked, words) >= least:
            return Decision(Status.LIKELY, _as_hits([best]))
        if len(ranked) > 1 and (wanted or probability(AMONG, ranked, words) >= limit):
            least = best.points * self.thresholds.list_share
            listed = self._several(ranked, wanted, lambda one: one.points >= least)
            return replace(listed, close=not wanted)
        return self._nearest(ranked, wanted)

    def _with_excerpts(self, decision: Decision, question: str) -> Decision:
        """Note why the products that a list shows are in it."""
        hits, nearest, meaning = decision.hits, decision.nearest, self.ranker.meaning()
        if decision.product:
            return decision
        if hits:
            return replace(decision, hits=with_excerpts(hits, question, meaning))
        return replace(decision, nearest=with_excerpts(nearest, question, meaning))

    def _with_all(self, ranked: list[Ranked]) -> list[int]:
        """Return the first rows of records that have all words of the question."""
        least = self.thresholds.all_words
        return [one.row for one in ranked if one.coverage >= least][:_MIN_LISTED]

    def _are_settled(self, ranked: list[Ranked], words: list[str], suggested: list[int]) -> bool:
        """Report whether a title has all words, or else one that is still being typed."""
        if suggested and not self._with_all(ranked):
            return True
        least = self.thresholds.all_words
        return len(words) > 1 and any(one.title_coverage >= least for one in ranked)

    def _sure(self, ranked: list[Ranked], words: int, suggested: list[int]) -> Ranked | None:
        """Find the one record that has the words, all in its title if they are few."""
        limits = self.thresholds
        if not ranked:
            return None
        best = ranked[0]
        if suggested == [best.row] and not self._with_all(ranked):
            return best
        second = max((one.coverage for one in ranked[1:]), default=0.0)
        if best.coverage < limits.body_likely or best.coverage - second < limits.body_lead:
            return None
        is_enough = words >= limits.body_words or best.title_coverage >= best.coverage
        return best if is_enough or not second else None

    def _listed(self, ranked: list[Ranked], words: int, wanted: list[int]) -> Decision | None:
        """List the records with most of the words; None if there are too few."""
        limits = self.thresholds
        best = max((one.coverage for one in ranked), default=0.0)
        needed = limits.listed if words >= limits.body_words else limits.few_listed
        if len(ranked) < 2 or best < needed:  # noqa: PLR2004 - a list has two
            return None
        least = best * limits.list_share
        return self._several(ranked, wanted, lambda one: one.coverage >= least)

    def _several(
        self, ranked: list[Ranked], wanted: list[int], is_strong: Callable[[Ranked], bool]
    ) -> Decision:
        """List the first records, the strong ones and those of `wanted`; others are nearest."""
        firsts, wanted = self._one_edition(ranked, wanted)
        offered = _with(firsts, wanted)
        listed = [
            one
            for place, one in enumerate(offered)
            if place < _MIN_LISTED or one.row in wanted or is_strong(one)
        ]
        others = [one for one in offered if one not in listed]
        return Decision(Status.SEVERAL, _as_hits(listed), _as_hits(others))

    def _nearest(self, ranked: list[Ranked], wanted: list[int]) -> Decision:
        return Decision(Status.NONE, nearest=_as_hits(_with(*self._one_edition(ranked, wanted))))

    def _one_edition(
        self, ranked: list[Ranked], wanted: list[int]
    ) -> tuple[list[Ranked], list[int]]:
        """Leave out all editions of a record but the best, also from the rows of `wanted`."""
        families = self.ranker.products.families([one.row for one in ranked])
        firsts: dict[int, Ranked] = {}
        for one in ranked:
            firsts.setdefault(families.get(one.row, one.row), one)
        first_wanted = dict.fromkeys(families.get(row, row) for row in wanted)
        return list(firsts.values()), [firsts[at].row for at in first_wanted if at in firsts]

    def _with_editions(self, decision: Decision, only: AbstractSet[str] | None = None) -> Decision:
        """Place after each product of a list its other editions, by default all of them."""
        hits, nearest = decision.hits, decision.nearest
        if decision.product or not (hits or nearest):
            return decision
        found = self.ranker.products.editions([hit.product.uid for hit in (*hits, *nearest)])
        editions = {
            uid: [one for one in family if only is None or one.uid in only]
            for uid, family in found.items()
        }
        placed: set[str] = set()
        return replace(
            decision,
            hits=tuple(_after_each(hits, editions, placed)),
            nearest=tuple(_after_each(nearest, editions, placed)),
        )

    def _names_another(self, ranked: list[Ranked], titles: list[_Candidate]) -> bool:
        """Report whether the question names a title that the catalogue lacks."""
        return not self._with_all(ranked) and _names_title(titles, self.thresholds)

    def _decision(self, scored: Iterable[tuple[int, float]], single: Status) -> Decision | None:
        """Decide on the first rows: `single` for one product, several for more."""
        hits = self._hits(list(itertools.islice(scored, MAX_HITS)))
        if not hits:
            return None
        return Decision(single if len(hits) == 1 else Status.SEVERAL, hits)

    def _hits(self, scored: list[tuple[int, float]]) -> tuple[Hit, ...]:
        if not scored:
            return ()
        products = self.ranker.products.by_row([row for row, _ in scored])
        return tuple(Hit(products[row], score) for row, score in scored if row in products)


def _content_words(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(token for token in tokens if token not in STOP_WORDS)


def main_title(title: str) -> tuple[str, ...]:
    """Return the content words before a title's subtitle; empty without a subtitle."""
    main, *subtitle = _SUBTITLE.split(title, maxsplit=1)
    return _content_words(tokenise(main)) if subtitle else ()


def _fits(match: TitleMatch, limits: Thresholds) -> bool:
    """Report whether a title has all content words of the question, and enough of the title."""
    least = max(
        limits.title_words,
        limits.edited_words if match.edits else 0.0,
        limits.single_words if match.matched == 1 else 0.0,
    )
    return (
        not match.extra
        and match.matched > 0
        and match.token_share >= least
        and match.title_share >= limits.title_share
    )


def _is_near(match: TitleMatch, limits: Thresholds) -> bool:
    # A title that is similar only because of edits is a guess.
    return match.score >= limits.nearest_score and match.matched * _EDITS_PER_WORD > match.edits


def _names_title(ranked: list[_Candidate], limits: Thresholds) -> bool:
    """Report whether the question names a title, in the catalogue or not, and describes nothing."""
    return any(
        candidate.match.question_share >= limits.named_share
        and candidate.match.token_share >= limits.title_words
        for candidate in ranked[:_MAX_NEAR_TITLES]
    )


def _is_rival(best: TitleMatch, other: TitleMatch, limits: Thresholds) -> bool:
    """Report whether a question that fits `best` may as well mean `other`."""
    if not best.missing:
        return not other.missing and other.edits <= best.edits
    return other.score >= best.score * limits.rival


def _age_group(one: Ranked, asked: Ages, *, wanted: bool) -> int:
    """Return 0 for a record of what is wanted that is for these ages, more for others."""
    fitting = fits(asked, f"{one.product.title}. {one.product.description}")
    if fitting is False:
        return _LAST_GROUP
    is_wanted = one.coverage >= _MIN_WANTED or not wanted
    return (0 if is_wanted else 2) + (fitting is None)


def _with(ranked: list[Ranked], wanted: Sequence[int]) -> list[Ranked]:
    """Return the best records, the first of `wanted` among them, in order."""
    places = {row: place for place, row in enumerate(wanted)}
    first = sorted(ranked, key=lambda one: places.get(one.row, len(places)))[:MAX_HITS]
    return [one for one in ranked if one in first]


def _after_each(
    hits: Sequence[Hit], editions: Mapping[str, Sequence[Product]], placed: set[str]
) -> Iterator[Hit]:
    """Yield each hit that is not in `placed`, followed by its other editions, and place them."""
    scores = {hit.product.uid: hit.score for hit in hits}
    for hit in hits:
        if hit.product.uid in placed:
            continue
        placed.add(hit.product.uid)
        yield hit
        family = [one for one in editions.get(hit.product.uid, ()) if one.uid not in placed]
        for product in family[:_MAX_EDITIONS]:
            placed.add(product.uid)
            yield Hit(product, scores.get(product.uid, hit.score), edition=True)


def _as_hits(ranked: Sequence[Ranked]) -> tuple[Hit, ...]:
    return tuple(Hit(one.product, one.score) for one in ranked)
