"""Turn a model's tokens into the text of an answer, as they arrive.

Pure Python, shared by both runtimes, which pass in the tokenizer's `decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from engine.backends.llama.messages import Ask, Done
from engine.core.i18n import tr
from engine.core.text import overlap
from engine.core.types import Message, Role, StopReason

_REPLACEMENT = "\ufffd"
"""Decoders show it for bytes that are not a whole character yet."""

_MAX_PENDING = 8
"""Tokens after which such bytes are taken to be invalid: a character has at most four."""

# The start of the next turn in several templates, for models that write it as plain text.
_TURN_MARKS = ("[INST]", "<<SYS>>", "<|user|>", "<|system|>", "<|im_start|>", "<|im_end|>")

_TURN_TOKENS = (
    "</s>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
)

_REPEAT_TOKENS = 64
_REPEAT_TIMES = 4
_REPEAT_MAX_PERIOD = 128
_CHECK_REPEATS_EVERY = 8
"""Tokens."""


class Detokenizer:
    """Decode growing tokens into text, whole characters only.

    Tokenizers may drop a leading space, so each addition is the difference of two decodings that
    start at the same token (the method of text-generation-inference).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._start = 0
        self._read = 0

    def add(self, token: int) -> str:
        """Return the text that `token` completes; empty within a character."""
        self._tokens.append(token)
        text = self.flush()
        if text.endswith(_REPLACEMENT) and len(self._tokens) - self._read < _MAX_PENDING:
            return ""
        if text:
            self._start, self._read = self._read, len(self._tokens)
        return text

    def flush(self) -> str:
        """Return the text that is not given out yet, complete or not."""
        before = self._decode(self._tokens[self._start : self._read])
        return self._decode(self._tokens[self._start :])[len(before) :]


class StopSequences:
    """Cut an answer where the model begins to write the next turn of the conversation."""

    def __init__(self, template: str) -> None:
        self._marks = tuple(mark for mark in _TURN_MARKS if mark in template)
        self._first = {mark[0] for mark in self._marks}
        self._pending = ""
        self.reached = False

    def add(self, text: str) -> str:
        """Return the text that is certainly the answer's; empty after a stop sequence."""
        if self.reached:
            return ""
        if not self._pending and self._first.isdisjoint(text):
            return text
        text = self._pending + text
        found = [place for mark in self._marks if (place := text.find(mark)) >= 0]
        if found:
            self.reached, self._pending = True, ""
            return text[: min(found)]
        sure = len(text) - max((overlap(text, mark) for mark in self._marks), default=0)
        self._pending = text[sure:]
        return text[:sure]

    def flush(self) -> str:
        """Return the pending start of a stop sequence that was never completed."""
        text, self._pending = self._pending, ""
        return text


def is_repeating(tokens: Sequence[int]) -> bool:
    """Check whether `tokens` end in a loop: four times the same, over at least 64 tokens.

    Dashed lines and lists in the catalogue are shorter, and a model does not leave a longer loop.
    """
    for period in range(1, min(_REPEAT_MAX_PERIOD, len(tokens) // _REPEAT_TIMES) + 1):
        length = max(period * _REPEAT_TIMES, _REPEAT_TOKENS)
        if len(tokens) < length or tokens[-1] != tokens[-1 - period]:
            continue
        tail = tokens[-length:]
        if tail[period:] == tail[:-period]:
            return True
    return False


def stop_tokens(
    configured: Iterable[int | Sequence[int] | None], special: Mapping[str, int]
) -> set[int]:
    """Return the ids that end an answer: the model's own, and known ones of the tokenizer."""
    ids = {one for some in configured for one in (some if isinstance(some, Sequence) else [some])}
    return {one for one in ids | {special.get(token) for token in _TURN_TOKENS} if one is not None}


Report = Callable[[tuple[float, ...]], None]
"""Receives the logarithms of the probabilities of an answer's first tokens."""


class FirstTokens:
    """Collect the probabilities of an answer's first tokens, for which its text waits."""

    def __init__(self, wanted: int = 0, report: Report | None = None) -> None:
        self._left = wanted if report else 0
        self._report = report
        self._found: list[float] = []

    @property
    def pending(self) -> bool:
        """Whether a token's probability is still to come."""
        return self._left > 0

    def note(self, logprob: float | None) -> None:
        """Note the next token, perhaps one of unknown probability; report after the last."""
        if self.pending:
            self._left -= 1
            self._found += [] if logprob is None else [min(logprob, 0.0)]
            if not self._left:
                self.end()

    def end(self) -> None:
        """Report what an answer with fewer tokens has."""
        self._left = 0
        if self._found and self._report:
            self._report(tuple(self._found))
        self._found = []


class AnswerDecoder:
    """Decode one answer, token by token, and decide when it ends; `emit` receives its text."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        stop_ids: AbstractSet[int],
        template: str,
        emit: Callable[[str], None],
        first: FirstTokens | None = None,
    ) -> None:
        self.first = first or FirstTokens()
        self._held = ""
        self.tokens: list[int] = []
        self._notice = ""
        self._stop_reason = StopReason.LENGTH
        self._stop_ids = stop_ids
        self._detokenizer = Detokenizer(decode)
        self._stop = StopSequences(template)
        self._emit = emit

    def add(self, token: int) -> bool:
        """Process the next token; return whether the answer ends with it."""
        return self.add_text(token, "" if token in self._stop_ids else self._detokenizer.add(token))

    def add_text(self, token: int, text: str) -> bool:
        """Process a token that the runtime has decoded; return whether the answer ends with it."""
        self.tokens.append(token)
        if token in self._stop_ids:
            self._stop_reason = StopReason.COMPLETE
            return True
        self._send(self._stop.add(text))
        if self._stop.reached:
            self._stop_reason = StopReason.COMPLETE
            return True
        if len(self.tokens) % _CHECK_REPEATS_EVERY == 0 and is_repeating(self.tokens):
            self._notice = tr("The model began to repeat itself and was stopped.")
            self._stop_reason = StopReason.REPEATED
            return True
        return False

    def complete(self) -> None:
        """Note that the model ended the answer, by a token that was not passed on."""
        self._stop_reason = StopReason.COMPLETE

    def finish(self, prompt_tokens: int, notice: str, number: int) -> Done:
        """Emit the pending text; return the last reply to request `number`."""
        self.first.end()
        rest = "" if self._stop.reached else self._stop.add(self._detokenizer.flush())
        self._send(rest + self._stop.flush())
        notice = " ".join(filter(None, (notice, self._notice)))
        return Done(self._stop_reason, prompt_tokens, len(self.tokens), notice, number=number)

    def _send(self, text: str) -> None:
        self._held += text
        if self._held and not self.first.pending:
            text, self._held = self._held, ""
            self._emit(text)


Score = Callable[[list[int], list[int]], float | None]
"""Returns the logarithm of the probability that tokens follow others; None if cancelled."""


def rate_choices(
    ask: Ask,
    encode_chat: Callable[[Sequence[Message]], list[int]],
    encode: Callable[[str], list[int]],
    score: Score,
    emit: Callable[[str], None],
) -> Done | None:
    """Emit the score of each choice as a JSON list; return None if cancelled."""
    question, scores, read = encode(ask.question), list[float](), 0
    for text in ask.choices:
        prompt = encode_chat((Message(Role.USER, text),))
        found = score(prompt, question) if question else 0.0
        if found is None:
            return None
        scores.append(round(found, 3))
        read += len(prompt) + len(question)
    emit(str(scores))
    return Done(StopReason.COMPLETE, read, 0, "", ask.number)
