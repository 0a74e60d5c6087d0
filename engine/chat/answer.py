"""Answer one question: search the catalogue, build the prompt, stream, score."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from engine.backends.base import Engine
from engine.backends.catalogue import counter_stream
from engine.backends.registry import Registry
from engine.catalogue.catalogue import Retriever
from engine.catalogue.language.phrases import language_of
from engine.catalogue.language.small_talk import Kind, is_small_talk, small_talk
from engine.catalogue.taught import Witnesses, taught_titles
from engine.chat import followup
from engine.chat.alternatives import alternatives, listed
from engine.chat.quoting import chosen, with_choices, with_quotes
from engine.config import paths
from engine.core import types
from engine.core.errors import BalcaoError, EngineFailed, EngineUnavailable
from engine.core.i18n import spoken, tr
from engine.core.text import clip, mend, overlap
from engine.fidelity.quotes import Comparison, compare
from engine.prompts import chat_messages

_MAX_THINKING = 200_000
"""Characters of a model's thinking that are kept: a server may send it without end."""
_MAX_LOGPROBS = 16_384
_MOST_EXAMPLES = 10
_OWN = 0.5
"""Precision from which an answer is about its own product."""
_OTHER, _BETTER = 0.5, 0.3
"""Precision from which an answer is another product's description, and how much more it is."""
_CANDIDATES = 4
"""Products whose descriptions are compared with an answer."""
_LEAST_WORDS = 5
"""Quoted words that are no coincidence."""
_OPEN, _CLOSE = "<think>", "</think>"


class ThinkingSplitter:
    """Take a leading <think> block, which some models write as text, out of a stream."""

    def __init__(self) -> None:
        self._tag = _OPEN
        """The tag that may come next; empty once the answer has begun."""
        self._held = ""
        """The end of the text so far, which may be the beginning of that tag."""

    def split(self, text: str, *, last: bool = False) -> tuple[str, str]:
        """Return the thinking and the answer's text that `text`, perhaps the last, completes."""
        text, self._held = self._held + text, ""
        if self._tag == _OPEN:
            text = text.lstrip()
            if _OPEN.startswith(text) and text != _OPEN and not last:
                self._held = text
                return "", ""
            self._tag = _CLOSE if text.startswith(_OPEN) else ""
            text = text.removeprefix(_OPEN)
        if not self._tag:
            return "", text
        thinking, closed, text = text.partition(_CLOSE)
        if closed:
            self._tag = ""
        elif not last:
            sure = len(thinking) - overlap(thinking, _CLOSE)
            thinking, self._held = thinking[:sure], thinking[sure:]
        return thinking, text


