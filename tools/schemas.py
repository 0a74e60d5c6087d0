"""Write the JSON schemas of an evaluation's files to docs/schemas, after a change of their types.

python -m tools.schemas
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.core.files import encode_json
from engine.evaluation.ask import SavedAnswer
from engine.evaluation.report import Report

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "schemas"
TYPES: dict[str, type] = {"report": Report, "answers": SavedAnswer}
"""By the file's name: `answers` describes a line of answers.jsonl."""
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_file(name: str) -> Path:
    """Return where the schema of a file is."""
    return FOLDER / f"{name}.schema.json"


def schema(name: str) -> bytes:
    """Return the schema of a file as its type has it."""
    made = {"$schema": _DIALECT, **msgspec.json.schema(TYPES[name])}
    return encode_json(_unwrapped(made), indent=2)


def _unwrapped(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Put each description on one line; msgspec copies docstrings with their indentation."""
    if isinstance(part, list):
        return [_unwrapped(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: " ".join(value.split())
        if name == "description" and isinstance(value, str)
        else _unwrapped(value)
        for name, value in part.items()
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name in TYPES:
        schema_file(name).write_bytes(schema(name))


if __name__ == "__main__":
    main()
