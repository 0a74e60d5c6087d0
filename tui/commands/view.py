"""The front ends as the commands see them."""

from __future__ import annotations

from typing import Protocol

from engine.core.types import Hit, Turn


class View(Protocol):
    """A front end of one session: the full-screen chat, or the plain one."""

    @property
    def only_answer(self) -> str:
        """The sentence for a turn without another answer to switch to."""

    @property
    def is_answering(self) -> bool:
        """Whether an answer is still arriving."""

    @property
    def draft(self) -> str:
        """The question in the composer, or an empty string."""

    def report(self, sentence: str, *, error: bool = False) -> None:
        """Show one sentence."""

    def show_engine(self) -> None:
        """Show the active engine, and whether it is ready."""

    def show_mode(self) -> None:
        """Show the active mode."""

    async def choose_engine(self) -> None:
        """Let the user choose an engine without naming it."""

    async def show(self) -> None:
        """Draw the session's conversation instead of the one before."""

    async def show_turn(self, index: int) -> None:
        """Draw the selected answer of a turn."""

    def show_record(self, hits: tuple[Hit, ...], *, original: bool = False) -> None:
        """Show the records, as cleaned or as in the data set."""

    async def answer_again(self, index: int, turn: Turn, engine_id: str) -> None:
        """Draw one more answer to a turn."""

    async def compare(self, question: str) -> None:
        """Draw the answers of all ready engines to a question, which may be empty."""

    async def open_page(self, page: str, argument: str = "") -> None:
        """Show "help", "engines", "runs" or "history"; `argument` narrows it where it can."""

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard."""

    async def cancel(self) -> None:
        """Stop the answer that is arriving and wait until its text is saved."""

    async def leave(self) -> None:
        """End the chat."""


class ScreenView(View, Protocol):
    """A front end that draws a whole screen and moves around in it."""

    def select(self, index: int | None) -> None:
        """Mark a turn and no other; without one, show whether the active engine is ready."""

    def edit(self, question: str | None) -> None:
        """Put a question into the composer; None empties it."""

    async def ask_for_line(self, heading: str, example: str) -> str:
        """Let the user type a line; empty if cancelled."""

    def scroll(self, direction: str) -> None:
        """Scroll the conversation by a page, "up" or "down"."""

    def toggle_marks(self) -> None:
        """Mark the record's words in the answers, or stop marking them."""
