"""Builds the catalogue: `balcao index trn.json.gz --out DIR`.

python -m scripts.index trn.json.gz --out catalogue
python -m scripts.index --sample
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.catalogue.index import build_catalogue, ensure_sample, fill_server, update_catalogue
from engine.catalogue.postgres import is_address
from engine.config import paths
from engine.core.errors import UsageError
from engine.core.files import Manifest, read_manifest
from scripts.common import DONE, ProgressLine, guarded


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao index`."""
    parser = argparse.ArgumentParser(
        prog="balcao index", description="Build the catalogue that questions are answered from."
    )
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="TRN",
        help="trn.json, trn.json.gz, the zip they come in, or JSONL; - is standard input",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument(
        "--to",
        metavar="ADDRESS",
        help="fill a PostgreSQL server instead: postgresql://HOST/DATABASE",
    )
    parser.add_argument("--sample", action="store_true", help="build the sample catalogue instead")
    parser.add_argument(
        "--update",
        action="store_true",
        help="add to the catalogue in DIR, in place of products with the same numbers",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when built, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.to:
        return _fill_server(options)
    folder, made = _build(options)
    print(_as_json(folder, made) if options.json else _as_text(folder, made))
    return DONE


def _fill_server(options: argparse.Namespace) -> int:
    if options.source is None or not is_address(options.to):
        raise UsageError("--to takes TRN and an address: postgresql://HOST/DATABASE.")
    with ProgressLine(sys.stderr) as progress:
        count = fill_server(options.source, options.to, progress.show)
    result = {"to": options.to.rpartition("@")[2], "kept": count}
    text = f"{count:,} products on the server"
    print(msgspec.json.encode(result).decode() if options.json else text)
    return DONE


def _build(options: argparse.Namespace) -> tuple[Path, Manifest]:
    if options.sample:
        folder = ensure_sample()
        return folder, read_manifest(folder)
    if options.source is None or options.out is None:
        raise UsageError("TRN and --out (or --to) are needed.", "Or take --sample.")
    with ProgressLine(sys.stderr) as progress:
        work = update_catalogue if options.update else build_catalogue
        made = work(options.source, options.out, progress.show)
    return options.out, made


def _as_json(folder: Path, made: Manifest) -> str:
    return msgspec.json.encode({"out": str(folder), **msgspec.to_builtins(made)}).decode()


def _as_text(folder: Path, made: Manifest) -> str:
    changes = made.settings.get("changes", [])
    counts = changes[-1] if changes else made.counts
    done = "added or replaced in" if changes else "in"
    lines = [f"{counts.get('kept', 0):,} products {done} {folder}"]
    rejected = counts.get("rejected", {})
    lines.extend(f"  left out, {reason}: {count:,}" for reason, count in rejected.items())
    if folder != paths.sample_catalogue_dir():
        lines.append(f"Chat with it: balcao --catalogue {folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
