"""From tokens to text while they come: whole characters only, no foreign turn, no endless loop.

Pure Python, fed by llama_runtime with the tokenizer's own decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from engine.core.i18n import tr
from engine.core.types import StopReason

_UNFINISHED = "\ufffd"
"""What a decoder shows for bytes that are no whole character (yet)."""

_MAX_HELD = 8
"""Tokens after which bytes are taken to be no character at all: one has four bytes at most."""

# Words that open the next turn in one template or another, for models that write them as text.
_TURN_MARKS = ("[INST]", "<<SYS>>", "<|user|>", "<|system|>", "<|im_start|>", "<|im_end|>")

_LOOP_TOKENS = 64
_LOOP_TIMES = 4
_LOOP_LONGEST = 128


class TokenText:
    """Turns a growing list of tokens into pieces of text that add up to the decoded whole.

    A tokenizer may drop a blank at the start of what it decodes, so each piece is the difference
    between two decodings that start at the same token (the method of text-generation-inference).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._start = 0
        self._read = 0

    def add(self, token: int) -> str:
        """The text that `token` completes; empty while a character is unfinished."""
        self._tokens.append(token)
        text = self._pending()
        if text.endswith(_UNFINISHED) and len(self._tokens) - self._read < _MAX_HELD:
            return ""
        if text:
            self._start, self._read = self._read, len(self._tokens)
        return text

    def rest(self) -> str:
        """What is still held back, as it is. Call it once, at the end."""
        text = self._pending()
        self._start = self._read = len(self._tokens)
        return text

    def _pending(self) -> str:
        before = self._decode(self._tokens[self._start : self._read])
        return self._decode(self._tokens[self._start :])[len(before) :]


class TurnEnd:
    """Cuts an answer where the model begins to write the next turn of the conversation."""

    def __init__(self, template: str) -> None:
        self._marks = tuple(mark for mark in _TURN_MARKS if mark in template)
        self._first = {mark[0] for mark in self._marks}
        self._held = ""
        self.reached = False

    def add(self, text: str) -> str:
        """The part of the text that is surely the answer's; nothing once the end is reached."""
        if self.reached:
            return ""
        if not self._held and self._first.isdisjoint(text):
            return text
        text = self._held + text
        found = [place for mark in self._marks if (place := text.find(mark)) >= 0]
        if found:
            self.reached, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, mark) for mark in self._marks), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back as a possible mark and was none."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` begin `mark`."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0


def loops(tokens: Sequence[int]) -> bool:
    """Whether the end of `tokens` is one stretch, over and over.

    It takes four times in a row and 64 tokens in all: the catalogue's own dashed lines and lists
    are shorter, and a model that is caught in a loop does not leave it.
    """
    for period in range(1, min(_LOOP_LONGEST, len(tokens) // _LOOP_TIMES) + 1):
        length = max(period * _LOOP_TIMES, _LOOP_TOKENS)
        if len(tokens) < length or tokens[-1] != tokens[-1 - period]:
            continue
        tail = tokens[-length:]
        if tail[period:] == tail[:-period]:
            return True
    return False


_LOOK_FOR_LOOPS_EVERY = 8
"""Tokens."""

_TURN_TOKENS = (
    "</s>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
)


def end_tokens(named: Iterable[int | Sequence[int] | None], known: Mapping[str, int]) -> set[int]:
    """The tokens that end an answer: those that the files name, and those that end a turn.

    `named` is what configuration and tokenizer say, `known` the tokenizer's special tokens.
    """
    ends = {one for ids in named for one in (ids if isinstance(ids, Sequence) else [ids])}
    return {one for one in ends | {known.get(token) for token in _TURN_TOKENS} if one is not None}


class AnswerWatch:
    """One answer, from its first token; `emit` is given the text that is surely the answer's."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        ends: AbstractSet[int],
        template: str,
        emit: Callable[[str], None],
    ) -> None:
        self.tokens: list[int] = []
        self.notice = ""
        self.stop_reason = StopReason.LENGTH
        self._ends = ends
        self._text = TokenText(decode)
        self._turn = TurnEnd(template)
        self._emit = emit

    def add(self, token: int) -> bool:
        """Take the next token; returns whether it was the last."""
        self.tokens.append(token)
        if token in self._ends:
            self.stop_reason = StopReason.COMPLETE
            return True
        self._say(self._turn.add(self._text.add(token)))
        if self._turn.reached:
            self.stop_reason = StopReason.COMPLETE
            return True
        if len(self.tokens) % _LOOK_FOR_LOOPS_EVERY == 0 and loops(self.tokens):
            self.notice = tr("The model began to repeat itself and was stopped.")
            self.stop_reason = StopReason.REPEATED
            return True
        return False

    def finish(self) -> None:
        """Give out what was held back."""
        if not self._turn.reached:
            self._say(self._turn.add(self._text.rest()) + self._turn.rest())

    def _say(self, text: str) -> None:
        if text:
            self._emit(text)