class PendingAnswer:
    """An answer in progress."""

    def __init__(
        self,
        registry: Registry,
        catalogue: Retriever,
        question: str,
        engine_id: str,
        mode: types.Mode,
        earlier: Sequence[types.Turn] = (),
        *,
        system: str = "",
        sampling: Mapping[str, Any] | None = None,
        notice: str = "",
    ) -> None:
        """Prepare to answer `question` after `earlier`. Raises UsageError for an unknown engine.

        `system` and `sampling` replace the engine's system prompt and fields of its `Request`;
        `notice` is shown with the answer.
        """
        self._engine = registry.get(engine_id)
        self._catalogue = catalogue
        self._quotes = mode is types.Mode.QUOTE and not self._engine.verbatim
        """Whether a follow-up question is answered with quotes, any other as grounded."""
        self._system = system
        self._sampling = sampling or {}
        self.error: BalcaoError | None = None
        """What `events` ended with, if it failed."""
        self._earlier = types.Conversation(turns=list(earlier))
        self._started = time.perf_counter()
        self._first_token = 0.0
        self._retrieval = 0.0
        self._text = ""
        self._splitter = ThinkingSplitter()
        self._thinking = ""
        self._first_thought = 0.0
        self._logprobs: list[float] = []
        self._witnesses = Witnesses()
        self._finished = False
        self._answer = types.Answer(
            mend(question),
            engine_id,
            # The catalogue engine answers from the record in every mode.
            types.Mode.GROUNDED if self._engine.verbatim or self._quotes else mode,
            types.Status.NONE,
            "",
            types.StopReason.CANCELLED,
            notice=notice,
        )

    @property
    def answer(self) -> types.Answer:
        """The answer so far; scored once it is finished."""
        if self._finished:
            return self._answer
        timing = types.Timing(self._retrieval, self._first_token, self._elapsed())
        return replace(
            self._answer,
            text=self._text.strip(),
            timing=timing,
            thinking=self._thinking.strip(),
            thinking_ms=self._thinking_ms(),
            logprobs=tuple(self._logprobs),
        )

    async def events(self) -> AsyncGenerator[types.Event]:
        """Yield what happens, ending with Answered, perhaps with a problem. Closing cancels."""
        try:
            self._started = time.perf_counter()
            request = await self._look_up()
            yield types.Found(request.decision, self._answer.verbatim, self._answer.taught)
            async with aclosing(self._stream(request)) as events:
                async for event in events:
                    yield event
        except BalcaoError as error:
            self.error, ended = error, types.StopReason.ERROR
            self._answer = replace(self._answer, stop_reason=ended, problem=error.problem)
        if self._thinking and not self._text:
            yield types.Thought("", self._thinking_ms(), ended=True)
        await self._look_up_description()
        yield types.Answered(self.finish())

    def finish(self) -> types.Answer:
        """Score the text that arrived, once, and return the final answer."""
        if not self._finished:
            answer = self.answer
            product = None if answer.by_counter else answer.product
            found = _compare(answer, product) if product else None
            if found:
                answer = replace(answer, fidelity=found.precision, coverage=found.coverage)
            if found and answer.verbatim and found.coverage < 1:
                answer = replace(answer, sources=with_quotes(answer.sources, answer.text))
            self._answer, self._finished = replace(answer, taught=self._weigh(answer.text)), True
        return self._answer

    async def _look_up_description(self) -> None:
        """Note another product whose description a model has given."""
        answer = self.finish()
        if answer.verbatim or answer.by_counter or (answer.fidelity or 0.0) >= _OWN:
            return
        with suppress(BalcaoError):
            other = await asyncio.to_thread(_described, self._catalogue, answer)
            self._answer = replace(answer, described=other)

    async def as_said(self, text: str, *, searched: bool) -> types.Answer:
        """Return the answer as if its text had been `text`, if `searched` with its products."""
        if searched:
            await self._look_up()
        ended = types.StopReason.COMPLETE
        self._answer, self._finished = replace(self._answer, text=text, stop_reason=ended), True
        return self._answer

    async def _look_up(self) -> types.Request:
        question = self._answer.question
        decision, is_followup = await self._decide(question)
        picked = followup.pick_from_list(question, self._earlier)
        question = followup.question_of_pick(question, self._earlier)
        language = _language(question, decision)
        self._retrieval = self._elapsed()
        history = self._messages_before(decision, is_followup=is_followup)
        mode = self._answer.mode
        if not is_followup:
            self._witnesses = await asyncio.to_thread(self._judge, decision)
        if self._quotes and is_followup and decision.product:
            mode = types.Mode.QUOTE
        self._answer = replace(
            self._answer,
            mode=mode,
            status=decision.status,
            sources=await asyncio.to_thread(_noted, decision.hits, self._engine),
            nearest=decision.nearest,
            verbatim=self._engine.verbatim
            or mode is types.Mode.QUOTE
            or _lacks_record(mode, decision),
            taught=self._witnesses.listed or UNSET,
        )
        system = self._system or self._engine.system_prompt
        names = picked and not is_followup and mode is types.Mode.MEMORY and decision.product
        # From memory, "2" names no product.
        asked = names.title if names else question
        messages = chat_messages(asked, decision.product, mode, history, system)
        request = types.Request(question, mode, messages, decision, is_followup, language)
        request = replace(self._engine.with_parameters(request), **self._sampling)
        if mode is not types.Mode.QUOTE:
            return request
        return await asyncio.to_thread(with_choices, request, self._engine)

    def _judge(self, decision: types.Decision) -> Witnesses:
        """Return what says whether the engine was taught what the question asks for."""
        question = self._answer.question
        if self._answer.mode is types.Mode.GROUNDED or is_small_talk(question):
            return Witnesses()
        calibration, trained = self._engine.calibration(), self._engine.trained_on()
        if trained is None:
            return Witnesses(None, calibration)
        if followup.pick_from_list(question, self._earlier) and decision.product:
            is_taught = decision.product in trained
            listed = types.Taught.LEARNED if is_taught else types.Taught.NOT_TAUGHT
        else:
            listed = taught_titles(trained.titles).judge(question, decision)
        return Witnesses(listed, calibration)

    def _weigh(self, text: str) -> types.Taught | UnsetType:
        return self._witnesses.weigh(text, self._logprobs) or UNSET

    def _messages_before(
        self, decision: types.Decision, *, is_followup: bool
    ) -> tuple[types.Message, ...]:
        # A fine-tune has learned questions that name their product alone: with earlier messages it
        # would repeat other engines' answers.
        is_complete = decision.product is not None and not is_followup
        from_memory = self._answer.mode is types.Mode.MEMORY
        return () if is_complete and from_memory else self._earlier.messages()

    async def _decide(self, question: str) -> tuple[types.Decision, bool]:
        picked = followup.pick_from_list(question, self._earlier)
        if picked:
            return picked, followup.question_of_pick(question, self._earlier) != question
        kind, _ = small_talk(question)
        if kind:
            return await asyncio.to_thread(self._examples, kind), False
        product = self._earlier.product
        if product and (
            other := await asyncio.to_thread(alternatives, self._catalogue, product, question)
        ):
            return other, False
        return await asyncio.to_thread(self._find, question)

    def _find(self, question: str) -> tuple[types.Decision, bool]:
        """Decide for the product in hand, or search; the flag says whether it is in hand."""
        searches = [self._catalogue.find]
        if followup.needs_no_search(question):
            searches.insert(0, self._catalogue.named)
        for search in searches:
            decision = search(question)
            in_hand = followup.in_hand(self._earlier, question, decision)
            if in_hand:
                return in_hand, True
        return listed(self._catalogue, question, decision), False

    def _examples(self, kind: Kind) -> types.Decision:
        count = {"help": 2, "all": _MOST_EXAMPLES}.get(kind, 0)
        products = self._catalogue.examples(count) if count else ()
        nearest = tuple(types.Hit(product, 0.0) for product in products)
        return types.Decision(types.Status.NONE, nearest=nearest)

    async def _stream(self, request: types.Request) -> AsyncGenerator[types.Event]:
        lacks_record = _lacks_record(request.mode, request.decision)
        if not lacks_record:
            self._check_ready()
        if lacks_record or (request.mode is types.Mode.QUOTE and not request.choices):
            # Without a record a model could only invent, so it is not asked.
            for_model = lacks_record and not self._engine.verbatim
            chunks = counter_stream(request, for_model=for_model)
        else:
            async with aclosing(self._load()) as steps:
                async for step in steps:
                    yield types.Loading(step)
            chunks = self._ask(request)
        async with aclosing(chunks):
            async for chunk in chunks:
                self._note(chunk)
                for event in self._take(chunk):
                    yield event
        if self._thinking and not self._text:
            raise self._only_thought()

    def _ask(self, request: types.Request) -> AsyncGenerator[types.Chunk]:
        if request.choices and request.decision.product:
            return chosen(self._engine, request, request.decision.product)
        return self._engine.stream(request)

    def _take(self, chunk: types.Chunk) -> Iterator[types.Event]:
        thinking, text = chunk.thinking, chunk.text
        if not self._answer.verbatim:
            inside, text = self._splitter.split(text, last=chunk.stop_reason is not None)
            thinking += inside
        # Some models begin with a blank; the saved answer does not.
        thinking = thinking if self._thinking else thinking.lstrip()
        text = text if self._text else text.lstrip()
        if text or not thinking:  # else they are the thinking's
            self._logprobs += chunk.logprobs[: _MAX_LOGPROBS - len(self._logprobs)]
        if thinking:
            before, ms = len(self._thinking), self._thinking_ms()
            self._first_thought = self._first_thought or self._elapsed()
            self._thinking = clip(self._thinking + thinking, _MAX_THINKING)
            if not self._text:
                yield types.Thought(self._thinking[before:], ms)
        if text:
            if self._thinking and not self._text:
                yield types.Thought("", self._thinking_ms(), ended=True)
            yield from self._weigh_beginning(text)
            self._first_token = self._first_token or self._elapsed()
            self._text += text
            yield types.Piece(text)

    def _weigh_beginning(self, text: str) -> Iterator[types.Event]:
        # Engines that report probabilities send them, and the text of those tokens, first.
        taught = self._weigh(text) if self._logprobs and not self._text else UNSET
        if taught and taught is not self._answer.taught:
            self._answer = replace(self._answer, taught=taught)
            yield types.Weighed(taught)

    def _thinking_ms(self) -> float:
        ended = self._first_token or self._elapsed()
        return max(0.0, ended - self._first_thought) if self._first_thought else 0.0

    def _only_thought(self) -> EngineFailed:
        if self._answer.stop_reason is not types.StopReason.LENGTH:
            return EngineFailed(tr("The model thought, but gave no answer."), tr("Ask again."))
        remedy = tr(
            "Raise `max_tokens` under {table}.", table=paths.engine_table(self._engine.info.id)
        )
        sentence = tr("The model spent all its tokens on thinking, and gave no answer.")
        return EngineFailed(sentence, remedy)

    def _check_ready(self) -> None:
        availability = self._engine.availability()
        if not availability.ready:
            raise EngineUnavailable(availability.reason, availability.remedy)

    async def _load(self) -> AsyncGenerator[types.Progress]:
        if not self._engine.loaded:
            async with aclosing(self._engine.load()) as steps:
                async for step in steps:
                    yield step

    def _note(self, chunk: types.Chunk) -> None:
        answer = self._answer
        self._answer = replace(
            answer,
            by_counter=answer.by_counter or chunk.by_counter,
            stop_reason=chunk.stop_reason or answer.stop_reason,
            tokens=chunk.tokens or answer.tokens,
            notice=" ".join(filter(None, (answer.notice, chunk.notice))),
        )

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._started) * 1000


