"""List the engines: whether each is ready, and what it needs.

balcao engines --json
"""

from __future__ import annotations

import argparse
import sys

from msgspec.structs import asdict

from engine.backends.registry import Registry
from engine.config.settings import load
from engine.core.i18n import tr
from engine.core.text import json_line, one_line
from scripts.common import DONE, command, print_folded


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="balcao engines", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


@command(make_parser, speaks=True)
def main(options: argparse.Namespace) -> int:
    registry = Registry(load())
    for engine in map(registry.get, registry.ids):
        availability = engine.availability()
        if options.json:
            print(json_line(asdict(engine.info) | asdict(availability)))
            continue
        state = tr("ready") if availability.ready else tr("not ready")
        engine_id, title = one_line(engine.info.id), one_line(engine.info.title)
        print(f"{engine_id:12} {title:20} {state}")
        if not availability.ready:
            why = one_line(f"{availability.reason} {availability.remedy}")
            print_folded(f"{'':12} {why}", " " * 13)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
