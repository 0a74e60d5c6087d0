"""The models that the settings name and those that lie in the hub's cache; and taking one away.

Light: folders, small files and the headers of weights are looked at. The hub client's own
listing leaves out what was broken off, which is what one most wants to know of.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import msgspec

from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.weights import find_model, pull_command, read_header, read_json
from engine.backends.registry import Registry
from engine.config import paths
from engine.config.settings import Settings
from engine.core.errors import BalcaoError, DataError, EngineUnavailable, UsageError, why
from engine.core.files import MANIFEST, read_manifest
from engine.core.hub_cache import find_snapshot, hub_cache, hub_folder, split_id
from engine.core.i18n import tr
from engine.core.text import byte_count

_PRECISION = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8"}


class Quantized(msgspec.Struct, frozen=True):
    """The part of `config.json` that tells of weights which were quantized before."""

    quant_method: str = ""


class Kind(msgspec.Struct, frozen=True):
    """The part of `config.json` that tells the kind. Names are the format's own."""

    model_type: str = ""
    quantization_config: Quantized | None = None


def precision(config: Kind, weights: Sequence[Path]) -> str:
    """In which precision most of the weights are. Raises EngineUnavailable for a broken file."""
    if config.quantization_config and config.quantization_config.quant_method:
        return config.quantization_config.quant_method
    sizes: Counter[str] = Counter()
    for file in weights:
        for tensor in read_header(file).values():
            sizes[tensor.dtype] += prod(tensor.shape)
    most = sizes.most_common(1)
    return _PRECISION.get(most[0][0], most[0][0].lower()) if most else ""


CONFIG = "config.json"
_ONE_FILE = "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_SMALL = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|chat_template|adapter_config|manifest|model\.safetensors\.index)\.json"
    r"|tokenizer\.model|merges\.txt|chat_template\.jinja"
    r"|(LICEN[CS]E|NOTICE|USE_POLICY)(\.\w+)*"
)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub: `size` in bytes; `sha256` where the hub tells it (it does of weights)."""

    name: str
    size: int
    sha256: str | None = None


def wanted(model: str, files: Sequence[Remote]) -> list[Remote]:
    """The files to fetch, small ones first. Raises BalcaoError if there is nothing to run."""
    weights = _weights(files)
    if not weights:
        formats = sorted({file.name.rpartition(".")[2] for file in files} & {"bin", "pth", "gguf"})
        told = tr(", only as .{formats}", formats=tr(" and .").join(formats)) if formats else ""
        raise BalcaoError(
            tr("“{model}” has no weights in safetensors{told}.", model=model, told=told),
            tr("Choose a model that has: other formats can run code when they are opened."),
        )
    small = [file for file in files if _SMALL.fullmatch(file.name)]
    return sorted(small, key=lambda file: file.size) + weights


def _weights(files: Sequence[Remote]) -> list[Remote]:
    by_name = {file.name: file for file in files}
    for name in (_ONE_FILE, _ADAPTER_WEIGHTS):
        if name in by_name:
            return [by_name[name]]
    shards = [file for file in files if _SHARD.fullmatch(file.name)]
    return sorted(shards, key=lambda file: file.name)


_PREFIX = "models--"
_MAIN = "main"
_LLAMA_CPP = "llama.cpp"
_LLAMA = "llama"
_ADAPTER = "adapter"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"


class Shelved(msgspec.Struct, frozen=True):
    """One model or adapter, as `balcao models` tells of it.

    `name` is what the settings would call it; `bytes` what it takes on disk; `precision` that of
    its weights; `whole` whether an engine could use it, and if not, `problem` and `remedy` say why
    and what to do; `used_by` are the engines' ids.
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


def shelved(chosen: Settings) -> list[Shelved]:
    """What is configured, in the settings' order, and then what else the cache holds."""
    pairs = {
        name: pair
        for name, config in Registry(chosen).configs.items()
        if (pair := config.local_model())
    }
    models = dict.fromkeys(model for model, _ in pairs.values())
    found = []
    for model in models:
        used_by = [name for name, pair in pairs.items() if pair[0] == model]
        found.append(_model(model, tuple(used_by)))
    for model, adapter in dict.fromkeys(pairs.values()):
        if adapter:
            used_by = [name for name, pair in pairs.items() if pair == (model, adapter)]
            found.append(_adapter(adapter, model, tuple(used_by)))
    found += [_cached(name) for name in _in_cache() if name not in models]
    return found + [_copy(folder, made) for folder, made in _copies()]


def taken(name: str) -> int:
    """Bytes that the hub's cache and the converted copies hold of a model.

    Raises UsageError for what is no hub id, BalcaoError if nothing is there.
    """
    return sum(map(_bytes, _removable(name)))


