"""Write the JSON schemas of an evaluation's files and job.toml to docs/schemas, after a change.

python -m tools.schemas
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.core.files import encode_json
from engine.evaluation.ask import SavedAnswer
from engine.evaluation.report import Report
from engine.training.job.file import Job

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "schemas"
TYPES: dict[str, type] = {"report": Report, "answers": SavedAnswer, "job": Job}
"""By the file's name: `answers` describes a line of answers.jsonl, `job` job.toml."""
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_file(name: str) -> Path:
    """Return where the schema of a file is."""
    return FOLDER / f"{name}.schema.json"


def schema(name: str) -> bytes:
    """Return the schema of a file as its type has it."""
    made = {"$schema": _DIALECT, **msgspec.json.schema(TYPES[name])}
    return encode_json(_unwrapped(made), indent=2)


def _unwrapped(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Put each description on one line, and write 0.0 as 0.

    msgspec copies docstrings with their indentation.
    """
    # typing takes `Meta(ge=0)` for `Meta(ge=0.0)` if it has met that first.
    if isinstance(part, float) and part.is_integer():
        return int(part)
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
