"""Which files of a model on the hub are needed: weights in safetensors, tokenizer, configuration.

A repository often holds the same weights three times over (.bin, .pth, safetensors) and pictures
besides. What can run code when it is opened (.bin, .pth, .py) is never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.errors import BalcaoError
from engine.core.i18n import tr

CONFIG = "config.json"
_ONE_FILE = "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_ADAPTER = "adapter_model.safetensors"
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
        told = (
            tr(", only as .{formats}").format(formats=tr(" and .").join(formats)) if formats else ""
        )
        raise BalcaoError(
            tr("“{model}” has no weights in safetensors{told}.").format(model=model, told=told),
            tr("Choose a model that has: other formats can run code when they are opened."),
        )
    small = [file for file in files if _SMALL.fullmatch(file.name)]
    return sorted(small, key=lambda file: file.size) + weights


def _weights(files: Sequence[Remote]) -> list[Remote]:
    by_name = {file.name: file for file in files}
    for name in (_ONE_FILE, _ADAPTER):
        if name in by_name:
            return [by_name[name]]
    shards = [file for file in files if _SHARD.fullmatch(file.name)]
    return sorted(shards, key=lambda file: file.name)
