"""From tokens to text while they come: whole characters only, no foreign turn, no endless loop.

Pure Python, fed by llama_runtime with the tokenizer's own decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
