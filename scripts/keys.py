"""Store the engines' API keys; the command asks for a key without showing it.

balcao keys set OPENAI_API_KEY
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from engine.backends.registry import Registry
from engine.chat.diagnostics import place_words
from engine.config import keys, paths
from engine.config.settings import load
from engine.core.errors import UsageError
from engine.core.i18n import tr
from engine.core.text import one_line
from scripts.common import DONE, FAILED, guarded, printable_errors, say, speak


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao keys",
        usage="balcao keys [-h] [--file] {set,list,remove} [NAME]",
        description="Store API keys in the system's keyring, or in a file that only you can read.",
        epilog="NAME is that of an environment variable, such as OPENAI_API_KEY. The command"
        " asks for the key, or reads it from standard input; it is never an argument.",
    )
    # Not subcommands: argparse would repeat a wrong word, which may be a key.
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--file", action="store_true", help="store it in the file, not the keyring")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; 1 for a key that is not stored."""
    with printable_errors():
        options, unknown = make_parser().parse_known_args(argv)
    speak()
    return guarded(lambda: _run([*options.words, *unknown], in_file=options.file))


def _run(words: list[str], *, in_file: bool) -> int:
    match words:
        case ["list"]:
            return _list()
        case ["set", name]:
            return _set(name, in_file=in_file)
        case ["remove", name]:
            return _remove(name)
    raise UsageError(
        tr("Use: balcao keys list, balcao keys set NAME, or balcao keys remove NAME."),
        tr("The command asks for the key: on the command line, others could see it."),
    )


def _set(name: str, *, in_file: bool) -> int:
    keys.check_name(name)
    where = keys.store(name, _ask(name), in_file=in_file)
    place = tr("the keyring") if where is keys.Source.KEYRING else str(paths.keys_file())
    say(tr("Stored {name} in {place}.", name=name, place=place))
    if os.environ.get(name, "").strip():
        say(tr("The variable {name} is set too, and overrides it.", name=name))
    return DONE


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    from getpass import getpass

    return getpass(tr("{name} (not shown): ", name=name), stream=sys.stderr).strip()


def _list() -> int:
    stored = keys.stored()
    needed = [config.key_name() for config in Registry(load()).configs.values()]
    for name in dict.fromkeys((*stored, *filter(None, needed))):
        print(f"{one_line(name):24} {place_words(keys.source(name))}")
    return DONE


def _remove(name: str) -> int:
    if keys.remove(name):
        say(tr("Removed {name}.", name=name))
        return DONE
    say(tr("balcao: {name} is neither in the file nor in the keyring.", name=name))
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
