"""Print a script that completes the commands and options of `balcao` in a shell.

balcao completion bash > ~/.local/share/bash-completion/completions/balcao
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from engine.core.errors import UsageError
from engine.core.process import pip_command
from scripts.common import DONE, command
from scripts.runs import ACTIONS

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/balcao",
    "zsh": "~/.zfunc/_balcao",
    "fish": "~/.config/fish/completions/balcao.fish",
}
"""Where each shell looks for the script."""
_KINDS = {"DIR": "DIRECTORY", "FILE": "FILE", "MODEL": "DIRECTORY"}
"""What shtab completes, by the metavar of an argument."""


def make_parser() -> argparse.ArgumentParser:
    files = "\n".join(f"  balcao completion {shell} > {file}" for shell, file in SHELLS.items())
    parser = argparse.ArgumentParser(
        prog="balcao completion",
        description="Print a script that completes commands, options and folders with Tab.",
        epilog=f"Create the folder of the file, then start a new shell:\n{files}\n\n"
        "zsh also needs, in ~/.zshrc: fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=tuple(SHELLS))
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    if find_spec("shtab") is None:
        raise UsageError(
            "`balcao completion` needs the package shtab.", f"Run: {pip_command('shtab')}"
        )
    import shtab

    print(shtab.complete(_all_commands(), options.shell))
    return DONE


def _all_commands() -> argparse.ArgumentParser:
    """Return the parser of the chat with those of all commands below it."""
    from scripts import cli

    parser = cli.make_parser()
    commands = parser.add_subparsers()
    for name, (module, what) in cli.COMMANDS.items():
        own = import_module(module).make_parser()
        commands.add_parser(
            name, help=what, parents=[own], add_help=False, conflict_handler="resolve"
        )
    import shtab

    for action in _arguments(parser):
        if action.metavar == "RUN":
            action.choices = tuple(ACTIONS)
        elif action.metavar in _KINDS:
            action.complete = getattr(shtab, _KINDS[action.metavar])
    return parser


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for child in action.choices.values():
                yield from _arguments(child)
        else:
            yield action


if __name__ == "__main__":
    sys.exit(main())
