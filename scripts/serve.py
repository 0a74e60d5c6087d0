"""Serve the chat to a browser on this machine; each tab is a separate chat.

balcao serve --port 8000
"""

from __future__ import annotations

import argparse
import os
import sys

from engine.config.settings import load
from engine.core.errors import UsageError, why
from engine.core.i18n import tr
from engine.core.process import install_command
from scripts.common import INTERRUPTED, command, say, whole

_DEFAULT_PORT = 8000
_MAX_PORT = 65535
_TERMINAL_VARIABLES = ("TMUX", "TERM", "COLORTERM", "NO_COLOR")
"""These describe the server's own terminal, not the browser's."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao serve",
        description="Serve the chat to a browser on this machine; each tab is a separate chat."
        " Press Ctrl-C to stop.",
    )
    parser.add_argument(
        "--port",
        type=whole,
        default=_DEFAULT_PORT,
        help=f"port to listen on; 0 picks a free one (default: {_DEFAULT_PORT})",
    )
    parser.add_argument("--engine", metavar="ID", help="engine to start with")
    parser.add_argument("--catalogue", metavar="DIR", help="folder written by `balcao index`")
    parser.add_argument("--memory", action="store_true", help="ask models without the record")
    return parser


@command(make_parser, speaks=True)
def main(arguments: argparse.Namespace) -> int:
    load(flags={"engine": arguments.engine, "catalogue": arguments.catalogue})
    if not 0 <= arguments.port <= _MAX_PORT:
        values = {"port": arguments.port, "most": _MAX_PORT}
        raise UsageError(tr("Invalid port {port}: choose 0 to {most}.", **values))
    try:
        from scripts.web_server import PrivateServer
    except ImportError as error:
        raise UsageError(
            tr("`balcao serve` needs the package {name}.", name="textual-serve"),
            tr("Run: {command}", command=install_command("serve")),
        ) from error
    try:
        server = PrivateServer(arguments.port, _chat_arguments(arguments))
    except OSError as error:
        raise UsageError(
            tr("Cannot use port {port}: {why}.", port=arguments.port, why=why(error)),
            tr("Choose another with --port, or any free one with --port 0."),
        ) from None
    for name in _TERMINAL_VARIABLES:
        os.environ.pop(name, None)
    say(tr("Open this private address in a browser:"))
    print(server.address, flush=True)
    say(tr("Each tab is a separate chat. Press Ctrl-C to stop them all."))
    server.run()
    return INTERRUPTED


def _chat_arguments(arguments: argparse.Namespace) -> list[str]:
    given = [("--engine", arguments.engine), ("--catalogue", arguments.catalogue)]
    chosen = [word for name, value in given if value for word in (name, value)]
    return [*chosen, "--memory"] if arguments.memory else chosen


if __name__ == "__main__":
    sys.exit(main())
