"""Builds the catalogue: `balcao index trn.json.gz --out DIR`.

python -m scripts.build_index trn.json.gz --out catalogue
python -m scripts.build_index --sample
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine import manifest, paths
from engine.errors import UsageError
from engine.indexing import build_catalogue, ensure_sample
from engine.manifest import Manifest
from scripts.common import DONE, guarded
from scripts.progress import ProgressLine


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
    parser.add_argument("--sample", action="store_true", help="build the sample catalogue instead")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when built, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    folder, made = _build(options)
    print(_as_json(folder, made) if options.json else _as_text(folder, made))
    return DONE


def _build(options: argparse.Namespace) -> tuple[Path, Manifest]:
    if options.sample:
        folder = ensure_sample()
        return folder, manifest.read(folder)
    if options.source is None or options.out is None:
        raise UsageError("Both TRN and --out are needed.", "Or take --sample.")
    with ProgressLine(sys.stderr) as progress:
        made = build_catalogue(options.source, options.out, progress.show)
    return options.out, made


def _as_json(folder: Path, made: Manifest) -> str:
    return msgspec.json.encode({"out": str(folder), **msgspec.to_builtins(made)}).decode()


def _as_text(folder: Path, made: Manifest) -> str:
    kept = made.counts.get("kept", 0)
    lines = [f"{kept:,} products in {folder}"]
    rejected = made.counts.get("rejected", {})
    lines.extend(f"  left out, {reason}: {count:,}" for reason, count in rejected.items())
    if folder != paths.sample_catalogue_dir():
        lines.append(f"Chat with it: balcao --catalogue {folder}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