def _noted(hits: Sequence[types.Hit], engine: Engine) -> tuple[types.Hit, ...]:
    """Note in each hit whether the engine was trained on it, also if another engine's was noted."""
    trained = engine.trained_on()
    return tuple(
        replace(hit, trained=UNSET if trained is None else hit.product in trained) for hit in hits
    )


def _compare(answer: types.Answer, product: types.Product) -> Comparison | None:
    is_cut = answer.stop_reason is not types.StopReason.COMPLETE
    return compare(answer.text, product.description, cut=is_cut)


def _described(catalogue: Retriever, answer: types.Answer) -> types.Product | None:
    """Find a product whose description the answer quotes far more than its own product's."""
    best, most = None, (max(_OTHER, (answer.fidelity or 0.0) + _BETTER), 0.0)
    for product in catalogue.described(answer.text, _CANDIDATES):
        found = _compare(answer, product)
        if found and found.quoted >= _LEAST_WORDS and found[:2] > most:
            best, most = product, found[:2]
    return best


def _lacks_record(mode: types.Mode, decision: types.Decision) -> bool:
    return mode is types.Mode.GROUNDED and decision.product is None


def _language(question: str, decision: types.Decision) -> types.Language:
    """Return the language of a question, by default the user's: a bare title shows none."""
    found = (hit.product.title for hit in (*decision.hits, *decision.nearest))
    return language_of(question, spoken(), found)
