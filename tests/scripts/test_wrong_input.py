"""Wrong input is one sentence with a remedy, and output fits 80 columns: at a real terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.engine.backends.llama.tiny import Tiny

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json, sys
from pathlib import Path
from scripts import cli
for number, words in enumerate(json.loads(Path("commands.json").read_text())):
    try:
        status = cli.main(words)
    except SystemExit as ended:
        status = ended.code
    heavy = [name for name in ("torch", "transformers", "peft") if name in sys.modules]
    print(f"==={number} {status} {len(heavy)}", flush=True)
"""
CSV = "name,description\nKettle,Boils water.\nLamp,Gives light.\nStool,Folds flat.\n"

WRONG: dict[str, str] = {
    "index nothing.csv --out o": "Cannot read nothing.csv: No such file or directory. Pass",
    "index empty.csv --out o": "is empty. Pass a data set",
    "index head.csv --out o": "does not contain any products",
    "index cut.json --out o": "is not valid JSON at line 1. Fix",
    "index noise.csv --out o": "is not a text file. Save a spreadsheet as CSV",
    "index utf16.csv --out o": "iconv -f UTF-16",
    "index odd.csv --out o": "Its columns are foo, bar. Name it: --columns title=COLUMN",
    "index cut.zip --out o": "Download it again",
    "index folder --out o": "Is a directory. Pass",
    "index ok.csv": "is missing. For example: balcao index",
    "index ok.csv --out folder": "Choose a new folder",
    "index ok.csv --out o --columns title=nme": "Did you mean “name”?",
    "index ok.csv --out o --columns titel=name": "Did you mean “title”?",
    "prepare ok.csv": "--out DIR is missing",
    "prepare ok.csv --out r --valid 2": "must be shares that add up to less than 1",
    "prepare ok.csv --out r --limit many": "--limit: must be a whole number. See balcao prepare",
    "prepare ok.csv --out r --forms 99": "--forms must be 1 to 32",
    "prepare ok.csv --out r --refusals nan": "--refusals must be",
    "train --data nowhere {end}": "`balcao prepare` writes such rows",
    "train --data rows/train.jsonl {end}": "is a file. Set --data to its folder: rows",
    "train --data ok.csv {end}": "Make rows of it: balcao prepare ok.csv",
    "train --data cut {end}": "line 16: not valid JSON. Fix or remove those lines",
    "train --data old {end}": "Write them again with `balcao prepare`",
    "train --data rows --out new --base smolm2": "Did you mean “smollm2”?",
    "train --data rows --out new --base smollm2": "Run: balcao models pull smollm2",
    "train --data rows --out new --base org/name": "run: balcao models pull org/name",
    "train --data rows --out new --base {adapter}": "is an adapter, not a base",
    "train --data rows --out new --base cutbase": "is truncated",
    "train --data rows --out new --base folder": "Set --base to smollm2 or to a folder",
    "train --data rows --out folder --base {base}": "Choose a new folder with --out",
    "train --data rows {end} --recipe exakt": "Did you mean “exact”?",
    "train --data rows {end} --recipe broken.toml": "Fix that line",
    "train --data rows {end} --set rank=0": "Expected a whole number >= 1: `rank`",
    "train --data rows {end} --set targets=nose": 'Use "all-linear", or a list of q_proj',
    "train --data rows {end} --set schedule=x": "Use one of constant, constant_with_warmup",
    "train --data rows {end} --epochs nan": "Expected a number > 0.0: `epochs`",
    "train --data rows {end} --engine base": "Choose another name: --engine",
    "train --data rows {end} --detach --json": "not allowed with argument --detach. See balcao",
    "train --data rows {end} --resume": "Start one without --resume",
    "train --data rows {end} --resum": "Did you mean “--resume”?",
    "runs fllow": "Did you mean “follow”?",
    "runs compare a b": "Unknown run a. List the runs: balcao runs",
    "runs remove folder": "is not the folder of a run",
    "evaluate --data rows --engines catalog --out e": "The engines are: catalogue",
    "evaluate --data rows --engines lora:x --out e": "Write ID:grounded or ID:memory",
    "evaluate --data rows --engines catalogue --out folder": "Choose a new folder",
    "evaluate --data rows --engines catalogue --out e --catalogue folder": "Move it away, then",
    "evaluate --data rows --engines catalogue --out e --price x": "such as 0.15,0.60",
    "merge --base {base} --adapter folder --out m": "Set --adapter to an adapter of this base",
    "merge --base {base} --adapter {adapter} --out folder": "Choose a new folder",
    "merge --base {base} --adapter {adapter} --out m --data folder": "does not contain train.jsonl",
    "merge --base {base} --adapter {adapter} --out m --gguf q3": "choose from 'f16', 'q8_0'",
    "completion ksh": "choose from 'bash', 'zsh', 'fish'",
    "prepaer": "Did you mean “prepare”?",
}
"""What is said about each wrong command line."""

