"""Streams that are closed or full, and arguments that a terminal would obey."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.core import process
from scripts import cli, history
from scripts.common import MOST, ProgressLine, call, notify, say

ROOT = Path(__file__).resolve().parents[2]
_CODE = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
_ESCAPE = "no\x1b]0;x\x07\x9b31m"


def run(*arguments: str, redirected: str) -> subprocess.CompletedProcess[str]:
    """Run `balcao` with the redirections of a shell."""
    quoted = f'exec "$0" -c "$1" "${{@:2}}" {redirected}'
    return subprocess.run(
        ["/bin/bash", "-c", quoted, sys.executable, _CODE, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize(
    "arguments", [("history", "export"), ("engines",), ("--version",), ("--plain",)], ids=" ".join
)
def test_a_full_disk_is_one_sentence(
    arguments: tuple[str, ...], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_CATALOGUE", str(catalogue_dir))
    ended = run(*arguments, redirected="</dev/null >/dev/full")
    assert ended.returncode == 1
    assert ended.stderr == "balcao: input or output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [(("ask", "-"), 0), (("--plain",), 0), ((), 2)], ids=["ask", "plain", ""]
)
def test_a_closed_input_is_an_empty_one(
    arguments: tuple[str, ...], code: int, catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_CATALOGUE", str(catalogue_dir))
    ended = run(*arguments, redirected="<&-")
    assert "Traceback" not in ended.stderr
    assert ended.returncode == code


def test_a_command_without_output_ends() -> None:
    ended = run("engines", redirected=">&- 2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", [[_ESCAPE], [f"--{_ESCAPE}"], ["keys", f"--file={_ESCAPE}"]])
def test_a_wrong_argument_is_not_repeated_to_the_terminal(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = cli.main(arguments)
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2
    assert "no" in said
    assert not {"\x1b", "\x07", "\x9b"} & set(said)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("prepaer", "prepare"),
        ("--contineu", "--continue"),
        ("index x.csv --colums title=a", "--columns"),
        ("runs fllow pt", "follow"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    arguments: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = cli.main(arguments.split())
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said[said.index(f" Did you mean “{meant}”?") - 1] in ".,"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [1, 30, 80])
def test_what_is_printed_above_the_progress_breaks_between_words(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "recipe    quantization auto, " + "double_quantization True, " * 9
    stream = _Terminal()
    with ProgressLine(stream) as line:
        line.print_above(text.strip())
    shown = stream.getvalue().replace("\x1b[K", "").replace("\r", "")
    assert shown.split() == text.split()
    assert columns < 30 or max(map(len, shown.splitlines())) <= columns


@pytest.fixture
def not_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", "/nowhere")
    process.own_command.cache_clear()
    yield
    process.own_command.cache_clear()


@pytest.mark.usefixtures("not_on_the_path")
def test_commands_run_as_printed_without_the_program_on_the_path(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("balcao: Use `balcao keys`. Run: balcao models pull smollm2")
    said = capsys.readouterr().err
    assert re.match(r"balcao: Use `balcao keys`\. Run: \S*/balcao models pull", said)
    printed = said.partition("Run: ")[2]
    assert subprocess.run([*shlex.split(printed)[:-3], "--version"], check=False).returncode == 0


def test_a_long_command_is_continued_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "train", "--data", "a folder/" * 5, "--base", "smollm2", "--out", "models/it's"
    printed = call(*words, indent="  ")
    assert max(map(len, printed.splitlines())) <= 80
    assert shlex.split(printed.replace("\\\n", "")) == ["balcao", *words]


@pytest.mark.parametrize("number", ["0", "9" * 20, "9" * 5000])
def test_a_number_out_of_range_is_wrong_usage(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        history.main(["list", "--limit", number])
    assert "--limit" in capsys.readouterr().err
    assert history.main(["list", "--limit", str(MOST)]) == 0


def test_the_null_device_takes_the_place_of_a_closed_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main([]) == 2
    assert os.devnull == sys.stdin.name
    sys.stdin.close()
    assert "terminal" in capsys.readouterr().err


def test_a_terminal_is_rung_and_a_file_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream, rung in ((_Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr("sys.stdout", stream)
        notify("done; ok\x1b[2J")
        assert stream.getvalue().startswith("\a\x1b]9;balcao: done, ok") == rung
        assert "\x1b[2J" not in stream.getvalue()
