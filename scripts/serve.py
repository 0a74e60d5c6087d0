"""Serve the chat to a browser on this machine, or the engines to programs by OpenAI's calls.

balcao serve --port 8000
balcao serve --api --port 8000
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from typing import Any

from engine.backends.registry import Registry
from engine.chat.open import Resources, open_catalogue
from engine.config.settings import TOKEN_VARIABLE, Settings, load
from engine.core.errors import UsageError, why
from engine.core.i18n import tr
from engine.core.process import install_command, quiet_libraries
from scripts.common import INTERRUPTED, command, say, whole

_LOCAL = "127.0.0.1"
_LEAST_TOKEN = 16
_PARALLEL = 4
"""Answers at once of the base, and of each adapter."""
_DEFAULT_PORT = 8000
_MAX_PORT = 65535
_TERMINAL_VARIABLES = ("TMUX", "TERM", "COLORTERM", "NO_COLOR")
"""These describe the server's own terminal, not the browser's."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao serve",
        description="Serve the chat to a browser on this machine; each tab is a separate chat."
        " With --api, serve the engines to programs that use OpenAI's API. Press Ctrl-C to stop.",
        epilog="With --api, the environment variable BALCAO_API_TOKEN sets the token that programs"
        " give as their API key; by default a new one is printed.",
    )
    parser.add_argument(
        "--api", action="store_true", help="serve OpenAI's chat calls instead of the chat"
    )
    parser.add_argument(
        "--host",
        metavar="H",
        help="with --api, address to listen on (default: 127.0.0.1, this machine only)",
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
    settings = load(flags={"engine": arguments.engine, "catalogue": arguments.catalogue})
    if not 0 <= arguments.port <= _MAX_PORT:
        values = {"port": arguments.port, "most": _MAX_PORT}
        raise UsageError(tr("Invalid port {port}: choose 0 to {most}.", **values))
    try:
        return _serve_api(arguments, settings) if arguments.api else _serve_chat(arguments)
    except ImportError as error:
        raise UsageError(
            tr("`balcao serve` needs the package {name}.", name="textual-serve"),
            tr("Run: {command}", command=install_command("serve")),
        ) from error


def _serve_chat(arguments: argparse.Namespace) -> int:
    from scripts.web_server import PrivateServer

    if arguments.host:
        raise UsageError(tr("--host is for --api: the chat is for this machine only."))
    try:
        server = PrivateServer(arguments.port, _chat_arguments(arguments))
    except OSError as error:
        raise _cannot_listen(arguments.port, error) from None
    for name in _TERMINAL_VARIABLES:
        os.environ.pop(name, None)
    say(tr("Open this private address in a browser:"))
    print(server.address, flush=True)
    say(tr("Each tab is a separate chat. Press Ctrl-C to stop them all."))
    server.run()
    return INTERRUPTED


def _serve_api(arguments: argparse.Namespace, settings: Settings) -> int:
    from scripts.api.server import ApiServer, is_loopback

    if arguments.engine or arguments.memory:
        raise UsageError(
            tr("--engine and --memory are for the chat."),
            tr("With --api, each request names its model; GET /v1/models lists them."),
        )
    host = arguments.host or _LOCAL
    given = _given_token()
    if not given and not is_loopback(host):
        raise UsageError(
            tr("Other machines could reach {host}, and no token is set.", host=host),
            tr("Set {name} to a secret of at least {least} characters.", **_token_limits()),
        )
    token = given or secrets.token_urlsafe(32)
    resources = Resources(Registry(settings, parallel=_PARALLEL), open_catalogue(settings))
    try:
        server = ApiServer(resources, host, arguments.port, token)
    except OSError as error:
        raise _cannot_listen(arguments.port, error) from None
    say(tr("OpenAI's API is served at this address:"))
    print(server.address, flush=True)
    if not given:
        say(tr("Its API key, until the server stops: {token}", token=token))
    say(tr("Press Ctrl-C to stop."))
    with quiet_libraries():
        server.run()
    return INTERRUPTED


def _given_token() -> str:
    """Return the token of the environment, removed from it: other programs need not see it."""
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if token and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable()):
        raise UsageError(
            tr("{name} must have at least {least} characters, all ASCII.", **_token_limits())
        )
    return token


def _token_limits() -> dict[str, Any]:
    return {"name": TOKEN_VARIABLE, "least": _LEAST_TOKEN}


def _cannot_listen(port: int, error: OSError) -> UsageError:
    return UsageError(
        tr("Cannot use port {port}: {why}.", port=port, why=why(error)),
        tr("Choose another with --port, or any free one with --port 0."),
    )


def _chat_arguments(arguments: argparse.Namespace) -> list[str]:
    given = [("--engine", arguments.engine), ("--catalogue", arguments.catalogue)]
    chosen = [word for name, value in given if value for word in (name, value)]
    return [*chosen, "--memory"] if arguments.memory else chosen


if __name__ == "__main__":
    sys.exit(main())
