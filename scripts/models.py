"""List the models that are configured and on disk; fetch, remove or convert one.

balcao models pull TinyLlama/TinyLlama-1.1B-Chat-v1.0
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from msgspec.structs import asdict

from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.messages import Quantization
from engine.backends.llama.runtimes import missing_packages
from engine.backends.llama.weights import find_model, setting_hint
from engine.backends.registry import Registry
from engine.config import keys, paths
from engine.config.settings import load
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.hub_cache import hub_cache
from engine.core.i18n import tr, tr_n
from engine.core.text import byte_count, json_line, one_line
from engine.models.local import Shelved, remove, shelved, taken
from scripts.common import DONE, FAILED, INTERRUPTED, ProgressLine, confirm, guarded, say, speak

_TOKEN = "HF_TOKEN"  # noqa: S105 - its name
_WIDTH = 44


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(prog="balcao models", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    commands = parser.add_subparsers(dest="command", metavar="{pull,remove,convert}")
    pull = commands.add_parser("pull", help="fetch a model from the hub, or go on fetching it")
    pull.add_argument("model", metavar="ID", help="its hub id, like ORG/NAME")
    pull.add_argument("--revision", default="main", help="a branch, a tag or a commit")
    gone = commands.add_parser("remove", help="take a model out of the hub's cache")
    gone.add_argument("model", metavar="ID", help="its hub id, like ORG/NAME")
    gone.add_argument("--yes", action="store_true", help="do not ask")
    made = commands.add_parser("convert", help="make what llama.cpp needs, before it is needed")
    made.add_argument("model", metavar="MODEL", help="a folder, or a hub id that is on disk")
    made.add_argument("--adapter", metavar="DIR", help="an adapter of that model as well")
    made.add_argument(
        "--quantization",
        choices=("auto", "nf4", "int8", "none"),
        default="auto",
        help="as in the settings",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    speak()
    match options.command:
        case "pull":
            return guarded(lambda: _pull(options.model, options.revision))
        case "remove":
            return guarded(lambda: _remove(options.model, yes=options.yes))
        case "convert":
            return guarded(lambda: _convert(options.model, options.adapter, options.quantization))
        case _:
            return guarded(lambda: _list(as_json=options.json))


def _list(*, as_json: bool) -> int:
    for entry in shelved(load()):
        if as_json:
            print(json_line(asdict(entry)))
            continue
        told = [
            entry.kind,
            entry.precision,
            byte_count(entry.bytes) if entry.bytes else tr("not here"),
        ]
        used = tr("used by no engine")
        if entry.used_by:
            used = tr("used by {engines}", engines=", ".join(entry.used_by))
        state = tr("whole") if entry.whole else tr("not usable")
        line = " · ".join(part for part in (*told, state, used) if part)
        print(f"{one_line(entry.name):{_WIDTH}} {one_line(line)}")
        _tell_problem(entry)
    if not as_json:
        say(tr("The hub's cache is {folder}.", folder=hub_cache()))
    return DONE


def _tell_problem(entry: Shelved) -> None:
    for line in (entry.problem, entry.remedy):
        if line:
            print(f"    {one_line(line)}")


def _pull(model: str, revision: str) -> int:
    token = keys.value(_TOKEN)
    # The client would ask the hub which coding agents there are, to tell it whether one is at work.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # After the arguments are known to be right: it takes a moment.
    from engine.models.pull import Hub, look_up, pull

    hub = Hub(hub_cache(), token)
    offer = look_up(hub, model, revision)
    told = tr_n(
        "{model}: {count} file, {size}.", "{model}: {count} files, {size}.", len(offer.files)
    )
    say(
        told.format(
            model=f"{model}, {revision}", count=len(offer.files), size=byte_count(offer.bytes)
        )
    )
    if offer.licence:
        say(
            tr(
                "Licence: {licence}; read it at {page}.",
                licence=one_line(offer.licence),
                page=one_line(offer.asked.page),
            )
        )
    try:
        with ProgressLine(sys.stderr) as progress:
            folder = pull(hub, offer, progress.show)
    except KeyboardInterrupt:
        say(tr("balcao: stopped. What has come is kept: the same command goes on from there."))
        return INTERRUPTED
    print(folder)
    if offer.is_adapter:
        say(setting_hint("adapter", str(folder), "lora"))
        return DONE
    return _usable(model if revision == "main" else f"{model}@{revision}")


def _usable(name: str) -> int:
    """Say who uses it; what came may be whole and still nothing that an engine can run."""
    configs = Registry(load()).configs
    users = [one for one, config in configs.items() if (config.local_model() or [""])[0] == name]
    try:
        find_model(name, users[0] if users else "base")
    except EngineUnavailable as error:
        say(f"balcao: {one_line(str(error))}")
        return FAILED
    used = tr("Used by: {engines}.", engines=", ".join(users))
    say(used if users else setting_hint("model", f'"{name}"', "base"))
    return DONE


def _convert(model: str, adapter: str | None, quantization: Quantization) -> int:
    missing = missing_packages("llama.cpp", quantization)
    if missing:
        raise UsageError(
            tr("llama.cpp's packages are missing: {packages}.", packages=", ".join(missing)),
            tr(
                "Install them: pip install 'balcao[cpu]'; llama-cpp-python compiles for some "
                "minutes."
            ),
        )
    files = find_model(paths.model_named(model), "base")
    found = find_adapter(adapter, files) if adapter else None
    from engine.backends.llama import gguf as gguf_cache_runtime

    try:
        with ProgressLine(sys.stderr) as progress:
            file = gguf_cache_runtime.model_file(files, quantization, progress.show)
    except KeyboardInterrupt:
        say(tr("balcao: stopped. The same command begins the conversion anew."))
        return INTERRUPTED
    print(file)
    if found:
        print(gguf_cache_runtime.adapter_file(found.folder, files))
    return DONE


def _remove(model: str, *, yes: bool) -> int:
    held = taken(model)
    users = [
        engine_id
        for entry in shelved(load())
        if entry.name.partition("@")[0] == model.partition("@")[0]
        for engine_id in entry.used_by
    ]
    used = tr("Used by: {engines}.", engines=", ".join(users)) if users else ""
    question = tr("Remove {model}, {size}?", model=one_line(model), size=byte_count(held))
    if not confirm(f"{question} {used}".strip(), yes=yes):
        say(tr("Nothing is removed."))
        return FAILED
    told = tr("Removed: {size} are free again.")
    say(told.format(size=byte_count(remove(model))))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
