"""Read job.toml: what a job makes of a file of products. Errors name the line and the key."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
import tomlkit
from msgspec import UNSET, Meta, Struct, UnsetType

from engine.catalogue.rows.prepare import MAX_FORMS, MAX_REFUSALS, PrepareConfig
from engine.config import paths
from engine.config.settings import MAX_BYTES, parse_toml
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import read_file, reading
from engine.core.text import did_you_mean, one_line
from engine.training.recipe import Recipe, name_types, read_recipe

_Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
_Text = Annotated[str, Meta(min_length=1)]
_Count = Annotated[int, Meta(ge=1)]
_EngineId = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,40}$")]


class Columns(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The columns whose names are not obvious."""

    title: _Text | None = None
    content: _Text | None = None
    uid: _Text | None = None


class CatalogueTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of `balcao index`."""

    meaning: bool = True


class RowsTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of `balcao prepare`."""

    limit: _Count | None = None
    seed: int = 0
    forms: Annotated[int, Meta(ge=1, le=MAX_FORMS)] | None = None
    as_typed: Annotated[float, Meta(ge=0.0, le=1.0)] | None = None
    refusals: Annotated[float, Meta(ge=0.0, le=MAX_REFUSALS)] | None = None
    grounded: Annotated[int, Meta(ge=0)] = 0
    valid: _Share = 0.0
    test: _Share = 0.0

    def config(self) -> PrepareConfig:
        """Return the options of `prepare`."""
        return PrepareConfig(**msgspec.structs.asdict(self))


class TrainTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of `balcao train`; `set` changes values of the recipe."""

    base: _Text = paths.SMALL
    recipe: _Text = "exact"
    set: Recipe | UnsetType = UNSET


class EvaluateTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The options of `balcao evaluate`, which is skipped without engines."""

    engines: list[_Text] = []
    limit: _Count | None = None