def remove(name: str) -> int:
    """Take away what the hub's cache holds of a hub id, and what was converted of it.

    Of a folder, which is the person's own, only the converted copies. Returns how many bytes that
    frees. Raises as `taken` does, and BalcaoError if it cannot be removed.
    """
    folders = _removable(name)
    freed = sum(map(_bytes, folders))
    try:
        for folder in folders:
            shutil.rmtree(folder)
            shutil.rmtree(hub_cache() / ".locks" / folder.name, ignore_errors=True)
    except OSError as error:
        raise BalcaoError(
            tr("{file} cannot be removed: {why}.", file=error.filename, why=why(error))
        ) from error
    return freed


def _removable(name: str) -> list[Path]:
    found = None if Path(name).expanduser().is_dir() else split_id(name)
    folders = [folder for folder, made in _copies() if made["model"] == name]
    if found is None and not folders:
        raise UsageError(
            tr("“{name}” is no hub id, which is like ORG/NAME.", name=name),
            tr("A folder of your own is yours to remove."),
        )
    if found and hub_folder(found[0]).is_dir():
        folders.append(hub_folder(found[0]))
    if not folders:
        raise BalcaoError(
            tr("There is nothing of “{name}” in {folder}.", name=name, folder=hub_cache())
        )
    return folders


def _copies() -> Iterator[tuple[Path, dict[str, str]]]:
    """The folders of models and adapters that were converted for llama.cpp, and of what each is."""
    for file in sorted((paths.cache_dir() / _LLAMA_CPP).glob(f"*/{MANIFEST}")):
        try:
            made = read_manifest(file.parent).settings
        except DataError:
            continue
        yield file.parent, {"model": "", **{name: str(value) for name, value in made.items()}}


def _copy(folder: Path, made: dict[str, str]) -> Shelved:
    return Shelved(
        made.get("adapter", made["model"]),
        f"copy for {_LLAMA_CPP}",
        whole=True,
        bytes=_bytes(folder),
        precision=made.get("precision", ""),
        folder=str(folder),
    )


def _model(name: str, used_by: tuple[str, ...]) -> Shelved:
    def look() -> tuple[str, Path]:
        files = find_model(name, used_by[0] if used_by else "NAME")
        return precision(read_json(files.folder / "config.json", Kind), files.weights), files.folder

    return _looked_at(Shelved(name, _LLAMA, used_by=used_by), look)


def _adapter(name: str, model: str, used_by: tuple[str, ...]) -> Shelved:
    def look() -> tuple[str, Path]:
        folder = find_adapter(name, find_model(model, used_by[0])).folder
        return precision(Kind(), [folder / _ADAPTER_WEIGHTS]), folder

    return _looked_at(Shelved(name, _ADAPTER, used_by=used_by), look)


def _cached(name: str) -> Shelved:
    """What no engine names: any kind of model, whole or not."""
    folder = find_snapshot(name)
    if folder and (folder / "adapter_config.json").exists():
        return _looked_at(
            Shelved(name, _ADAPTER),
            lambda: (precision(Kind(), [folder / _ADAPTER_WEIGHTS]), folder),
        )
    try:
        kind = read_json(folder / "config.json", Kind).model_type if folder else _LLAMA
    except EngineUnavailable:
        kind = ""
    if kind == _LLAMA:
        return _model(name, ())
    return Shelved(name, kind or "unknown", bytes=_here(name), problem=tr("It is no Llama."))


def _looked_at(entry: Shelved, look: Callable[[], tuple[str, Path]]) -> Shelved:
    """The entry with what `look` finds: its precision and folder, or why it cannot be used."""
    entry = msgspec.structs.replace(entry, bytes=_here(entry.name))
    try:
        made_of, folder = look()
    except EngineUnavailable as error:
        problem, remedy = error.message, error.remedy
        if entry.bytes and split_id(entry.name) and find_snapshot(entry.name) is None:
            problem = tr("Broken off: {bytes} of it are here.", bytes=byte_count(entry.bytes))
            remedy = tr("Go on: {command}", command=pull_command(entry.name))
        return msgspec.structs.replace(entry, problem=problem, remedy=remedy)
    return msgspec.structs.replace(
        entry, whole=True, precision=made_of, folder=str(folder), bytes=_bytes(folder)
    )


def _in_cache() -> Iterator[str]:
    """Hub ids, with their revisions where those are not main; what was broken off has none."""
    for stored in sorted(hub_cache().glob(f"{_PREFIX}*--*")):
        name = stored.name.removeprefix(_PREFIX).replace("--", "/", 1)
        refs = stored / "refs"
        named = sorted(ref.relative_to(refs).as_posix() for ref in refs.rglob("*") if ref.is_file())
        for revision in named or [_MAIN]:
            yield name if revision == _MAIN else f"{name}@{revision}"


def _here(name: str) -> int:
    """Bytes on disk of a folder, or of all that the cache has of a hub id."""
    folder = Path(name).expanduser()
    found = split_id(name)
    return _bytes(hub_folder(found[0])) if found and not folder.is_dir() else _bytes(folder)


def _bytes(folder: Path) -> int:
    """What the files in a folder take, each once, however many links lead to it."""
    files = {file.resolve() for file in folder.rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files)
