"""A few of the hostile servers of tools.attack.server, those that end at once."""

from __future__ import annotations

from pathlib import Path

from tools.attack import server

QUICK = {
    *(server.cut, server.flipped, server.halves, server.counts, server.strange, server.deep),
    *(server.refused, server.redirected, server.echoed),
}
SEEDS = [seed for seed in range(30) if server.chosen(seed)[0] in QUICK]


async def test_a_hostile_server_breaks_neither_the_chat_nor_its_history(
    catalogue_dir: Path,
) -> None:
    found: list[str] = []
    await server.run(SEEDS, found.append, str(catalogue_dir))
    assert found == []
