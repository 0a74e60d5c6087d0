"""The inside of benchmarks/streaming.py: one chat in a terminal, one answer that comes.

    python -m benchmarks.streaming_child (stream WAY WHAT | open TURNS | empty) RESULT

Writes RESULT as JSON. It is the real chat with the sample catalogue, and a conversation that is
made up; the words go straight into its pane, as they would from an engine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.config.settings import load
from engine.core.types import Answer, Conversation, Hit, Mode, Product, Status, StopReason, Turn
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen

if TYPE_CHECKING:
    from tui.widgets.conversation import ConversationView

TOKENS, RATE = 2000, 200.0
TURNS = 200
_PROBE = 0.005
_SENTENCE = "The **lamp** folds flat, weighs little and `holds` its charge for a day or *two*. "


class Body(Protocol):
    """One way to draw words that come."""

    async def append(self, text: str) -> None:
        """More words."""
        ...

    async def finish(self) -> None:
        """No more."""
        ...


def document(what: str) -> list[str]:
    """A text of that kind, in 2,000 pieces of about four characters."""
    rows = {
        "prose": _SENTENCE,
        "list": "- item **{0}**: a thing that folds flat and floats\n",
        "table": "| {0} | thing {0} | *folds* flat, floats | {0} |\n",
        "code": "    total_{0} = price({0}) * 2  # the {0}th of them\n",
    }
    heads = {
        "table": "| no | name | what it does | price |\n|---|---|---|--:|\n",
        "code": "```python\ndef total():\n",
    }
    text, number = heads.get(what, ""), 0
    while len(text) < 4 * TOKENS:
        number += 1
        text += rows[what].format(number)
        if what == "prose" and number % 4 == 0:
            text += "\n\n"
    if what == "code":
        text += "```\n"
    edges = [len(text) * n // TOKENS for n in range(TOKENS + 1)]
    return [text[a:b] for a, b in pairwise(edges)]


def conversation(turns: int) -> Conversation:
    """A mixed one: answers quoted from the catalogue, and a model's with a list."""
    return Conversation(None, [Turn(f"Question {n}?", _answer(n)) for n in range(turns)])


def _answer(number: int) -> Answer:
    verbatim = number % 3 > 0
    text = _SENTENCE * (1 + number % 5)
    if not verbatim:
        text += "\n\n- one\n- two\n- three\n"
    product = Product(str(number), f"Lamp {number}", text)
    return Answer(
        f"Question {number}?",
        "catalogue",
        Mode.GROUNDED,
        Status.EXACT,
        text,
        StopReason.COMPLETE,
        sources=(Hit(product, 1.0),),
        verbatim=verbatim,
        fidelity=1.0,
    )


class Lag:
    """How late the loop gets to what is to be done: a thread asks every 5 ms.

    Where other programs have the processor too, that tells about them. So the CPU time of each
    round of the loop is counted as well: how late it would have been with a core of its own.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.rounds: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._round = self._loop._run_once  # type: ignore[attr-defined] # noqa: SLF001 - the round
        self._loop._run_once = self._count  # type: ignore[attr-defined] # noqa: SLF001 - the round
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, list[float]]:
        """Milliseconds, both lists sorted."""
        self._over.set()
        self._thread.join()
        self._loop._run_once = self._round  # type: ignore[attr-defined] # noqa: SLF001 - the round
        return {"late": sorted(self.late), "rounds": sorted(self.rounds)}

    def _count(self) -> None:
        before = time.thread_time()
        self._round()
        self.rounds.append((time.thread_time() - before) * 1000)

    def _ask(self) -> None:
        while not self._over.wait(_PROBE):
            self._loop.call_soon_threadsafe(self._hear, time.perf_counter())

    def _hear(self, asked: float) -> None:
        self.late.append((time.perf_counter() - asked) * 1000)


async def body(way: str, pane: ConversationView) -> Body:
    """A place in the pane for words that come, drawn that way."""
    from textual.widgets import Markdown, Static

    view = await pane.begin_turn("And this one?", "Model")
    if way == "balcao":
        return Ours(view.append, view)
    if way == "static":
        plain = Static("", markup=False, classes="words")
        await view.mount(plain, before=0)
        return Plain(plain)
    markdown = Markdown(classes="words", open_links=False)
    await view.mount(markdown, before=0)
    return Usual(Markdown.get_stream(markdown))


class Ours:
    """The chat's own."""

    def __init__(self, append, view) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self.append = append
        self._view = view

    async def finish(self) -> None:
        """End as the chat does."""
        await self._view.finish(_answer(0))


class Plain:
    """A Static that is updated for every token: letters, no Markdown."""

    def __init__(self, static) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self._static = static
        self._text = ""

    async def append(self, text: str) -> None:
        """Draw all of it again."""
        self._text += text
        self._static.update(self._text)

    async def finish(self) -> None:
        """Nothing is left to do."""


class Usual:
    """Textual's MarkdownStream."""

    def __init__(self, stream) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self.append = stream.write
        self.finish = stream.stop


class Measured(BalcaoApp):
    """The chat, which does one thing as soon as it is open, writes what it took, and ends."""

    def __init__(self, job: list[str], result: Path) -> None:
        super().__init__(load())
        self._job = job
        self._result = result

    def on_ready(self) -> None:
        """Begin."""
        super().on_ready()
        self.run_worker(self._do())

    async def _do(self) -> None:
        screen = self.screen
        assert isinstance(screen, ChatScreen)  # noqa: S101 - it is the first one
        await screen.session.ready()
        await asyncio.sleep(0.5)
        found = await (self._open(screen) if self._job[0] == "open" else self._stream(screen))
        self._result.write_text(json.dumps(found), encoding="utf-8")
        self.exit()

    async def _drawn(self) -> None:
        done = asyncio.Event()
        self.screen.call_after_refresh(done.set)
        await done.wait()

    async def _open(self, screen: ChatScreen) -> dict[str, object]:
        told = conversation(int(self._job[1]))
        cpu, began = time.process_time(), time.perf_counter()
        screen.session.use(told)
        await screen.show()
        await self._drawn()
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        return {"wall": wall, "cpu": used, "widgets": len(screen.query("*"))}

    async def _stream(self, screen: ChatScreen) -> dict[str, object]:
        pieces = document(self._job[2])
        screen.session.use(conversation(TURNS))
        await screen.show()
        view = await body(self._job[1], screen.pane)
        await asyncio.sleep(1.0)
        lag, cpu, began = Lag(), time.process_time(), time.perf_counter()
        for number, piece in enumerate(pieces):
            wait = began + number / RATE - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            await view.append(piece)
        await view.finish()
        await self._drawn()
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        await asyncio.sleep(0.3)
        return {"wall": wall, "cpu": used, **lag.stop()}


if __name__ == "__main__":
    Measured(sys.argv[1:-1], Path(sys.argv[-1])).run()
