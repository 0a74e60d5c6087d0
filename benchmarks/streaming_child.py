"""Run one chat for benchmarks/streaming.py and stream one answer into it.

    python -m benchmarks.streaming_child (stream WAY WHAT | open TURNS | empty) RESULT

It writes RESULT as JSON. It is the real chat with the sample catalogue and an invented
conversation; the text goes directly into its pane, as an engine's would.
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
from tui.widgets.turns import MARKING

if TYPE_CHECKING:
    from tui.widgets.conversation import ConversationView

TOKENS, RATE = 2000, 200.0
TURNS = 200
_PROBE = 0.005
_SENTENCE = "The **lamp** folds flat, weighs little and `holds` its charge for a day or *two*. "


class Body(Protocol):
    """A way to draw streamed text."""

    async def append(self, text: str) -> None:
        """Draw more text."""

    async def finish(self) -> None:
        """Draw what is left."""


def document(what: str) -> list[str]:
    """Make a text of this kind, in 2,000 pieces of about four characters."""
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
    """Make a conversation with answers quoted from the catalogue and answers with a list."""
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
    """Measure the delay of the event loop: a thread calls it every 5 ms.

    Other programs on the processor add to the delay. The CPU time of each iteration of the loop is
    measured too, which gives the delay on a free core.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.rounds: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._round = self._loop._run_once  # type: ignore[attr-defined] # noqa: SLF001 - one iteration
        self._loop._run_once = self._count  # type: ignore[attr-defined] # noqa: SLF001 - one iteration
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, list[float]]:
        """Stop, and return the delays and the iterations in milliseconds, sorted."""
        self._over.set()
        self._thread.join()
        self._loop._run_once = self._round  # type: ignore[attr-defined] # noqa: SLF001 - one iteration
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


async def body(way: str, pane: ConversationView, pieces: list[str]) -> Body:
    """Add a turn to the pane that draws streamed text in this way."""
    from textual.widgets import Markdown, Static

    view = await pane.begin_turn("And this one?", "Model")
    if way == "marked":
        pane.add_class(MARKING)
        view.product = Product("0", "Lamp", "".join(pieces).replace("*", "").replace("`", ""))
    if way in ("balcao", "marked"):
        return ChatBody(view.append, view)
    if way == "static":
        plain = Static("", markup=False, classes="words")
        await view.mount(plain, before=0)
        return StaticBody(plain)
    markdown = Markdown(classes="words", open_links=False)
    await view.mount(markdown, before=0)
    return MarkdownBody(Markdown.get_stream(markdown))


class ChatBody:
    """Draw as the chat does."""

    def __init__(self, append, view) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self.append = append
        self._view = view

    async def finish(self) -> None:
        """Finish the answer."""
        await self._view.finish(_answer(0))


class StaticBody:
    """Update a Static for every token, without Markdown."""

    def __init__(self, static) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self._static = static
        self._text = ""

    async def append(self, text: str) -> None:
        """Draw the whole text again."""
        self._text += text
        self._static.update(self._text)

    async def finish(self) -> None:
        """Do nothing, since all text is drawn."""


class MarkdownBody:
    """Draw with Textual's MarkdownStream."""

    def __init__(self, stream) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - below
        self.append = stream.write
        self.finish = stream.stop


class Measured(BalcaoApp):
    """The chat, which does one job when it is open, writes the result and exits."""

    def __init__(self, job: list[str], result: Path) -> None:
        super().__init__(load())
        self._job = job
        self._result = result

    def on_ready(self) -> None:
        """Start the job."""
        super().on_ready()
        self.run_worker(self._do())

    async def _do(self) -> None:
        screen = self.screen
        assert isinstance(screen, ChatScreen)  # noqa: S101 - the first screen
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
        opened = conversation(int(self._job[1]))
        cpu, began = time.process_time(), time.perf_counter()
        screen.session.use(opened)
        await screen.show()
        await self._drawn()
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        return {"wall": wall, "cpu": used, "widgets": len(screen.query("*"))}

    async def _stream(self, screen: ChatScreen) -> dict[str, object]:
        pieces = document(self._job[2])
        screen.session.use(conversation(TURNS))
        await screen.show()
        view = await body(self._job[1], screen.pane, pieces)
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
