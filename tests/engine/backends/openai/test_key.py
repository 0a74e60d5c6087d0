"""The key goes to the server in one header and nowhere else, whatever fails."""

from __future__ import annotations

import io
import logging
import traceback

import pytest
from rich.console import Console
from rich.traceback import Traceback

from engine.backends.openai.engine import OpenAIEngine
from engine.core.errors import BalcaoError
from tests.engine.backends.openai.conftest import CANARY, Make, gather
from tests.engine.backends.openai.server import (
    Reply,
    Server,
    answer,
    cut,
    error,
    hang_up,
    hello,
    sse,
    stalled,
    streamed,
    words,
)

FAILURES: dict[str, Reply] = {
    "repeated in 401": error(401, f"Incorrect API key provided: {CANARY}"),
    "repeated in 400": error(400, f"Bad header: Bearer {CANARY}"),
    "repeated in a page": answer(500, f"<html>{CANARY}", kind="text/html"),
    "repeated in plain text": answer(418, f"Bearer {CANARY}", kind="text/plain"),
    "repeated in an event": streamed(words("Hel"), sse(f'{{"error": "key {CANARY}"}}')),
    "repeated with 200": answer(200, {"error": f"key {CANARY}"}),
    "no JSON": streamed(words("Hel"), sse(f"{{{CANARY}")),
    "rate": error(429, "Slow down"),
    "cut": cut(words("Hel")),
    "no answer": hang_up(),
    "stalled": stalled(words("Hel")),
}


async def _failing(engine: OpenAIEngine) -> BalcaoError:
    """What the engine raises, with a traceback that does not hold the test's own server."""
    try:
        await gather(engine)
    except BalcaoError as failure:
        return failure
    raise AssertionError("it did not fail")


def _as_a_crash_would_show(caught: BaseException) -> str:
    """Python's own traceback, and the chat's, which shows local variables."""
    shown = io.StringIO()
    kind, tree = type(caught), caught.__traceback__
    Console(file=shown, width=400).print(
        Traceback.from_exception(kind, caught, tree, show_locals=True, locals_max_string=10_000)
    )
    assert "locals" in shown.getvalue()
    return shown.getvalue() + "".join(traceback.format_exception(caught))


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES.keys())
async def test_the_key_shows_in_no_failure(
    server: Server, make: Make, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.always = reply
    engine = make(max_retries=1, stall_timeout=0.2)
    caught = await _failing(engine)
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
    for shown in (
        str(caught),
        repr(caught),
        repr(caught.problem),
        _as_a_crash_would_show(caught),
        repr(engine),
        str(vars(engine)),
        repr(engine.availability()),
    ):
        assert CANARY not in shown
    assert "openai" in {record.name.partition(".")[0] for record in caplog.records}
    assert CANARY not in caplog.text
    assert CANARY not in "".join(str(vars(record)) for record in caplog.records)


async def test_the_key_shows_in_no_success(
    server: Server, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [hello()]
    engine = make()
    chunks = await gather(engine)
    assert CANARY not in f"{chunks}{vars(engine)}{engine.info}{caplog.text}"
