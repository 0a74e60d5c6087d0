"""Makes the adapter of a run that is done an engine of the chat: called by scripts and the chat."""

from __future__ import annotations

from pathlib import Path

from engine.config import engines as engines_file
from engine.config import paths
from engine.core import manifest_part as manifest
from engine.core.errors import UsageError
from engine.core.i18n import tr
from engine.training.runs import folder as lora_folder


def use(out: Path, wanted: str = "") -> str:
    """Write an engine row for the run in `out`; returns the engine's id.

    `wanted` is the id it gets if that is free; without one it is named after the folder. Raises
    BalcaoError.
    """
    if not lora_folder.is_done(out):
        raise UsageError(
            tr("The run in {out} is not done.").format(out=out),
            tr("An engine needs the adapter it makes."),
        )
    base = manifest.read(out).settings.get("base")
    if not isinstance(base, str):
        raise UsageError(tr("The manifest in {out} names no base.").format(out=out))
    # The manifest has its folder's name, since where it lies differs from machine to machine.
    model = paths.DEMO if base == paths.demo_model_dir().name else base
    return engines_file.add_adapter(model, out, wanted)
