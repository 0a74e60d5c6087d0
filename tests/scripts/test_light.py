"""The commands where only the packages of a light installation are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "sentencepiece", "safetensors",
    "trl", "datasets", "rouge_score", "sacrebleu", "nltk", "psycopg", "textual_serve", "aiohttp",
    "aiohttp_jinja2", "tensorboard",
)  # fmt: skip
CODE = """
import json, sys
absent, arguments = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(absent))  # Python then finds none of them
from scripts.cli import main
sys.exit(main(arguments))
"""
TRAIN = ("train", "--data", "rows", "--base", "smollm2", "--out", "out")
MERGE = ("merge", "--base", "smollm2", "--adapter", "run", "--out", "out")
EVALUATE = ("evaluate", "--data", "x.jsonl", "--engines", "catalogue", "--out", "out")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, without the packages of the extras."""
    command = [sys.executable, "-c", CODE, json.dumps([ABSENT, arguments])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(TRAIN, "train"), (MERGE, "gpu"), (EVALUATE, "evaluate"), (("serve",), "serve")],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_command_that_needs_an_extra_names_what_installs_it(
    arguments: tuple[str, ...], extra: str
) -> None:
    ended = run(*arguments)
    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    said = ended.stderr.strip().splitlines()
    assert len(said) == 1
    assert f"[{extra}]'" in said[0] or f"make {extra}-env" in said[0]


def test_a_catalogue_on_a_server_names_its_extra(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"uid": "1", "title": "A", "content": "B"}\n', encoding="utf-8")
    ended = run("index", str(rows), "--to", "postgresql://localhost/balcao")
    assert ended.returncode in (1, 2)
    assert "[scale]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_others_work() -> None:
    report = json.loads(run("doctor", "--json").stdout)
    assert report["can_start"]
    found = {one["name"]: one["value"] for one in report["findings"] if one["part"] == "engines"}
    assert found["catalogue"].startswith("ready")
    for arguments in (["models"], ["engines"], ["runs"], ["finetune", "--help"]):
        ended = run(*arguments)
        assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
