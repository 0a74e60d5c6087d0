"""List the models of the settings and of the hub's cache, and remove them.

Light: only folders, small files and headers of weights are read. The hub client's own listing
omits interrupted downloads, which matter most here.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

import msgspec

from engine.backends.llama import weights
from engine.backends.llama.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, find_adapter
from engine.backends.llama.weights import CONFIG, Architecture, find_model, read_json
from engine.backends.registry import Registry
from engine.config import paths
from engine.config.paths import MAIN, SMALL, find_snapshot, hub_cache, hub_folder, split_id
from engine.config.settings import Settings
from engine.core.errors import BalcaoError, DataError, EngineUnavailable, UsageError, why
from engine.core.files import MANIFEST, read_manifest
from engine.core.i18n import tr
from engine.core.text import byte_count
from engine.models.small import SMOLLM2, part_bytes, remove_parts

_PRECISION = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8"}
_PREFIX = "models--"
_LLAMA_CPP = "llama.cpp"
_LLAMA = "llama"
_ADAPTER = "adapter"


class LocalModel(msgspec.Struct, frozen=True):
    """A model or adapter, as `balcao models` shows it.

    `name` is the settings' name for it, `bytes` its size on disk, `precision` that of its weights.
    `whole` means that an engine can use it; otherwise `problem` and `remedy` say why not. `used_by`
    are the engines' ids. `licence` and `source` are known of smollm2.
    """

    name: str
    kind: str
    whole: bool = False
    bytes: int = 0
    precision: str = ""
    folder: str = ""
    used_by: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""
    licence: str = ""
    source: str = ""


def engines_of(settings: Settings, model: str) -> list[str]:
    """Return the ids of the engines that run a model."""
    return [engine_id for engine_id, (name, _) in _configured(settings) if name == model]


def list_models(settings: Settings) -> list[LocalModel]:
    """Return the models and adapters of the settings, then the rest of the cache."""
    models: dict[str, list[str]] = defaultdict(list)
    adapters: dict[tuple[str, str], list[str]] = defaultdict(list)
    for engine_id, (model, adapter) in _configured(settings):
        models[model].append(engine_id)
        if adapter:
            adapters[adapter, model].append(engine_id)
    if _stored_bytes(SMALL):
        models.setdefault(SMALL, [])
    return [
        *(_base(name, engine_ids) for name, engine_ids in models.items()),
        *(_adapter(name, base, engine_ids) for (name, base), engine_ids in adapters.items()),
        *(_cached(name) for name in _cached_names() if name not in models),
        *(_converted(folder, made_from) for folder, made_from in _conversions()),
    ]


def disk_usage(name: str) -> int:
    """Return the bytes that `remove` would free. Raises as `remove` does."""
    return sum(map(_bytes, _removable(name))) + (part_bytes() if name == SMALL else 0)


def remove(name: str) -> int:
    """Delete smollm2, or a hub id from the hub's cache, and its conversions for llama.cpp.

    Of a folder, which belongs to the user, only the conversions. Returns the bytes that were freed.
    Raises UsageError for anything else, BalcaoError if there is nothing to remove.
    """
    folders, freed = _removable(name), disk_usage(name)
    try:
        if name == SMALL:
            remove_parts()
        for folder in folders:
            shutil.rmtree(folder)
            shutil.rmtree(hub_cache() / ".locks" / folder.name, ignore_errors=True)
    except OSError as error:
        raise BalcaoError(
            tr("Cannot remove {file}: {why}.", file=error.filename, why=why(error))
        ) from error
    return freed


def not_a_hub_id(name: str, remedy: str) -> UsageError:
    """Return the error for a name that is not a hub id."""
    return UsageError(tr("“{name}” is not a hub id (ORG/NAME).", name=name), remedy)


def _configured(settings: Settings) -> Iterator[tuple[str, tuple[str, str | None]]]:
    for engine_id, config in Registry(settings).configs.items():
        if local := config.local_model():
            yield engine_id, local


def _removable(name: str) -> list[Path]:
    found = None if paths.expand(name).is_dir() else split_id(name)
    folders = [folder for folder, made_from in _conversions() if made_from["model"] == name]
    if found is None and not folders and name != SMALL:
        raise not_a_hub_id(name, tr("Delete folders of your own yourself."))
    stored = hub_folder(found[0]) if found else paths.small_model_dir()
    if stored.is_dir() and (found or name == SMALL):
        folders.append(stored)
    if not folders and not (name == SMALL and part_bytes()):
        raise BalcaoError(tr("“{name}” is not in {folder}.", name=name, folder=stored.parent))
    return folders


def _conversions() -> Iterator[tuple[Path, dict[str, str]]]:
    for file in sorted((paths.cache_dir() / _LLAMA_CPP).glob(f"*/{MANIFEST}")):
        try:
            made_from = read_manifest(file.parent).settings
        except DataError:
            continue
        yield file.parent, {"model": "", **{name: str(value) for name, value in made_from.items()}}


def _converted(folder: Path, made_from: dict[str, str]) -> LocalModel:
    return LocalModel(
        made_from.get("adapter", made_from["model"]),
        f"copy for {_LLAMA_CPP}",
        whole=True,
        bytes=_bytes(folder),
        precision=made_from.get("precision", ""),
        folder=str(folder),
    )


def _base(name: str, engine_ids: Sequence[str] = ()) -> LocalModel:
    def check() -> tuple[str, Path]:
        files = find_model(name, engine_ids[0] if engine_ids else "NAME")
        config = read_json(files.folder / CONFIG, Architecture).quantization_config
        quantized = config.quant_method if config else precision
        return quantized or _precision(files.weights), files.folder

    precision, licence, source = _about_small() if name == SMALL else ("", "", "")
    model = LocalModel(name, _LLAMA, used_by=tuple(engine_ids), licence=licence, source=source)
    return _checked(model, check)


def _about_small() -> tuple[str, str, str]:
    """Return precision, licence and source of smollm2, which may come from the hub."""
    source = SMOLLM2.source
    with suppress(DataError):
        source = str(read_manifest(paths.small_model_dir()).settings.get("source", source))
    return SMOLLM2.precision, SMOLLM2.licence, source


def _adapter(name: str, base: str, engine_ids: Sequence[str]) -> LocalModel:
    return _checked(
        LocalModel(name, _ADAPTER, used_by=tuple(engine_ids)),
        lambda: _of_adapter(find_adapter(name, find_model(base, engine_ids[0])).folder),
    )


def _of_adapter(folder: Path) -> tuple[str, Path]:
    return _precision([folder / ADAPTER_WEIGHTS]), folder


def _cached(name: str) -> LocalModel:
    folder = find_snapshot(name)
    if folder and (folder / ADAPTER_CONFIG).exists():
        return _checked(LocalModel(name, _ADAPTER), lambda: _of_adapter(folder))
    try:
        kind = read_json(folder / CONFIG, Architecture).model_type if folder else _LLAMA
    except EngineUnavailable:
        kind = ""
    if kind == _LLAMA:
        return _base(name)
    problem = tr("Not a Llama model.")
    return LocalModel(name, kind or "unknown", bytes=_stored_bytes(name), problem=problem)


def _checked(model: LocalModel, check: Callable[[], tuple[str, Path]]) -> LocalModel:
    """Add the precision and folder that `check` returns, or why the model is unusable."""
    try:
        precision, folder = check()
    except EngineUnavailable as error:
        problem, remedy, size = error.message, error.remedy, _stored_bytes(model.name)
        if size and not _is_complete(model.name):
            problem = tr("Incomplete: {size} downloaded.", size=byte_count(size))
            remedy = tr("Resume: {command}", command=weights.pull_command(model.name))
        elif model.name == SMALL:
            remedy = tr("Run: {command}", command=weights.pull_command(SMALL))
        return msgspec.structs.replace(model, bytes=size, problem=problem, remedy=remedy)
    return msgspec.structs.replace(
        model, whole=True, precision=precision, folder=str(folder), bytes=_bytes(folder)
    )


def _is_complete(name: str) -> bool:
    """Whether all of a download has arrived, if it is one."""
    if name == SMALL:
        return paths.small_model_dir().is_dir()
    return split_id(name) is None or find_snapshot(name) is not None


def _precision(files: Sequence[Path]) -> str:
    sizes: Counter[str] = Counter()
    for file in files:
        for tensor in weights.read_header(file).values():
            sizes[tensor.dtype] += prod(tensor.shape)
    most = sizes.most_common(1)
    return _PRECISION.get(most[0][0], most[0][0].lower()) if most else ""


def _cached_names() -> Iterator[str]:
    """Yield the cache's hub ids, with revisions other than main; interrupted ones have none."""
    for stored in sorted(hub_cache().glob(f"{_PREFIX}*--*")):
        name = stored.name.removeprefix(_PREFIX).replace("--", "/", 1)
        refs = stored / "refs"
        named = sorted(ref.relative_to(refs).as_posix() for ref in refs.rglob("*") if ref.is_file())
        for revision in named or [MAIN]:
            yield name if revision == MAIN else f"{name}@{revision}"


def _stored_bytes(name: str) -> int:
    """Return the size of a folder, or of everything in the cache for a hub id or smollm2."""
    if name == SMALL:
        return _bytes(paths.small_model_dir()) + part_bytes()
    found = split_id(name)
    try:
        folder = paths.expand(name)
        return _bytes(hub_folder(found[0]) if found and not folder.is_dir() else folder)
    except (OSError, ValueError, RuntimeError):  # find_model says why
        return 0


def _bytes(folder: Path) -> int:
    """Return the size of the files in a folder; a file with several links counts once."""
    files = {file.resolve() for file in folder.rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files if file.exists())
