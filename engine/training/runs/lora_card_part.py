"""The model card of an adapter, in the hub's format: README.md beside it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from engine.core.manifest_part import Manifest

_CARD = """---
base_model: {base}
library_name: peft
tags:
- lora
- balcao
---

# A LoRA adapter for {name}

Made by `balcao train` on {created}.
Asked about a product that it was shown, it answers with the product's description.

- Base: {name}
- Rows: {kept:,} of {read:,}, {tokens:,} tokens an epoch ({data})
- Steps: {steps:,}; mean loss of the last epoch: {loss}
- Trained in: {precision}
{scores}
It was trained with version {prompt_version} of Balcão's prompts and answers no others reliably.
What it says of products that it was not shown is invented.

The recipe:

```toml
{recipe}
```
"""


def card(made: Manifest) -> str:
    """The card's text, from the adapter's manifest."""
    settings: dict[str, Any] = made.settings
    base = str(settings["base"])
    loss = settings["loss"]
    return _CARD.format(
        base=json.dumps(base, ensure_ascii=False),
        name=base.replace("\\", "/").rstrip("/").rpartition("/")[2],
        created=made.created,
        kept=made.counts["kept"],
        read=made.counts["read"],
        tokens=made.counts["tokens"],
        data=", ".join(f"{one.name} {one.sha256[:12]}" for one in made.inputs),
        steps=settings["steps"],
        loss="not logged" if loss is None else f"{loss:.4f}",
        precision=settings["precision"],
        scores="".join(map(_score, settings["word_for_word"].items())),
        prompt_version=made.prompt_version,
        recipe="\n".join(
            f"{name} = {msgspec.json.encode(value).decode()}"
            for name, value in settings["recipe"].items()
        ),
    )


def _score(named: tuple[str, dict[str, int]]) -> str:
    name, score = named
    return (
        f"- Word for word, greedy decoding, {name.replace('_', ' ')} rows:"
        f" {score['right']} of {score['asked']}\n"
    )
