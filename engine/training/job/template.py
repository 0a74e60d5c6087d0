"""Write a commented job.toml for a file of products, with values that suit it and the base."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tomlkit

from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.catalogue.rows.prepare import PrepareConfig, choose
from engine.config import paths
from engine.config.edit import adapter_id
from engine.config.settings import load
from engine.core.errors import DataError
from engine.training.data import find_base

_COUNTED = 10_001
"""Products that are counted: from there on, all sets have the same defaults."""
_TAUGHT, _SHOWN = 100, 100
"""Most products to learn by default, and of the others, those whose record is shown to be read."""
_SMALL_BASE, _MEDIUM_BASE = 300_000_000, 1_000_000_000
"""Weights up to which a base learns with the recipe `smollm2`, and with the rate of `exact`."""
_FEW = 50
"""Products up to which a small base needs several epochs, and is looked at more often."""
_SMALL_REFUSALS = 0.1
"""Rows about unknown products for each other row, for a small base: more teach it to refuse what it
knows (docs/measurements/adapter.md). The chat has the list of what an adapter was taught."""
_COLUMN = 32
"""Where the comments begin."""


@dataclass(frozen=True)
class Survey:
    """The number of products in a file, up to a maximum, and the counts of reading them."""

    products: int
    counts: Counts

    @property
    def more(self) -> bool:
        """Whether the file has more products than were counted."""
        return self.products == _COUNTED


def survey(source: Path, columns: Mapping[str, str] | None = None) -> Survey:
    """Read the beginning of a file. Raise DataError if it has no products."""
    counts = Counts()
    rows = islice(read_rows(source, counts, columns=columns), _COUNTED)
    found = sum(bool(row.title and row.content) for row in rows)
    if not found:
        raise DataError(f"{source} does not contain a row with both a title and a description.")
    return Survey(found, counts)


def write_template(source: str, name: str, found: Survey, base: str) -> str:
    """Return the text of job.toml; `name` is the file's name without its ending."""
    size = min(found.products, _TAUGHT)
    beyond = min(found.products - size, _SHOWN)
    rows = choose(PrepareConfig(forms=None, as_typed=None, refusals=None), size)
    engine = _free_engine(name)
    recipe, changes = _recipe(base, size)
    refusals = min(rows.refusals or 0.0, _SMALL_REFUSALS) if _is_small(base) else rows.refusals
    judged = ["catalogue", f"{engine}:memory"]
    count = f"{found.products:,}{' or more' if found.more else ''}"
    tables: dict[str, list[tuple[str, object, str]]] = {
        "": [
            ("data", source, "CSV, TSV, a JSON array or JSON lines"),
            ("out", f"{name}-job", "folder of all that the job makes"),
            ("engine", engine, "id of the new engine in the chat"),
        ],
        "columns": [(field, column, "") for field, column in found.counts.columns.items()],
        "catalogue": [("meaning", True, "also find products by their meaning")],
        "rows": [
            ("limit", size if beyond else None, f"products to learn, of {count}; default: all"),
            ("forms", rows.forms, "wordings of the question for each of them"),
            ("as_typed", rows.as_typed, "share of the questions as people type them"),
            ("refusals", refusals, "rows about unknown products, per other row"),
            ("grounded", beyond, "products beyond the limit, to read records of"),
            ("valid", 0.0, "shares to hold out: not learned, only asked"),
            ("test", 0.0, ""),
            ("seed", 0, "choose other products, questions and shares"),
        ],
        "train": [
            ("base", base, "smollm2, a hub id or the folder of a Llama"),
            ("recipe", recipe, "exact, seed, smollm2 or a TOML file"),
        ],
        "train.set": changes,
        "evaluate": [
            ("engines", judged, "see `balcao engines`; [] to skip"),
            ("limit", min(size, 20), "questions of each kind"),
        ],
    }
    return (
        "\n".join([*_HEAD, *(line for table in tables.items() for line in _lines(*table))]) + "\n"
    )


_HEAD = (
    "# Do all steps of this job, or those that an interruption or a change left:",
    "#   balcao job run job.toml            (add --dry-run to see the plan first)",
    "# Guide: docs/guide/job.md. For editors: docs/schemas/job.schema.json",
)
_NOTES = {
    "columns": "the column of each field",
    "train.set": "changes of the recipe's values",
}


def _lines(table: str, values: list[tuple[str, object, str]]) -> Iterator[str]:
    yield ""
    if table:
        note = _NOTES.get(table, "")
        note = f"{note}; here they are obvious" if note and not values else note
        yield _commented(f"[{table}]", note)
    for name, value, comment in values:
        missing = value is None
        written = "100" if missing else tomlkit.item(value).as_string()
        yield _commented(f"{'# ' * missing}{name} = {written}", comment)


def _commented(text: str, comment: str) -> str:
    if len(text) >= _COLUMN:
        return f"{'':{_COLUMN}}# {comment}\n{text}"
    return f"{text:{_COLUMN}}# {comment}" if comment else text


def _is_small(base: str) -> bool:
    return base == paths.SMALL or find_base(base).config.parameters <= _SMALL_BASE


def _recipe(base: str, products: int) -> tuple[str, list[tuple[str, object, str]]]:
    """Choose the recipe and its changes by the size of the base and the number of products."""
    if _is_small(base):
        if products > _FEW:
            return "smollm2", []
        return "smollm2", [
            ("epochs", 4.0, "at most: it ends once all is learned"),
            ("stop_when_learned", True, ""),
            ("keep_best", True, ""),
            ("sample_every", 40, "steps between two looks at what is learned"),
            ("sample_rows", 1, ""),
        ]
    if find_base(base).config.parameters <= _MEDIUM_BASE:
        return "exact", []
    return "exact", [("learning_rate", 2e-4, "for a base of more than a billion weights")]


def _free_engine(name: str) -> str:
    taken = load().engines
    first = adapter_id(Path(name))
    numbered = (f"{first}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (first, *numbered) if one not in taken)


def short_name(source: Path) -> str:
    """Return a name for what is made of a file: `products` for `data/products.csv.gz`."""
    return re.sub(r"[^\w-]+", "-", source.name.partition(".")[0]) or "products"
