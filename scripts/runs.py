"""The training runs: list them, follow one, stop one, have one answer in the chat.

balcao runs follow models/lora
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.core.errors import UsageError
from engine.core.text import json_line, one_line
from engine.training.runs import folder as lora_folder
from engine.training.runs import run_stop_part as run_stop
from engine.training.runs import view as run_view
from engine.training.runs.display import table
from engine.training.runs.view import RunView
from scripts.common import DONE, FAILED, INTERRUPTED, guarded, say
from scripts.follow_part import follow
from scripts.offer_part import check_engine, use_engine

_DO = ("list", "follow", "stop", "use")
_EVERY = 0.2


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="balcao runs",
        usage="balcao runs [-h] [--json] [list | [follow] RUN | stop RUN | use RUN [--engine ID]]",
        description="Training runs: list them, follow one with a live curve, stop one, or make"
        " its adapter an engine of the chat.",
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="its folder, or its name")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--engine", metavar="ID", default="", help="the engine's id, for `use`")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    words: list[str] = options.words
    do = words.pop(0) if words and words[0] in _DO else ("follow" if words else "list")
    if len(words) > 1 or (do == "list" and words):
        raise UsageError("That is more than one run.", "See `balcao runs --help`.")
    if do == "list":
        return _list(run_view.listed(), as_json=options.json)
    folder = run_view.find(words[0]) if words else _only_one()
    if options.json:
        return _list([run_view.look(folder)], as_json=True)
    if do == "stop":
        return _stop(folder)
    if do == "use":
        return _use(folder, options.engine)
    return _follow(folder)


def _only_one() -> Path:
    """The run that is meant where none is named."""
    alive = [view.folder for view in run_view.listed() if view.state == "running"]
    if len(alive) == 1:
        return alive[0]
    found = "No run is alive" if not alive else f"{len(alive)} runs are alive"
    raise UsageError(f"{found}: name one.", "`balcao runs` lists them.")


def _list(views: Sequence[RunView], *, as_json: bool) -> int:
    if as_json:
        for view in views:
            print(json_line(msgspec.to_builtins(view, enc_hook=str)))
        return DONE
    if not views:
        say("balcao: there is no run yet; `balcao train` begins one.")
        return DONE
    folders = ["FOLDER", *(one_line(str(view.folder)) for view in views)]
    for row, folder in zip(table(views), folders, strict=True):
        print(f"{row}  {folder}")
    return DONE


def _follow(folder: Path) -> int:
    try:
        view = follow(folder, sys.stdout)
    except KeyboardInterrupt:
        # Not raised again: what is said of that would sound as if the run had stopped.
        say("balcao: no longer followed; the run goes on.")
        return INTERRUPTED
    return FAILED if view.state in ("failed", "killed") else DONE


def _stop(folder: Path) -> int:
    run_stop.stop(folder)
    say("It saves and stops after this step.")
    while lora_folder.holder(folder) is not None:
        time.sleep(_EVERY)
    _list([run_view.look(folder)], as_json=False)
    return DONE


def _use(folder: Path, wanted: str) -> int:
    if wanted:
        check_engine(folder, wanted)
    use_engine(folder, wanted)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
