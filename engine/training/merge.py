"""Merges an adapter into its base: one model for servers that take no adapters; called by scripts.

What is published has been read back from the disk and asked, beside the base with the adapter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import Manifest, atomic_folder, describe_file, free_space, write_manifest
from engine.core.types import Message, Mode, Progress, Role
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS, chat_messages
from engine.training.data import as_messages, offline, read_data
from engine.training.train import Base

KIND, VERSION = "merged-model", 1
Precision = Literal["auto", "float16", "bfloat16"]
_QUESTIONS = 8
_ANY_TITLE = "the folding stool"
_LEAST_AGREED = 0.9
"""Of the tokens of an answer, the share that the merged model has to choose as well. What rounding
moves is single tokens that were nearly even; a merge that went wrong agrees on few."""
_SPARE = 50_000_000
"""Bytes for what lies beside the weights."""

_CARD = """---
base_model: {base_json}
library_name: transformers
pipeline_tag: text-generation
tags:
- balcao
---

# {base}, with a LoRA adapter merged into it

Made by `balcao merge` on {created} from weights of 16 bits or more, in {precision}.

- Base: {base}
- Adapter: {adapter}
- Asked beside the base with the adapter: {same} of {asked} answers are the same, token for token;
  the logits differ by at most {difference:.3g}.

It answers version {prompt_version} of Balcão's prompts as the adapter does, others no better.
The chat template lies beside the weights, and servers use it by themselves. For the exact words ask
with temperature 0, and with this system prompt:

```
{system}
```

vLLM serves this folder as it is: `vllm serve FOLDER`. For llama.cpp its own converter makes one
file of it: `python convert_hf_to_gguf.py FOLDER`.
"""


class _BaseConfig(msgspec.Struct):
    quantization_config: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the merged model answers beside base and adapter.

    `same` of `asked` answers are equal, `agreed` is the share of all their tokens that it chooses
    as well, `difference` the largest between two logits.
    """

    asked: int
    same: int
    agreed: float
    difference: float


def questions_of(data: Path | None) -> tuple[tuple[Message, ...], ...]:
    """A few prompts to compare answers to: of the rows in `data`, or of no product.

    Raises UsageError or DataError where the rows cannot be read.
    """
    if data is None:
        forms = QUESTION_FORMS[:_QUESTIONS]
        return tuple(chat_messages(one.format(title=_ANY_TITLE), None, Mode.MEMORY)
                     for one in forms)  # fmt: skip
    rows = read_data(data).train
    chosen = [rows[turn * len(rows) // _QUESTIONS] for turn in range(min(_QUESTIONS, len(rows)))]
    found = []
    for row in chosen:
        messages = as_messages(row.messages)
        first = next(place for place, one in enumerate(messages) if one.role == Role.ASSISTANT)
        found.append(tuple(messages[:first]))
    return tuple(found)


def merge(
    base: Base,
    adapter: Path,
    out: Path,
    precision: Precision,
    prompts: Sequence[Sequence[Message]],
    show: Callable[[Progress], None],
) -> Manifest:
    """Write the merged model to `out`, whole or not at all. Raises BalcaoError."""
    _check(base, out)
    offline()
    from engine.training.merge_weights import Merger, compare

    with atomic_folder(out, KIND) as draft:
        show(Progress("loading the model"))
        merger = Merger(base.folder, adapter)
        answers = merger.answers(prompts, show)
        show(Progress("merging"))
        written = merger.write(draft, precision)
        del merger
        found = compare(draft, base.folder, prompts, answers, show)
        if found.agreed < _LEAST_AGREED:
            raise DataError(
                f"The merged model chooses only {found.agreed:.0%} of the tokens that base and"
                " adapter do: it is thrown away.",
                "Is the adapter whole, and the base the one that it was trained on?",
            )
        made = _manifest(base, adapter, written, found)
        (draft / "README.md").write_text(_card(made), encoding="utf-8")
        write_manifest(draft, made)
    return made


def merged_text(out: Path, made: Manifest) -> str:
    """A few lines for the person about what was made."""
    found = made.settings["agreement"]
    return (
        f"model     {out}\n"
        f"weights   {made.settings['precision']}\n"
        f"answers   {found['same']} of {found['asked']} are those of base and adapter, token for"
        f" token; the logits differ by at most {found['difference']:.3g}"
    )


def _check(base: Base, out: Path) -> None:
    config = msgspec.json.decode((base.folder / "config.json").read_bytes(), type=_BaseConfig)
    if config.quantization_config is not None:
        raise UsageError(
            f"The base {base.name} is quantized: merging into it would change its answers.",
            "Name the same model with weights of 16 or 32 bits.",
        )
    needed = sum(file.stat().st_size for file in base.files) + _SPARE
    free = free_space(out)
    if needed > free:
        raise BalcaoError(
            f"The disk of {out} has {free / 1e6:,.0f} MB free; the model takes up to"
            f" {needed / 1e6:,.0f} MB.",
            "Make room, or name a folder on another disk.",
        )


def _manifest(base: Base, adapter: Path, precision: str, found: Agreement) -> Manifest:
    weights = [base.folder / "config.json", *base.files]
    trained = [adapter / "adapter_config.json", adapter / "adapter_model.safetensors"]
    return Manifest(
        kind=KIND,
        version=VERSION,
        inputs=[describe_file(file) for file in (*weights, *trained)],
        settings={
            "base": base.name,
            "adapter": str(adapter),
            "precision": precision,
            "agreement": {
                "asked": found.asked,
                "same": found.same,
                "agreed": found.agreed,
                "difference": found.difference,
            },
        },
        prompt_version=PROMPT_VERSION,
    )


def _card(made: Manifest) -> str:
    settings: dict[str, Any] = made.settings
    base = str(settings["base"])
    system = chat_messages("", None, Mode.MEMORY)[0].content
    return _CARD.format(
        base_json=json.dumps(base, ensure_ascii=False),
        base=base.replace("\\", "/").rstrip("/").rpartition("/")[2],
        adapter=os.path.basename(settings["adapter"]),  # noqa: PTH119 - a name of any system's
        created=made.created,
        precision=settings["precision"],
        prompt_version=PROMPT_VERSION,
        system=system,
        **settings["agreement"],
    )