class Job(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job: the products in `data`, the folder `out` for all results, the `engine` to make."""

    data: _Text
    out: _Text
    engine: _EngineId
    columns: Columns = Columns()
    catalogue: CatalogueTable = CatalogueTable()
    rows: RowsTable = RowsTable()
    train: TrainTable = TrainTable()
    evaluate: EvaluateTable = EvaluateTable()


@dataclass(frozen=True)
class JobFile:
    """A job with its file; relative paths start at the file's folder."""

    file: Path
    text: str
    job: Job
    recipes: Path
    """The folder of the recipes that have a name."""

    @property
    def data(self) -> Path:
        """The file of products."""
        return self._path(self.job.data)

    @property
    def out(self) -> Path:
        """The folder of everything that the job makes."""
        return self._path(self.job.out)

    @property
    def catalogue(self) -> Path:
        """The folder of the catalogue."""
        return self.out / "catalogue"

    @property
    def rows(self) -> Path:
        """The folder of the training rows."""
        return self.out / "rows"

    @property
    def base(self) -> str:
        """The base: a folder, a hub id or smollm2."""
        folder = self._path(self.job.train.base)
        return str(folder) if folder.is_dir() else self.job.train.base

    @property
    def columns(self) -> dict[str, str]:
        """The column of each field that is named."""
        return msgspec.to_builtins(self.job.columns)  # type: ignore[no-any-return]

    @property
    def recipe_file(self) -> Path:
        """The TOML file of the recipe."""
        named = self.recipes / f"{self.job.train.recipe}.toml"
        return named if named.exists() else self._path(self.job.train.recipe)

    @cached_property
    def changes(self) -> list[str]:
        """The changed values of the recipe, each NAME=VALUE in TOML."""
        values = parse_toml(self.text.encode()).get("train", {}).get("set", {})
        return [f"{name}={tomlkit.item(value).as_string()}" for name, value in values.items()]

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe with its changed values. Raise UsageError if it is not one."""
        with self.at("train.recipe"):
            if not self.recipe_file.is_file():
                names = sorted(file.stem for file in self.recipes.glob("*.toml"))
                name = self.job.train.recipe
                hint = did_you_mean(name, names)
                raise UsageError(
                    f"Unknown recipe “{name}”.{hint}", f"Use {', '.join(names)} or a TOML file."
                )
            return read_recipe(self.recipe_file, self.changes)

    def _path(self, name: str) -> Path:
        return self.file.parent / paths.expand(name)

    @contextmanager
    def at(self, key: str) -> Iterator[None]:
        """Let an error of the block name the file, the line and the key."""
        try:
            yield
        except BalcaoError as error:
            message = f"{_place(self.file, self.text, key)}: {error.message}"
            raise UsageError(message, error.remedy) from error


def read_job(file: Path, recipes: Path) -> JobFile:
    """Read job.toml. Raise UsageError for what is wrong in it."""
    if not file.is_file():
        raise UsageError(f"{file} does not exist.", "Write one: balcao job new products.csv")
    with reading(file, UsageError):
        try:
            data = read_file(file, MAX_BYTES + 1)
            values = parse_toml(data)
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            raise UsageError(f"{file} is not valid TOML: {error}.", "Correct that line.") from error
    text = data.decode("utf-8-sig")
    try:
        return JobFile(file, text, msgspec.convert(values, Job), recipes)
    except msgspec.ValidationError as error:
        raise _invalid(file, text, values, str(error)) from error


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`\Z")
_EXPLAINED = "docs/guide/job.md explains each key."


def _invalid(file: Path, text: str, values: dict[str, Any], reason: str) -> UsageError:
    reason, _, path = reason.partition(" - at `$")
    key = path.strip("`.")
    if found := _MISSING.match(reason):
        return UsageError(f"{file}: the key “{found[1]}” is missing.", _EXPLAINED)
    if not (found := _UNKNOWN.match(reason)):
        return UsageError(f"{_place(file, text, key)}: {_wrong(key, reason)}", _EXPLAINED)
    name = _first_unknown(values, key) or found[1]
    hint = did_you_mean(name, _names(key)) or " " + _EXPLAINED
    place = _place(file, text, f"{key}.{name}".strip("."))
    return UsageError(f"{place}: unknown key.{hint}")


def _wrong(key: str, reason: str) -> str:
    if key == "engine" and "regex" in reason:
        return "use at most 40 small letters, digits, - and _."
    choices = get_args(Recipe.__annotations__.get(key.rpartition(".")[2]))
    if found := re.match(r"Invalid enum value '(.*)'", reason):
        return f"use {', '.join(choices)}.{did_you_mean(found[1], choices)}"
    reason = name_types(reason).removesuffix(" of length >= 1")
    return f"{reason[0].lower()}{reason[1:]}."


def _names(table: str) -> Sequence[str]:
    """Return the keys of a table, such as `train.set`."""
    kind: Any = {"": Job, "train.set": Recipe}.get(table)
    if kind is None:
        kind = type(getattr(Job(data="-", out="-", engine="-"), table))
    return kind.__struct_fields__  # type: ignore[no-any-return]


def _first_unknown(values: dict[str, Any], table: str) -> str:
    for part in table.split(".") if table else ():
        values = values[part]
    known = _names(table)
    return next((name for name in values if name not in known), "")


_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"' -]+?)\s*=")


def _place(file: Path, text: str, key: str) -> str:
    """Return "job.toml, line 3, `rows.forms`"; without the line if the key is not written."""
    line = find_line(text, re.sub(r"\[\d+\]$", "", key))
    where = f", line {line}" if line else ""
    return f"{file}{where}, `{one_line(key, 80)}`"


def find_line(text: str, key: str) -> int:
    """Return the line of a key such as `rows.forms`, or 0."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        name = ""
        if found := _TABLE.match(line):
            name = table = _plain(found[1])
        elif found := _KEY.match(line):
            name = f"{table}.{_plain(found[1])}".strip(".")
        if name == key:
            return number
    return 0


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
