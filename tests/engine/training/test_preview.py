"""The preview shows rows as the model gets them, and trains nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config.paths import sample_source
from engine.prompts import SYSTEM
from engine.training.encode import Encoder
from engine.training.preview import WIDTH, preview_messages, preview_tokens
from engine.training.recipe import Recipe
from scripts import prepare as prepare_script
from scripts import train as train_script
from tests.engine.backends.llama.tiny import ROOT, Tiny
from tests.engine.training.conftest import ANSWERS, row, with_pool, write_data


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return with_pool(write_data(tmp_path / "rows", ANSWERS))


def test_learned_tokens_are_marked_and_counted(tiny: Tiny, rows: Path) -> None:
    preview = preview_tokens(rows, str(tiny.model), Recipe())
    lines = list(preview.lines(colour=False))
    shown = lines.index("> A keeper climbs the stairs. </s>")
    assert any(SYSTEM in line and line.startswith("  ") for line in lines[:shown])
    encoder = Encoder(tiny.model)
    kind, parts = preview.rows[0]
    prompt, answer = (len(encoder.tokenizer.encode(text)) for text, _ in parts.parts)
    assert parts.length == f"{prompt} + {answer} tokens, {answer} learned"
    assert f"{kind}: {parts.length}" in lines


def test_all_is_learned_with_a_loss_on_everything(tiny: Tiny, rows: Path) -> None:
    preview = preview_tokens(rows, str(tiny.model), Recipe(loss_on="everything"))
    assert all(learned for _, one in preview.rows for _, learned in one.parts)


def test_colours_only_add_to_the_signs(tiny: Tiny, rows: Path) -> None:
    preview = preview_tokens(rows, str(tiny.model), Recipe())
    plain, coloured = list(preview.lines(colour=False)), list(preview.lines(colour=True))
    assert [line.removeprefix("\x1b[32m").removesuffix("\x1b[0m") for line in coloured] == plain
    assert {line for line in coloured if "\x1b" in line}
    assert all("\x1b" in line for line in coloured if "> " in line[:7])


def test_rows_that_are_left_out_say_why(tiny: Tiny, rows: Path) -> None:
    preview = preview_tokens(rows, str(tiny.model), Recipe(max_length=8))
    assert all("longer than 8 tokens" in one.length for _, one in preview.rows)


def test_rows_of_each_kind_are_shown_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(sample_source())
    assert prepare_script.main([source, "--preview", "--limit", "30", "--grounded", "40"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    kinds = ("from memory", "with its record", "with another record", "unknown product")
    for kind in kinds:
        assert any(line.startswith(f"{kind}: ") for line in lines)
        assert any(line.endswith(f" {kind}") for line in lines[lines.index("Rows in an epoch") :])
    assert not any("warning" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_rows_without_records_or_refusals_say_what_that_costs(tmp_path: Path) -> None:
    data = write_data(tmp_path / "rows", ANSWERS)
    told = " ".join(preview_messages(data).lines(colour=False))
    assert "forgets how to answer from one" in told
    assert "invents answers" in told
    with_pool(data)
    assert "invents answers" not in " ".join(preview_messages(data).lines(colour=False))


def test_escape_sequences_of_rows_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(
        row(("user", "a\x1b[2Jb"), ("assistant", "c\x1b]0;d")) + "\n"
    )
    assert not any("\x1b" in line for line in preview_messages(tmp_path).lines(colour=False))


def test_without_preview_a_folder_for_the_result_is_needed(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_script.main(["--data", str(rows), "--base", "smollm2"]) == 2
    assert prepare_script.main([str(sample_source())]) == 2
    assert capsys.readouterr().err.count("--out DIR is missing") == 2


def test_the_preview_does_not_wait_for_torch(tiny: Tiny, rows: Path) -> None:
    code = (
        "import sys; from scripts.train import main; "
        "assert main(sys.argv[1:]) == 0; assert 'torch' not in sys.modules"
    )
    given = ["--data", str(rows), "--base", str(tiny.model), "--preview"]
    command = [sys.executable, "-c", code, *given]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
