"""Takes the pictures in the README and docs/ from the program itself, on the sample catalogue.

python docs/screenshots.py
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).resolve().parent / "images"
SHOTS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "chat": (
        (100, 30),
        (
            "do you have the striped apron?",
            "2",
            "what size is it?",
            "Vocês têm o Manual do Submarino de Veludo?",
        ),
    ),
    "record": ((100, 30), ("Saffron and Smoke", "<f4>")),
    "engine": ((100, 30), ("Qual é a descrição de “Saffron and Smoke”?", "<f2>", "<f2>", "<f2>")),
}
"""Size, then questions to ask and keys (in angle brackets) to press."""


async def take(name: str) -> None:
    """Drive the chat to where the picture is to be taken, and take it."""
    from engine.settings import load
    from tui.app import BalcaoApp
    from tui.widgets.composer import Composer

    size, steps = SHOTS[name]
    app = BalcaoApp(load())
    async with app.run_test(size=size) as pilot:
        await pilot.pause(1.0)
        for step in steps:
            if step.startswith("<"):
                await pilot.press(step[1:-1])
            else:
                app.screen.query_one(Composer).insert(step)
                await pilot.press("enter")
            await pilot.pause(0.7)
        (IMAGES / f"{name}.svg").write_text(app.export_screenshot(), encoding="utf-8")


def main() -> int:
    """Take every picture."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["BALCAO_HOME"] = home
        for name in SHOTS:
            asyncio.run(take(name))
            print(IMAGES / f"{name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
