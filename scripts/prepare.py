"""Write training rows: `balcao prepare products.csv --out DIR`.

python -m scripts.prepare trn.json.gz --out data/rows --limit 10000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.catalogue.formats.columns import parse_columns
from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.catalogue.rows.refusals import REFUSALS
from engine.catalogue.rows.splits import COUNTED_BELOW
from engine.core.errors import UsageError
from engine.core.files import MANIFEST, Manifest, encode_json
from engine.core.text import counted
from scripts.common import DONE, ProgressLine, call, command, fold_lines, has_colour, whole
from scripts.index import COLUMNS, DATA_SET, REPLACED, describe_source


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao prepare", description="Clean, sample and split a data set into training rows."
    )
    add = parser.add_argument
    add("source", type=Path, metavar="FILE", help=DATA_SET)
    add(
        "--columns", type=parse_columns, metavar=COLUMNS, help="columns whose names are not obvious"
    )
    add("--out", type=Path, metavar="DIR", help="new folder for the rows")
    add("--limit", type=whole, metavar="N", help="number of products (default: all)")
    add("--seed", type=whole, default=0, metavar="S")
    add("--valid", type=float, default=0.05, metavar="F", help="share, 0 to 1")
    add("--test", type=float, default=0.05, metavar="F", help="share, 0 to 1")
    add(
        "--forms",
        type=whole,
        metavar="K",
        help="rows per product, each worded differently; from the 17th with titles in lower case"
        " (default: 16 for up to 1,000 products, 4 for up to 10,000, else 1; one if held out)",
    )
    add(
        "--as-typed",
        type=float,
        metavar="F",
        help="share of training questions in lower case, without punctuation, with a typo or a"
        " short title (default: 0.4 for up to 10,000 products, else 0)",
    )
    add(
        "--refusals",
        type=float,
        metavar="F",
        help="rows about unknown products that an epoch gets for each row from memory, drawn from"
        f" {REFUSALS} (default: 1 for up to 10,000 products, else 0)",
    )
    add(
        "--grounded",
        type=whole,
        default=0,
        metavar="N",
        help="add N products beyond --limit, one row each with the record in the prompt, so that a"
        " fine-tune keeps answering from records",
    )
    add("--preview", action="store_true", help="only show some rows; write nothing")
    add("--json", action="store_true", help="print the manifest as JSON")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    if options.preview:
        with TemporaryDirectory() as temporary:
            write_rows(options, Path(temporary) / "rows")
            _show(Path(temporary) / "rows")
        return DONE
    if options.out is None:
        raise UsageError("--out DIR is missing: the new folder for the rows.")
    manifest, text = write_rows(options, options.out)
    if options.json:
        print(encode_json(manifest).decode(), end="")
        return DONE
    names = (f"models/lora{number}" for number in ("", *range(2, 1000)))
    out = next(name for name in names if not Path(name).exists())
    train = "--base", "smollm2", "--recipe", "smollm2", "--out", out
    print(text, "Train on them:", sep="\n")
    print(call("train", "--data", options.out, *train, indent="  "))
    return DONE


def write_rows(options: argparse.Namespace, out: Path) -> tuple[Manifest, str]:
    """Write what the options ask for; return the manifest and a description."""
    config = PrepareConfig(
        limit=options.limit,
        seed=options.seed,
        valid=options.valid,
        test=options.test,
        forms=options.forms,
        grounded=options.grounded,
        as_typed=options.as_typed,
        refusals=options.refusals,
    )
    replaces = (out / MANIFEST).exists()
    with ProgressLine(sys.stderr) as progress:
        manifest = prepare(options.source, out, config, progress.show, options.columns)
    place = out if out == options.out else options.source  # a dry run's folder is temporary
    return manifest, _describe(place, manifest, replaces=replaces)


def _show(folder: Path) -> None:
    from engine.training.preview import preview_messages

    for line in preview_messages(folder).lines(colour=has_colour()):
        print(line)


def _describe(place: Path, manifest: Manifest, *, replaces: bool) -> str:
    counts, settings = manifest.counts, manifest.settings
    lines = [
        f"{split}.jsonl: {counted(rows, 'row')} of {counted(counts['products'][split], 'product')}"
        for split, rows in counts["splits"].items()
    ]
    lines += _explain_shares(manifest)
    lines.append(_wordings(settings["forms"], settings["as_typed"]))
    if not (grounded := sum(counts["grounded"].values())):
        lines.append("no rows with a record: a model forgets how to answer from one (`grounded`)")
    else:
        others = sum(counts.get("distractors", {}).values())
        wrong = f", {others:,} of them that of another product" if others else ""
        lines.append(f"{grounded:,} of these rows have the record in the prompt{wrong}")
    lines.append(_refusals(counts.get("refusals")))
    shown = [fold_lines(f"  {line}", "    ") for line in lines]
    first = f"{counted(counts['kept'], 'product')} in {place}{REPLACED * replaces}"
    return "\n".join([first, *shown, *describe_source(counts)])


def _explain_shares(manifest: Manifest) -> Iterator[str]:
    """Explain shares that are not of the size that was asked for, and what they cost."""
    products, families = manifest.counts["products"], manifest.counts.get("families")
    total = sum(products.values())
    if not families:
        yield f"editions may be in several files: they are not looked for in {total:,} products"
    elif total < COUNTED_BELOW:
        count = families["learned"]
        for split in ("valid", "test"):
            share = manifest.settings[split]
            wanted = max(1, round(share * total)) if share else 0
            if products[split] != wanted:
                found = (
                    f"has {products[split]:,}, not {wanted:,}" if products[split] else "is empty"
                )
                yield (
                    f"{split}.jsonl {found}: editions of one thing stay together, and the products"
                    f" are {count:,} famil{'y' if count == 1 else 'ies'}"
                )
        if held_out := total - products["train"]:
            yield f"a model does not learn the {held_out:,} in valid and test"


def _wordings(forms: int, as_typed: float) -> str:
    rows = "1 row" if forms == 1 else f"{forms} rows, worded differently,"
    typed = f"; {as_typed:.0%} of the questions as people type them" if as_typed else ""
    return f"{rows} for each product to learn{typed}"


def _refusals(counts: dict[str, int] | None) -> str:
    if not counts or not counts["rows"]:
        return "no rows about unknown products: a model invents answers about them (`refusals`)"
    return (
        f"{REFUSALS}: {counts['rows']:,} rows about {counts['catalogue']:,} other titles and"
        f" {counts['invented']:,} invented ones; an epoch draws {counts['per_epoch']:,} of them"
    )


if __name__ == "__main__":
    sys.exit(main())
