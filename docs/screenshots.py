"""Take the pictures of the README and the guide from the program, on the sample catalogue.

python docs/screenshots.py [NAME …]

The local engines run the small Llama in the user's cache folder.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.config import paths
from engine.core.trained_products import read_trained_products

TRAINED = read_trained_products(paths.small_adapter_dir())
LEARNED = f"Tell me about {TRAINED.titles[0]}." if TRAINED else ""
"""Asks for a product that the small adapter has learned."""
ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SHOTS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "chat": (
        (100, 30),
        (
            "do you have the striped apron?",
            "2",
            "what size is it?",
        ),
    ),
    "record": ((100, 30), ("Saffron and Smoke", "<f4>")),
    "memory": ((100, 34), ("<f5>", "<f2>", LEARNED, "<f2>", LEARNED)),
    "compare": ((160, 50), ("<f5>", f"type {LEARNED}", "<f3>", "wait")),
    "compare-80": ((80, 24), ("<f5>", f"type {LEARNED}", "<f3>", "wait")),
    "marks": ((100, 30), ("<f2>", LEARNED, "<f6>")),
    "engines": ((100, 30), ("<f2>", LEARNED, "<f9>")),
    "parameters": ((100, 30), ("<f9>", "<down>", "<p>")),
    "titles": ((100, 30), ("type do you have the str",)),
    "commands": ((100, 30), ("type /e",)),
    "turns": ((100, 34), ("<f5>", "<f2>", LEARNED, "<f2>", "<ctrl+up>", "<ctrl+r>", "wait")),
    "history": (
        (100, 30),
        (
            "Saffron and Smoke",
            "<ctrl+n>",
            "do you have the striped apron?",
            "<ctrl+o>",
            "<s>",
            "<t>",
        ),
    ),
    "small": ((60, 20), ("Saffron and Smoke",)),
}
"""Size and steps by picture: a question to ask, a `<key>` to press, text to `type` without sending,
or `wait` for all answers."""
PORTUGUESE = {"portuguese": ((100, 30), ("Saffron and Smoke", "<f5>", "Vocês têm o Manual?"))}
PATIENCE = 60.0
"""Seconds in which a model must have loaded and answered."""


async def take(name: str, size: tuple[int, int], steps: tuple[str, ...]) -> None:
    """Drive the chat through the steps and save a picture of its screen."""
    from engine.config.settings import load
    from tui.app import BalcaoApp
    from tui.screens.chat import ChatScreen
    from tui.widgets.composer import Composer
    from tui.widgets.turns import AnswerView

    app = BalcaoApp(load())
    async with app.run_test(size=size) as pilot:
        chat = app.screen
        if not isinstance(chat, ChatScreen):
            raise TypeError("The first screen is not the chat.")

        def unfinished() -> bool:
            return not all(view.is_finished for view in app.screen.query(AnswerView))

        async def answered() -> None:
            waited = 0.0
            while waited < PATIENCE and (chat.is_answering or unfinished()):
                await pilot.pause(0.1)
                waited += 0.1

        await pilot.pause(1.0)
        for step in steps:
            if step.startswith("<"):
                await pilot.press(step[1:-1])
            elif step.startswith("type "):
                chat.query_one(Composer).insert(step.removeprefix("type "))
            elif step != "wait":
                chat.query_one(Composer).insert(step)
                await pilot.press("enter")
            await pilot.pause(3.0)
            await answered()
        await pilot.pause(0.5)
        picture = app.export_screenshot().replace(f"{ROOT}/", "")
        (IMAGES / f"{name}.svg").write_text(picture, encoding="utf-8")


def main(wanted: list[str]) -> int:
    """Take the named pictures, or all of them."""
    IMAGES.mkdir(exist_ok=True)
    model, environ = paths.small_model_dir(), dict(os.environ)
    if not (LEARNED and model.is_dir()):
        raise SystemExit("Run first: balcao models pull smollm2")
    if wanted == list(PORTUGUESE):
        from engine.core import i18n

        i18n.choose("pt")
    for name, (size, steps) in (SHOTS | PORTUGUESE).items():
        if name not in (wanted or SHOTS):
            continue
        with tempfile.TemporaryDirectory() as home:
            os.environ["BALCAO_HOME"] = home
            paths.small_model_dir().parent.mkdir(parents=True)
            paths.small_model_dir().symlink_to(model)
            asyncio.run(take(name, size, steps))
        print(IMAGES / f"{name}.svg")
    if not wanted:
        # The language is fixed for the life of a process.
        subprocess.run([sys.executable, __file__, *PORTUGUESE], env=environ, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