RIGHT = (
    "index ok.csv --out cat --no-meaning",
    "prepare ok.csv --out rows2",
    "prepare ok.csv --preview",
    "train --data rows {end} --no-probe --dry-run --set rank=8 --epochs 3",
    "runs",
    "engines",
    "models",
    "evaluate --data rows --engines catalogue --out report --catalogue cat --limit 2 --invented 2",
    "runs --help",
    "--help",
)


class Said(dict[str, tuple[int, int, str]]):
    """Exit status, number of heavy packages and output by command line."""


def _write_inputs(place: Path, tiny: Tiny) -> None:
    texts = {
        "ok.csv": CSV, "empty.csv": "", "head.csv": "id,name,description\n",
        "odd.csv": "foo,bar\n1,2\n", "cut.json": '[{"title":"A","content":"B"},{"title":',
        "broken.toml": "rank = \n",
    }  # fmt: skip
    for name, text in texts.items():
        (place / name).write_text(text, encoding="utf-8")
    (place / "utf16.csv").write_text(CSV, encoding="utf-16")
    (place / "noise.csv").write_bytes(bytes(range(256)) * 4)
    (place / "cut.zip").write_bytes(b"PK\x03\x04" + b"x" * 50)
    (place / "folder").mkdir()
    (place / "folder" / "mine.txt").write_text("mine", encoding="utf-8")
    shutil.copytree(tiny.model, place / "cutbase")
    weights = place / "cutbase" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _change_rows(place: Path) -> None:
    for changed in ("cut", "old"):
        shutil.copytree(place / "rows", place / changed)
    rows = place / "cut" / "train.jsonl"
    rows.write_bytes(rows.read_bytes()[:-30])
    manifest = place / "old" / "manifest.json"
    text = re.sub(r'"prompt_version": \d+', '"prompt_version": 1', manifest.read_text())
    manifest.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def said(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """All command lines, run one after another by one program at a terminal of 80 columns."""
    place = tmp_path_factory.mktemp("w")
    _write_inputs(place, tiny)
    environ = {name: value for name, value in os.environ.items() if "BALCAO_" not in name}
    environ |= {"BALCAO_HOME": str(place / "home"), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}

    def run(lines: tuple[str, ...]) -> dict[str, tuple[int, int, str]]:
        names: dict[str, object] = {"base": tiny.model, "adapter": tiny.adapter}
        names["end"] = f"--base {tiny.model} --out new"
        commands = [line.format(**names).split() for line in lines]
        (place / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
        spawn: Callable[..., Any] = pexpect.spawn
        child = spawn(
            sys.executable, ["-c", CODE], cwd=str(place), env=environ, dimensions=(24, 80),
            encoding="utf-8", timeout=None,
        )  # fmt: skip
        child.expect(pexpect.EOF)
        found = re.split(r"===\d+ (\d+) (\d+)\r\n", child.before)
        return {
            line: (int(found[3 * at + 1]), int(found[3 * at + 2]), _visible(found[3 * at]))
            for at, line in enumerate(lines)
        }

    run(("prepare ok.csv --out rows",))
    _change_rows(place)
    made = Said(run(tuple(WRONG)))
    assert not (place / "new").exists()
    return Said(made | run(RIGHT))


def _visible(text: str) -> str:
    """Drop a live line of progress, which is drawn over."""
    kept = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", "\n".join(kept))


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_a_sentence_with_its_remedy_before_anything_loads(
    line: str, said: Said
) -> None:
    status, heavy, text = said[line]
    assert status in (1, 2), text
    assert heavy == 0
    assert text.startswith("balcao: ")
    assert text.count("balcao: ") == 1
    assert WRONG[line] in " ".join(text.split())


@pytest.mark.parametrize("line", [*WRONG, *RIGHT])
def test_output_fits_80_columns_and_is_no_wall(line: str, said: Said) -> None:
    status, _, text = said[line]
    assert line in WRONG or status == 0, text
    lines = text.split("\n")
    # A terminal breaks a longer line in the middle of a word; only a long path may be one.
    assert [one for one in lines if len(one) > 80 and " " in one.strip()] == []
    full = "".join("#" if len(one) > 70 else " " for one in lines)
    assert "--help" in line or "#" * 5 not in full, text
