"""Build the catalogue: `balcao index products.csv --out DIR`.

python -m scripts.index trn.json.gz --out catalogue
python -m scripts.index --sample
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from engine.catalogue.formats.columns import FIELDS, parse_columns
from engine.catalogue.index import build_catalogue, ensure_sample, fill_server, update_catalogue
from engine.catalogue.postgres import is_address, redact_address
from engine.config import paths
from engine.core.errors import UsageError
from engine.core.files import MANIFEST, Manifest, encode_json, read_manifest
from engine.core.text import clip, counted, one_line
from scripts.common import DONE, ProgressLine, call, command, fold_lines

DATA_SET = (
    "CSV, TSV, a JSON array, JSON lines, trn.json.gz or the original zip; - is standard input"
)
"""What `balcao index` and `balcao prepare` read."""
COLUMNS = "title=NAME,content=NAME,uid=NAME"
REPLACED = ", instead of what was there"
_REPEATED = "repeated title and description"
_SHOWN_COLUMN = 40
_LANGUAGES = {"en": "in English", "pt": "in Portuguese", "unclear": "unclear"}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao index", description="Build the catalogue that answers questions."
    )
    add = parser.add_argument
    add("source", nargs="?", type=Path, metavar="FILE", help=DATA_SET)
    add(
        "--columns", type=parse_columns, metavar=COLUMNS, help="columns whose names are not obvious"
    )
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
        folder, manifest, text = build(options)
        result = {"out": str(folder), **msgspec.to_builtins(manifest)}
        if folder != paths.sample_catalogue_dir():
            text += f"\nOpen it:\n{call('--catalogue', folder, indent='  ')}"
    print(encode_json(result).decode().rstrip() if options.json else text)
    return DONE


def _fill_server(options: argparse.Namespace) -> tuple[dict[str, object], str]:
    if options.source is None or not is_address(options.to):
        raise UsageError(
            "--to needs a data set and an address.",
            "For example: balcao index trn.json.gz --to postgresql://HOST/DATABASE",
        )
    with ProgressLine(sys.stderr) as progress:
        count = fill_server(options.source, options.to, progress.show, options.columns)
    result = {"to": options.to.rpartition("@")[2], "kept": count}
    return result, f"{count:,} products in {redact_address(options.to)}"


def build(options: argparse.Namespace) -> tuple[Path, Manifest, str]:
    """Build what the options ask for; return its folder, its manifest and a description."""
    replaces = False
    if options.sample:
        folder = ensure_sample(rebuild=True)
        manifest = read_manifest(folder)
    elif options.source is None or options.out is None:
        raise UsageError(
            "The data set or the folder is missing.",
            "For example: balcao index products.csv --out catalogue",
        )
    else:
        folder = options.out
        replaces = (folder / MANIFEST).exists() and not options.update
        build = update_catalogue if options.update else build_catalogue
        with ProgressLine(sys.stderr) as progress:
            manifest = build(
                options.source,
                folder,
                progress.show,
                meaning=not options.no_meaning,
                columns=options.columns,
            )
    return folder, manifest, _describe(folder, manifest, replaces=replaces)


def _describe(folder: Path, manifest: Manifest, *, replaces: bool) -> str:
    changes = manifest.settings.get("changes", [])
    counts = changes[-1] if changes else manifest.counts
    verb = "added or replaced in" if changes else "in"
    kept = counted(counts.get("kept", 0), "product")
    first = f"{kept} {verb} {folder}{REPLACED * replaces}"
    return "\n".join([first, *describe_source(counts)])


def describe_source(counts: dict[str, Any]) -> list[str]:
    """Describe for a user what `Counts.as_dict` says about a data set, a line for each subject."""
    columns = ", ".join(
        f"{field} from column “{clip(one_line(counts['columns'][field]), _SHOWN_COLUMN)}”"
        for field in ("title", "content", "uid")
        if field in counts.get("columns", {})
    )
    lines = [columns, *_describe_rejected(counts), *_describe_survey(counts)]
    return [fold_lines(f"  {line}", "    ") for line in lines if line]


def _describe_rejected(counts: dict[str, Any]) -> Iterator[str]:
    has_uids = "uid" in counts.get("columns", FIELDS)
    for reason, count in counts.get("rejected", {}).items():
        bad = [number for number, why_bad in counts.get("bad_lines", []) if why_bad == reason]
        more = ", …" if len(bad) < count else ""
        where = f", line{'s' * (count > 1)} {', '.join(f'{one:,}' for one in bad)}{more}"
        # Uids that the file lacks were made from both texts.
        shown = _REPEATED if reason == "repeated uid" and not has_uids else reason
        yield f"left out: {count:,} ({shown}{where if bad else ''})"


def _describe_survey(counts: dict[str, Any]) -> Iterator[str]:
    survey = counts.get("survey", {})
    missing = survey.get("no_description", 0)
    if missing and "no description" not in counts.get("rejected", {}):
        yield f"without a description: {missing:,}"
    if repeated := survey.get("duplicates"):
        yield f"with the title and description of an earlier row: {repeated:,}"
    languages = survey.get("languages", {})
    if languages:
        found = [f"{count:,} {_LANGUAGES[name]}" for name, count in languages.items()]
        total = sum(languages.values())
        few = f" (of the first {total:,})" if total < survey["products"] - missing else ""
        yield f"descriptions: {', '.join(found)}{few}"


if __name__ == "__main__":
    sys.exit(main())
