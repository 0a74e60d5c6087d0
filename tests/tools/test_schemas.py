"""The published schemas are those of the types, and the published report follows them."""

from __future__ import annotations

import json

import jsonschema
import pytest

from tools.schemas import ROOT, TYPES, schema, schema_file


@pytest.mark.parametrize("name", TYPES)
def test_the_published_schema_is_that_of_the_type(name: str) -> None:
    same = schema_file(name).read_bytes() == schema(name)
    assert same, "Run: .venv/bin/python -m tools.schemas"


def test_the_example_report_follows_the_schema() -> None:
    example = json.loads((ROOT / "docs/example-report/report.json").read_bytes())
    jsonschema.Draft202012Validator(json.loads(schema("report"))).validate(example)
