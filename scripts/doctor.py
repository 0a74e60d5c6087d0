"""Check the installation, the settings and the machine, and say how to fix what is wrong.

balcao doctor
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby

from msgspec.structs import asdict, replace

from engine.chat import diagnostics as checkup
from engine.chat.diagnostics import Finding
from engine.config.settings import Settings
from engine.core import i18n
from engine.core.errors import SettingsError
from engine.core.i18n import tr, tr_n
from engine.core.text import json_line, one_line
from scripts.common import DONE, FAILED, command

_WIDE = 14


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao doctor",
        description=__doc__.splitlines()[0],
        epilog="Exit status: 0 if the chat can start, 1 if it cannot.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--torch", action="store_true", help="also ask torch for a GPU (slow)")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    found = _findings(ask_torch=options.torch)
    can_start = not any(finding.fatal for finding in found)
    if options.json:
        rows = [asdict(finding) for finding in found]
        print(json_line({"can_start": can_start, "findings": rows}))
        return DONE if can_start else FAILED
    if sys.stdout.isatty():
        from tui.terminal import set_charset, terminal_charset

        set_charset(sys.stdout, terminal_charset())
    for part, findings in groupby(found, lambda finding: finding.part):
        print(_called(part).capitalize())
        for finding in findings:
            _print(finding)
        print()
    troubles = sum(1 for finding in found if finding.trouble)
    marked = tr(" Problems, marked with !: {troubles}.", troubles=troubles) if troubles else ""
    print((tr("The chat can start.") if can_start else tr("The chat cannot start.")) + marked)
    return DONE if can_start else FAILED


def _print(finding: Finding) -> None:
    mark = "!" if finding.trouble else " "
    # Engine ids are not translated.
    name = finding.name if finding.part == "engines" else _called(finding.name)
    print(f"{mark} {name:{_WIDE}} {one_line(finding.value)}")
    for line in (finding.trouble, finding.remedy):
        if line:
            print(f"    {one_line(line)}")


def _findings(*, ask_torch: bool) -> list[Finding]:
    chosen, wrong = checkup.load_settings()
    i18n.choose(chosen.language)
    found = checkup.examine("program", checkup.program)
    found += checkup.examine("terminal", lambda: _terminal(chosen))
    found += checkup.examine("settings", checkup.files)
    found += checkup.examine("settings", lambda: _chat(chosen, wrong), fatal=True)
    found += checkup.examine("engines", lambda: checkup.engines(chosen))
    found += checkup.examine("catalogue", lambda: checkup.catalogue(chosen), fatal=True)
    found += checkup.examine("keys", lambda: checkup.named_keys(chosen))
    found += checkup.examine("history", checkup.history)
    return found + checkup.examine("machine", lambda: checkup.machine(ask_torch=ask_torch))


def _chat(chosen: Settings, wrong: SettingsError | None) -> Iterator[Finding]:
    if wrong:
        yield Finding("wrong", tr("not used"), wrong.message, wrong.remedy, fatal=True)
        return
    # Only the chat can check its themes and keys.
    from tui.app import BalcaoApp
    from tui.themes import theme_for

    theme = BalcaoApp(replace(chosen, theme=theme_for(chosen.theme))).theme
    valid = tr_n(
        "valid; theme {theme}, {count} key of your own",
        "valid; theme {theme}, {count} keys of your own",
        len(chosen.keys),
        theme=theme,
    )
    yield Finding("chat", valid)


def _terminal(chosen: Settings) -> Iterator[Finding]:
    from tui import clipboard, terminal

    trouble = remedy = ""
    if terminal.is_dumb():
        trouble = tr("This terminal (TERM) can only write lines, so the chat goes line by line.")
        remedy = tr("If it supports more, set TERM, for example to xterm-256color.")
    yield Finding("TERM", os.environ.get("TERM") or tr("not set"), trouble, remedy)
    columns, lines = shutil.get_terminal_size()
    size = tr("{columns} columns, {lines} lines", columns=columns, lines=lines)
    trouble = remedy = ""
    if columns < terminal.COLUMNS or lines < terminal.LINES:
        least = {"columns": terminal.COLUMNS, "lines": terminal.LINES}
        trouble = tr("Not everything fits.")
        remedy = tr("Use at least {columns} columns and {lines} lines.", **least)
    yield Finding("size", size, trouble, remedy)
    colours = terminal.colour_count()
    wanted = tr("off (NO_COLOR)") if terminal.colour_disabled() else f"{colours:,}"
    yield Finding("colours", wanted)
    yield Finding("characters", terminal.terminal_charset(chosen.unicode))
    both = sys.stdin.isatty() and sys.stdout.isatty()
    streams = tr("a terminal") if both else tr("not a terminal: use balcao ask or balcao --plain")
    yield Finding("input", streams)
    yield Finding("tmux", _yes("TMUX"))
    yield Finding("SSH", _yes("SSH_CONNECTION"))
    others = tr("the terminal (OSC 52), if it allows it, and a file")
    yield Finding("copying", tr("to {ways}", ways=", ".join(clipboard.programs()) or others))


def _yes(variable: str) -> str:
    return tr("yes") if os.environ.get(variable) else tr("no")


def _called(name: str) -> str:
    return {
        "program": tr("program"),
        "system": tr("system"),
        "terminal": tr("terminal"),
        "size": tr("size"),
        "colours": tr("colours"),
        "characters": tr("characters"),
        "input": tr("input"),
        "copying": tr("copying"),
        "settings": tr("settings"),
        "variables": tr("variables"),
        "wrong": tr("wrong"),
        "engines": tr("engines"),
        "catalogue": tr("catalogue"),
        "sample": tr("sample"),
        "keys": tr("keys"),
        "history": tr("history"),
        "folder": tr("folder"),
        "conversations": tr("conversations"),
        "machine": tr("machine"),
        "disk": tr("disk"),
        "memory": tr("memory"),
        "cores": tr("cores"),
    }.get(name, name)


if __name__ == "__main__":
    sys.exit(main())
