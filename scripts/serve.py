"""Show the chat in a browser on this machine: each tab is a chat of its own.

balcao serve --port 8000
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from engine.config.settings import load
from engine.core.errors import UsageError, why
from engine.core.i18n import tr
from scripts.common import INTERRUPTED, guarded, say, speak

_PORT = 8000
_MOST = 65535
# Of the terminal that the server runs in, which is not where the chat is seen.
_NOT_FOR_TABS = ("TMUX", "TERM", "COLORTERM", "NO_COLOR")


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="balcao serve",
        description="Show the chat in a browser on this machine. Ctrl-C stops it.",
    )
    parser.add_argument(
        "--port", type=int, default=_PORT, help=f"default {_PORT}; 0 takes one that is free"
    )
    parser.add_argument("--engine", metavar="ID", help="the engine to begin with")
    parser.add_argument("--catalogue", metavar="DIR", help="a folder that `balcao index` wrote")
    parser.add_argument("--memory", action="store_true", help="do not show models the record")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; 130 then, 2 if it could not begin."""
    arguments = make_parser().parse_args(argv)
    speak()
    return guarded(lambda: _serve(arguments))


def _serve(arguments: argparse.Namespace) -> int:
    load(flags={"engine": arguments.engine, "catalogue": arguments.catalogue})
    if not 0 <= arguments.port <= _MOST:
        raise UsageError(
            tr(
                "There is no port {port}: they go from 0 to {most}.",
                port=arguments.port,
                most=_MOST,
            )
        )
    try:
        from scripts.serving import PrivateServer
    except ImportError as error:
        raise UsageError(
            tr("`balcao serve` needs a package that is not installed ({name}).", name=error.name),
            tr("Install it: {command}.", command="pip install 'balcao[serve]'"),
        ) from error
    try:
        server = PrivateServer(arguments.port, _chat_arguments(arguments))
    except OSError as error:
        raise UsageError(
            tr("Port {port} cannot be had: {why}.", port=arguments.port, why=why(error)),
            tr(
                "Take another (--port {port}), or --port 0 for any that is free.",
                port=arguments.port + 1,
            ),
        ) from None
    for name in _NOT_FOR_TABS:
        os.environ.pop(name, None)
    say(tr("The chat is shown at this address, to nobody who does not know it:"))
    print(server.address, flush=True)
    say(tr("Each tab is a chat of its own. Ctrl-C here stops them all."))
    server.run()
    return INTERRUPTED


def _chat_arguments(arguments: argparse.Namespace) -> list[str]:
    given = [("--engine", arguments.engine), ("--catalogue", arguments.catalogue)]
    chosen = [word for name, value in given if value for word in (name, value)]
    return [*chosen, "--memory"] if arguments.memory else chosen


if __name__ == "__main__":
    sys.exit(main())
