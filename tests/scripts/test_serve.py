"""Use the real server and its chats like a browser."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from textual_serve.download_manager import DownloadManager

from engine.config import paths
from engine.core.types import StopReason
from engine.store.conversations import ConversationStore
from scripts import cli, web_server
from tests.engine.backends.openai import server as scripted

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20


@asynccontextmanager
async def serving(
    catalogue: Path, **environ: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start the server as a process; yield it and the address it prints."""
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "serve", "--port", "0", "--catalogue", str(catalogue)),
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(SECONDS):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def drawn_until(
    tab: aiohttp.ClientWebSocketResponse, wanted: str, *, raw: bool = False
) -> str:
    """Return the text sent to the tab until it has `wanted`, if `raw` with escape sequences."""
    drawn = b""
    while wanted not in (text := re.sub(r"\x1b\[[0-9;?$]*[a-zA-Z]", "", drawn.decode("utf-8"))):
        message = await tab.receive()
        assert message.type is aiohttp.WSMsgType.BINARY, (message, drawn)
        drawn += message.data
    return drawn.decode() if raw else text


def children(process: int) -> str:
    return Path(f"/proc/{process}/task/{process}/children").read_text()


def environment(process: int) -> set[str]:
    return set(Path(f"/proc/{process}/environ").read_text().split("\0"))


async def ended(process: int) -> None:
    """Wait until a process has no children."""
    while children(process):  # noqa: ASYNC110 - what is waited for is another process
        await asyncio.sleep(0.05)


async def test_each_tab_is_a_separate_chat(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as (process, address), aiohttp.ClientSession() as browser:
        async with browser.ws_connect(f"{address}ws?width=100&height=30") as tab:
            await drawn_until(tab, "ready · 10 products")
            await tab.send_json(["focus"])  # as the page does, before any key
            await tab.send_json(["stdin", "canvas stool blue\r"])
            await drawn_until(tab, "Folds flat and floats.")
            await tab.send_json(["resize", {"width": 60, "height": 20}])
            await drawn_until(tab, "Folds flat and floats.")
        await ended(process.pid)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    store = ConversationStore(paths.conversations_file())
    assert [entry.title for entry in store.latest()] == ["canvas stool blue"]
    store.close()


async def test_closing_a_tab_keeps_the_text_so_far(catalogue_dir: Path) -> None:
    async with scripted.running() as server:
        server.always = scripted.stalled(scripted.words("Half an answer"))
        remote = {
            "BALCAO_ENGINE": "openai",
            "BALCAO_ENGINES__OPENAI__MODEL": "m",
            "BALCAO_ENGINES__OPENAI__BASE_URL": server.url,
        }
        async with (
            serving(catalogue_dir, **remote) as (process, address),
            aiohttp.ClientSession() as browser,
        ):
            async with browser.ws_connect(f"{address}ws") as tab:
                await tab.send_json(["focus"])
                await tab.send_json(["stdin", "canvas stool blue\r"])
                await drawn_until(tab, "Half an answer")
            await ended(process.pid)
    store = ConversationStore(paths.conversations_file())
    answer = store.open(store.latest()[0].id).turns[0].answer
    store.close()
    assert answer is not None
    assert (answer.text, answer.stop_reason) == ("Half an answer", StopReason.CANCELLED)


async def test_a_screen_of_an_impossible_size_is_bounded(catalogue_dir: Path) -> None:
    async with serving(catalogue_dir) as (process, address), aiohttp.ClientSession() as browser:
        async with browser.ws_connect(f"{address}ws?width=999999999&height=999999999") as tab:
            await drawn_until(tab, "ready · 10 products")
            chat = int(children(process.pid))
            assert {"COLUMNS=1000", "ROWS=500"} <= environment(chat)
            await tab.send_json(["resize", {"width": 100_000, "height": 100_000}])
            await tab.send_json(["focus"])
            await tab.send_json(["stdin", "canvas stool blue\r"])
            drawn = await drawn_until(tab, "Folds flat and floats.", raw=True)
            places = re.findall(r"\x1b\[(\d+);(\d+)H", drawn)
            assert max(int(row) for row, _ in places) <= 500
            assert max(int(column) for _, column in places) <= 1000
        await ended(process.pid)


_CHAT = """
import os, sys
os.write(1, b"__GANGLION__\\n")
size = 1 << 20  # more than a pipe holds
os.write(1, b"D" + size.to_bytes(4, "big") + bytes(size)) if sys.argv[1] == "floods" else None
sys.stdin.buffer.read(1)
sys.argv[1] == "hangs" and __import__("signal").pause()
"""


@pytest.mark.parametrize(("how", "code"), [("floods", 0), ("hangs", -signal.SIGKILL)])
async def test_a_chat_ends_with_its_tab(
    how: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(_: object = None) -> None:
        raise ConnectionResetError

    if how == "hangs":
        monkeypatch.setattr(web_server, "_SHUTDOWN_TIMEOUT", 0.1)
    chat = web_server.ChatProcess(
        f"exec {shlex.join([sys.executable, '-c', _CHAT, how])}",
        write_bytes=gone,
        write_str=gone,
        close=gone,
        download_manager=DownloadManager(),
    )
    await chat.start(80, 24)
    process = chat._process
    assert process is not None
    await chat.stop()
    assert process.returncode == code


async def test_the_page_is_private_and_fetches_nothing_else(
    catalogue_dir: Path,
) -> None:
    async with serving(catalogue_dir) as (_, address), aiohttp.ClientSession() as browser:
        origin, secret = re.match(r"(http://127\.0\.0\.1:\d+)/([\w-]{32})/$", address).groups()  # type: ignore[union-attr]
        async with browser.get(address) as page:
            assert page.status == 200
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]
            text = await page.text()
        fetched = set(re.findall(r"(?:https?|wss?):(//[^/\"']+)", text)) - {"//www.w3.org"}
        assert fetched == {origin.removeprefix("http:")}
        # The element that the page focuses comes from textual-serve's script.
        assert ".xterm-helper-textarea" in text
        async with browser.get(f"{address}static/js/textual.js") as script:
            assert "xterm-helper-textarea" in await script.text()
        for font in re.findall(r"http://[^\"]+\.ttf", text):
            async with browser.get(font) as reply:
                assert reply.status == 200
        for wrong in (f"{origin}/", f"{origin}/ws", f"{origin}/{secret[:-1]}/"):
            async with browser.get(wrong) as reply:
                assert reply.status == 404
        for header in ({"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}):
            async with browser.get(address, headers=header) as reply:
                assert reply.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await browser.ws_connect(f"{address}ws", headers=header)


def test_a_port_in_use_is_one_sentence(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = cli.main(["serve", "--port", str(port), "--catalogue", str(catalogue_dir)])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith(f"balcao: Cannot use port {port}: Address already in use.")
    assert said.err.count("\n") == 1
    assert cli.main(["serve", "--port", "70000"]) == 2
