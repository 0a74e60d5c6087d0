"""Find out which steps of a job are done, by the hashes in the manifests of what they made."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

import msgspec

from engine.catalogue import records
from engine.catalogue.formats.columns import fold_name
from engine.catalogue.rows import prepare
from engine.core.errors import BalcaoError
from engine.core.files import Manifest, describe_file, encode_json, read_manifest
from engine.evaluation.ask import ANSWERS_FILE, AnswerFile, Target
from engine.prompts import PROMPT_VERSION
from engine.training.data import find_base, read_data
from engine.training.job.file import JobFile
from engine.training.processes import Processes
from engine.training.runs import folder as runs
from engine.training.train import describe_inputs

State = Literal["done", "begun", "to do"]


def catalogue_is_done(job: JobFile) -> bool:
    """Return whether the catalogue is of the file as it is now."""
    made = _manifest(job.catalogue)
    if made is None or (made.kind, made.version) != (records.KIND, records.INDEX_VERSION):
        return False
    meaning = records.MEANING in made.settings
    return meaning == job.job.catalogue.meaning and _is_of(made, job)


def rows_are_done(job: JobFile) -> bool:
    """Return whether the rows are of the file, and as the job wants them."""
    made = _manifest(job.rows)
    if made is None or (made.kind, made.version) != (prepare.KIND, prepare.VERSION):
        return False
    config = job.job.rows
    wanted = {name: getattr(config, name) for name in config.__struct_fields__}
    chosen = ("forms", "as_typed", "refusals")
    same = all(
        made.settings.get(name) == value
        for name, value in wanted.items()
        if value is not None or name not in chosen
    )
    return same and made.prompt_version == PROMPT_VERSION and _is_of(made, job)


def _is_of(made: Manifest, job: JobFile) -> bool:
    found = made.counts.get("columns", {})
    columns = {name: fold_name(found.get(name, name)) for name in job.columns}
    if columns != {name: fold_name(column) for name, column in job.columns.items()}:
        return False
    return [one.sha256 for one in made.inputs] == [describe_file(job.data).sha256]


def _manifest(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except BalcaoError:
        return None


def find_run(job: JobFile, rows: Path) -> tuple[Path, State]:
    """Return the folder of the run of these rows, or else that of a new one, and its state."""
    base, data = find_base(job.base), read_data(rows)
    wanted = describe_inputs(base, data, job.recipe, Processes.here())
    for file in sorted(job.out.glob(f"*/{runs.RUN_FILE}")):
        old = runs.read_inputs(file.parent)
        if not runs.differences(old, wanted):
            done = runs.is_done(file.parent) and wanted.recipe.epochs <= old.recipe.epochs
            return file.parent, "done" if done else "begun"
    return next(one for one in _numbered(job.out / job.job.engine) if _is_free(one)), "to do"


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and runs.is_unused(folder))


def _numbered(first: Path) -> Iterator[Path]:
    yield first
    yield from (first.with_name(f"{first.name}-{number}") for number in count(2))


def find_report(job: JobFile, targets: Sequence[Target]) -> Path:
    """Return the first report whose answers are those of the targets as they are now."""
    marks = {target.key: target.fingerprint for target in targets}
    return next(one for one in _numbered(job.out / "report") if not _has_others(one, marks))


def _has_others(folder: Path, marks: dict[str, str]) -> bool:
    if not (folder / ANSWERS_FILE).exists():
        return folder.exists() and any(folder.iterdir())
    answers = AnswerFile(folder)
    answers.close()
    return any(
        saved.target in marks and saved.fingerprint != marks[saved.target] and not saved.error
        for saved in answers.answers.values()
    )


def report_is_done(
    folder: Path, targets: Sequence[Target], files: Sequence[Path], limit: int | None
) -> bool:
    """Return whether a report is of these targets, rows and questions."""
    made = _manifest(folder)
    if made is None or made.counts.get("failed") or made.counts.get("missing"):
        return False
    engines = {one.key: one.provenance for one in targets}
    wanted = {"engines": msgspec.json.decode(encode_json(engines)), "limit": limit}
    same = all(made.settings.get(name) == value for name, value in wanted.items())
    return same and made.inputs == [*map(describe_file, files)]
