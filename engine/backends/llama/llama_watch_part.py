"""Sees each token of an answer as it is chosen: makes text of it, decides whether it was the last.

Pure Python, the same for every runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from engine.backends.llama.text import TokenText, TurnEnd, loops
from engine.core.i18n import tr
from engine.core.types import StopReason

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
