"""Build the catalogue: `balcao index trn.json.gz --out DIR`.

python -m scripts.index trn.json.gz --out catalogue
python -m scripts.index --sample
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from engine.catalogue.index import build_catalogue, ensure_sample, fill_server, update_catalogue
from engine.catalogue.postgres import is_address, redact_address
from engine.config import paths
from engine.core.errors import UsageError
from engine.core.files import Manifest, encode_json, read_manifest
from scripts.common import DONE, ProgressLine, command
from scripts.prepare import DATA_SET


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao index", description="Build the catalogue that answers questions."
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, metavar="TRN", help=DATA_SET)
    add("--out", type=Path, metavar="DIR", help="the folder to write")
    add("--to", metavar="ADDRESS", help="fill a server instead: postgresql://HOST/DATABASE")
    add("--sample", action="store_true", help="build the sample catalogue instead")
    add("--update", action="store_true", help="add to DIR, replacing products with the same uid")
    add("--no-meaning", action="store_true", help="find products by words only: smaller, faster")
    add("--json", action="store_true", help="print the result as JSON")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    if options.to:
        result, text = _fill_server(options)
    else:
        result, text = _build(options)
    print(encode_json(result).decode().rstrip() if options.json else text)
    return DONE


def _fill_server(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    if options.source is None or not is_address(options.to):
        raise UsageError(
            "--to needs a data set and an address.",
            "For example: balcao index trn.json.gz --to postgresql://HOST/DATABASE",
        )
    with ProgressLine(sys.stderr) as progress:
        count = fill_server(options.source, options.to, progress.show)
    result = {"to": options.to.rpartition("@")[2], "kept": count}
    return result, f"{count:,} products in {redact_address(options.to)}"


def _build(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    if options.sample:
        folder = ensure_sample(rebuild=True)
        manifest = read_manifest(folder)
    elif options.source is None or options.out is None:
        raise UsageError(
            "The data set or the folder is missing.",
            "For example: balcao index trn.json.gz --out catalogue",
        )
    else:
        folder = options.out
        build = update_catalogue if options.update else build_catalogue
        with ProgressLine(sys.stderr) as progress:
            manifest = build(options.source, folder, progress.show, meaning=not options.no_meaning)
    result = {"out": str(folder), **msgspec.to_builtins(manifest)}
    return result, _describe(folder, manifest)


def _describe(folder: Path, manifest: Manifest) -> str:
    changes = manifest.settings.get("changes", [])
    counts = changes[-1] if changes else manifest.counts
    verb = "added or replaced in" if changes else "in"
    lines = [f"{counts.get('kept', 0):,} products {verb} {folder}"]
    rejected = counts.get("rejected", {})
    lines.extend(f"  left out: {count:,} ({reason})" for reason, count in rejected.items())
    if folder != paths.sample_catalogue_dir():
        lines.append(f"Open it: balcao --catalogue {folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
