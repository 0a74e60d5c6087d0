"""Put the sample catalogue and the adapter into the wheel; hatchling runs this.

An editable installation reads them from `data/`.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_DATA = ("sample_catalogue.jsonl", "lbl.json", "smollm2_adapter")


class WheelData(BuildHookInterface):  # type: ignore[misc]
    """Add the data to a standard wheel, below `engine/bundled`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Extend `build_data`; `version` is "standard" or "editable"."""
        if version == "standard":
            files = {f"data/{name}": f"engine/bundled/{name}" for name in _DATA}
            build_data["force_include"].update(files)
