"""Check all of a job that can be checked in a second, before anything heavy loads."""

from pathlib import Path

from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.config import paths
from engine.config.edit import check_free
from engine.config.settings import Settings, load
from engine.core.errors import UsageError
from engine.evaluation import metrics
from engine.evaluation.ask import Target, parse_targets
from engine.training.data import check_packages, find_base
from engine.training.job.file import JobFile


def check_job(job: JobFile) -> None:
    """Raise UsageError with the line and the key of a wrong value."""
    with job.at("data"):
        if not job.data.is_file():
            found = "is a folder" if job.data.is_dir() else "does not exist"
            raise UsageError(f"{job.data} {found}.", "Name the file of your products.")
    with job.at("out"):
        if job.out.exists() and not job.out.is_dir():
            raise UsageError(f"{job.out} is a file.", "Name a folder.")
    with job.at("columns" if job.columns else "data"):
        next(read_rows(job.data, Counts(), columns=job.columns), None)
    _check_rows(job)
    recipe = job.recipe
    with job.at("train"):
        check_packages(recipe)
    with job.at("train.base"):
        find_base(job.base)
    with job.at("engine"):
        settings = load()
        if not _is_own(settings, job):
            check_free(job.job.engine, settings, adapter=True)
    if job.job.evaluate.engines:
        with job.at("evaluate.engines"):
            metrics.check_packages()
            find_targets(job, job.out / job.job.engine, {})


def _check_rows(job: JobFile) -> None:
    rows = job.job.rows
    if rows.valid + rows.test >= 1:
        with job.at("rows.valid"):
            raise UsageError("`valid` and `test` must add up to less than 1.")
    if rows.grounded and rows.limit is None:
        with job.at("rows.grounded"):
            raise UsageError("It takes products beyond `limit`, which is missing.")


def _is_own(settings: Settings, job: JobFile) -> bool:
    """Return whether the job's engine has an adapter of the job, or one that is gone."""
    adapter = settings.engines.get(job.job.engine, {}).get("adapter")
    if not isinstance(adapter, str) or adapter == str(paths.small_adapter_dir()):
        return False
    return job.out.resolve() in Path(adapter).parents or not paths.expand(adapter).exists()


def find_targets(job: JobFile, adapter: Path, catalogue: dict[str, object]) -> list[Target]:
    """Return the engines to judge; that of the job with this adapter. Raise UsageError."""
    own = {"kind": "llama", "model": job.base, "adapter": str(adapter.resolve())}
    settings = load()
    table = own | settings.engines.get(job.job.engine, {}) if _is_own(settings, job) else own
    settings = replace(settings, engines=settings.engines | {job.job.engine: table})
    registry = Registry(settings)
    return parse_targets(",".join(job.job.evaluate.engines), registry, catalogue)
