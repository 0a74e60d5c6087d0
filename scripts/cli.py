"""The command `balcao`: the chat without a command, or one of the scripts by its name."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from engine.core.i18n import tr
from scripts.common import DONE, USAGE, guarded, say

if TYPE_CHECKING:
    import argparse

    from engine.config.settings import Settings

COMMANDS = {
    "ask": ("scripts.ask", "answer one question, or one a line from stdin"),
    "doctor": ("scripts.doctor", "say what is there, and what to do about the rest"),
    "engines": ("scripts.engines", "list the engines and what each needs"),
    "evaluate": ("scripts.evaluate", "measure how faithful engines are"),
    "finetune": ("scripts.finetune", "fine-tune a model at OpenAI"),
    "history": ("scripts.history", "list, search, export, import, delete conversations"),
    "index": ("scripts.index", "build a catalogue from trn.json"),
    "keys": ("scripts.keys", "keep the keys of the engines"),
    "merge": ("scripts.merge", "put an adapter into its base: one model for other servers"),
    "models": ("scripts.models", "list, fetch and remove models"),
    "prepare": ("scripts.prepare", "make training rows from trn.json"),
    "runs": ("scripts.runs", "list training runs, follow one, stop one"),
    "serve": ("scripts.serve", "show the chat in a browser on this machine"),
    "train": ("scripts.train", "fine-tune a Llama on this machine, by LoRA"),
}
"""Each command's module (with a `main(argv)`) and what it does. None is imported to list them."""


def make_parser() -> argparse.ArgumentParser:
    """The arguments of the chat, which is what runs where no command is named."""
    import argparse

    commands = "\n".join(f"  {name:10} {what}" for name, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="balcao",
        description="Ask a product catalogue, in the terminal. Without a command: the chat.",
        epilog=f"commands (balcao COMMAND --help):\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", metavar="ID", help="the engine to begin with")
    parser.add_argument("--catalogue", metavar="DIR", help="a folder that `balcao index` wrote")
    parser.add_argument("--memory", action="store_true", help="do not show models the record")
    parser.add_argument("--continue", action="store_true", help="go on with the last conversation")
    parser.add_argument("--plain", action="store_true", help="line by line, no full screen")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in COMMANDS:
        module = import_module(COMMANDS[given[0]][0])
        return cast("int", module.main(given[1:]))
    if given and not given[0].startswith("-"):
        told = tr("there is no command “{name}”; the commands are {commands}.")
        say(f"balcao: {told.format(name=given[0], commands=', '.join(COMMANDS))}")
        return USAGE
    return guarded(lambda: _start(given))


def _start(given: list[str]) -> int:
    # Most starts have no arguments, and argparse would be a tenth of what we load for them.
    arguments = vars(make_parser().parse_args(given)) if given else {}
    if arguments.pop("version", False):
        from importlib.metadata import version

        print(f"balcao {version('balcao')}")
        return DONE
    if arguments.pop("memory", False):
        arguments["mode"] = "memory"
    if not arguments.pop("plain", False):
        return _chat(arguments)
    go_on = arguments.pop("continue")
    return _plain(arguments, go_on=go_on)


def _chat(flags: dict[str, Any]) -> int:
    go_on = flags.pop("continue", False)
    if "TEXTUAL_DRIVER" in os.environ:
        # A tab of `balcao serve`: the terminal is in the browser, behind that driver.
        settings = _settings(flags)
        from tui.app import run

        return run(settings, "", go_on=go_on)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        told = tr("the chat needs a terminal; for a pipe there are `balcao ask` and --plain.")
        say(f"balcao: {told}")
        return USAGE
    from tui.terminal import is_dumb

    if is_dumb():
        told = tr("This terminal (TERM) can only write lines, so the chat goes line by line.")
        say(f"balcao: {told[0].lower()}{told[1:]}")
        return _plain(flags, go_on=go_on)
    from tui.textual_patches.typeahead import capture_typing

    with capture_typing(sys.stdin.fileno()) as typed:
        # Nothing that is loaded for the first frame becomes garbage: looking for it would take
        # a tenth of the time. The app turns it on again.
        gc.disable()
        settings = _settings(flags)
        if not settings.plain:
            from tui.app import run

            return run(settings, typed, go_on=go_on)
    gc.enable()
    return _plain(flags, typed, go_on=go_on)


def _plain(flags: dict[str, Any], typed: str = "", *, go_on: bool) -> int:
    settings = _settings(flags)
    from tui.plain.chat import run

    return run(settings, typed, go_on=go_on)


def _settings(flags: dict[str, Any]) -> Settings:
    """What is chosen, and its language in force: sentences are imported after this."""
    from engine.config.settings import load
    from engine.core import i18n

    settings = load(flags=flags)
    i18n.choose(settings.language)
    return settings


if __name__ == "__main__":
    sys.exit(main())
