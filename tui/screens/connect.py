"""F9: add a model of a server, and enter an API key. Each returns once the server has answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from textual.screen import Screen

from engine.backends.base import Engine
from engine.config import keys
from engine.core.errors import UsageError
from engine.core.i18n import tr
from engine.core.text import one_line
from tui.screens.dialogs import ChoiceDialog, InputDialog

Report = Callable[[str], None]
_OTHER, _EXAMPLE = "other", "http://localhost:8000/v1"
_MAX_SHOWN = 40


async def add_model(page: Screen[object], report: Report) -> str:
    """Let the user choose a model of a server; return the new engine's id, empty if cancelled.

    Raises BalcaoError.
    """
    from engine.backends.openai.discover import PORTS, find_local
    from engine.config.edit import add_server

    servers = ", ".join(f"{name} ({port})" for name, port in PORTS.items())
    report(tr("Looking on this machine for {servers}…", servers=servers))
    found = await find_local()
    report("" if found else tr("None answered on this machine: {servers}.", servers=servers))
    lines = {str(place): f"{one.server} · {one.model}" for place, one in enumerate(found)}
    lines[_OTHER] = tr("Another address…")
    chosen = await page.app.push_screen_wait(ChoiceDialog(tr("Add a model"), lines))
    if chosen == _OTHER:
        return await _add_from_address(page, report)
    if chosen is None:
        return ""
    one = found[int(chosen)]
    return await asyncio.to_thread(add_server, one.server, one.model, one.base_url)


async def _add_from_address(page: Screen[object], report: Report) -> str:
    from engine.backends.openai.discover import server_at
    from engine.backends.openai.engine import server_name
    from engine.config.edit import add_server

    dialog = InputDialog(tr("Address of the server"), example=_EXAMPLE)
    typed = await page.app.push_screen_wait(dialog)
    if typed is None:
        return ""
    address = _checked(typed)
    key = await _ask_for_key(page, tr("API key of the server"), tr("empty if it needs none"))
    if key is None:
        return ""
    name = server_name(address)
    report(tr("Asking {server} for its models…", server=one_line(name)))
    ids = await server_at(address).model_ids(key)
    model = await _choose_model(page, ids)
    if not model:
        return ""
    key_name = f"SERVER_{re.sub('[^A-Z0-9]+', '_', name.upper())}_API_KEY" if key else ""
    if key:
        await asyncio.to_thread(keys.store, key_name, key)
    return await asyncio.to_thread(add_server, name, model, address, key_name)


def _checked(address: str) -> str:
    """Return a typed address with the usual path, if it has none. Raises UsageError."""
    from engine.backends.openai.engine import parse_address

    parts = parse_address(address)
    if parts is None:
        shown = one_line(address, _MAX_SHOWN)
        raise UsageError(
            tr("“{address}” is not a web address.", address=shown),
            tr("Type one like {example}.", example=_EXAMPLE),
        )
    return address if parts.path.strip("/") else parts._replace(path="/v1").geturl()


async def enter_key(page: Screen[object], engine: Engine, report: Report) -> str:
    """Let the user type the engine's API key, then choose a model if it has none.

    Return a sentence about it, empty if cancelled. Raises BalcaoError.
    """
    from engine.config.edit import save_engine

    name, title = engine.config.key_name(), one_line(engine.info.title)
    if not name:
        return tr("{title} needs no API key.", title=title)
    source = keys.source(name)
    if source is keys.Source.ENVIRONMENT:
        return tr("The key is in the environment variable {name}: change it there.", name=name)
    hint = tr("empty to keep the stored key") if source else name
    key = await _ask_for_key(page, tr("API key of {title}", title=title), hint)
    if key is None or not (key or source):
        return ""
    report(tr("Asking {server} for its models…", server=engine.queue))
    ids = await engine.model_ids(key)
    if key:
        await asyncio.to_thread(keys.store, name, key)
    model = engine.facts().model or await _choose_model(page, ids)
    if model != engine.facts().model:
        await asyncio.to_thread(save_engine, engine.info.id, {"model": model})
    await engine.use_model(model)
    return tr("✓ {server} accepts the key.", server=engine.queue)


async def _ask_for_key(page: Screen[object], heading: str, hint: str) -> str | None:
    dialog = InputDialog(heading, example=hint, secret=True, optional=True)
    key: str | None = await page.app.push_screen_wait(dialog)
    if key and not keys.is_sendable(key):
        raise UsageError(tr("Invalid API key: empty, or contains invalid characters."))
    return key


async def _choose_model(page: Screen[object], ids: Sequence[str]) -> str:
    if not ids:
        raise UsageError(tr("The server lists no models."))
    lines = {each: each for each in ids}
    return await page.app.push_screen_wait(ChoiceDialog(tr("Choose a model"), lines)) or ""
