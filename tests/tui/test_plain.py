"""The plain chat: over a pipe, in a real terminal, and where a terminal can do no more."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config import paths, settings
from engine.core.errors import UsageError
from engine.core.types import Piece, StopReason
from engine.store.conversations import ConversationStore
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.terminals import ROOT, UTF8, terminal
from tui.commands import slash
from tui.commands.actions import index_of
from tui.commands.table import PLAIN_COMMANDS
from tui.plain.chat import AnswerWriter, PlainChat, run
from tui.plain.terminal import LineTerminal

RECORD = ROWS[0][2]


def transcript(catalogue: Path, *lines: str, typed: str = "") -> list[str]:
    """What is said while these lines are asked, one after the other."""
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue})
    return transcript_of(chosen, *lines, typed=typed)


def transcript_of(chosen: settings.Settings, *lines: str, typed: str = "") -> list[str]:
    """What is said with these settings."""
    said = io.StringIO()
    terminal = LineTerminal(io.StringIO("\n".join(lines) + "\n"), said)
    chat = PlainChat(Session(chosen, open_resources(chosen)), terminal)
    try:
        chat.converse(typed)
    finally:
        chat.close()
    return said.getvalue().splitlines()


def test_a_question_its_answer_and_its_record(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "the tin lighthouse", "/record", "/original")
    assert said[0] == "You: the tin lighthouse"
    assert said[1] == f"Catalogue: {RECORD}"
    assert said[2].startswith("(word for word · ")
    assert said[3] == "Record: The Tin Lighthouse (1000000001). /record shows it."
    assert said[5:7] == ["The Tin Lighthouse (1000000001):", RECORD]
    assert said[8] == "The Tin Lighthouse (1000000001), as in the data set:"


def test_several_are_picked_by_number_and_read_by_number(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "Striped Apron", "/record 2", "2", "/record 9")
    assert "Woven from cotton ends; no two alike." in said
    assert "Catalogue: Woven from cotton ends; no two alike." in said
    assert said[-1] == "Type a number from 1 to 1."


def test_titles_are_listed(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "/list canvas", "/list zebra", "/list")
    assert sorted(said[1:3]) == ["Canvas Stool, Blue", "Canvas Stool, Green"]
    assert said[4:6] == ["No product matches.", "You: /list"]
    assert len(said[6:]) == len(ROWS)


def test_old_settings_are_explained_at_the_start(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    flags = {"catalogue": catalogue_dir, "demo": True}
    run(settings.load(Path("none"), {}, flags))
    assert capsys.readouterr().out.count("smollm2 has replaced the demo model") == 1


def test_engines_and_modes_are_changed_by_name(catalogue_dir: Path) -> None:
    said = transcript(
        catalogue_dir, "/engine openai", "/mode", "/mode memory", "/engine nobody", "/mode x"
    )
    assert said[1].endswith("choose sentences of the record for follow-up questions.")
    assert said[2].startswith("Not available: ")
    assert said[4] == "OpenAI answers. Models see the record."
    assert said[7].endswith("only the question.")
    assert said[-3].startswith("There is no engine “nobody”")
    assert said[-1].startswith("There is no mode “x”")


def test_conversations_are_kept_listed_and_gone_on_with(catalogue_dir: Path) -> None:
    transcript(catalogue_dir, "Empty Shelf", "/new", "the tin lighthouse")
    said = transcript(catalogue_dir, "/history tin", "/open 1", "who wrote it?", "/history")
    assert said[1].endswith("the tin lighthouse (1 question)")
    assert "You: the tin lighthouse" in said
    assert any("Ada Quillfeather" in line for line in said[said.index("You: who wrote it?") :])
    assert said[-3].endswith("the tin lighthouse (2 questions)")


def test_one_question_to_every_engine_and_the_lot_as_markdown(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "/compare canvas stool blue", "/export", "/copy")
    assert "The catalogue's record, Canvas Stool, Blue (1000000005):" in said
    assert "Catalogue: Folds flat and floats." in said
    written = next(line.removeprefix("Written to ") for line in said if line.startswith("Written"))
    assert "Folds flat and floats." in Path(written).read_text(encoding="utf-8")
    assert said[-1].startswith("Copied to ")


def test_one_more_answer_to_the_last_question(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "/regenerate", "canvas stool blue", "/regenerate", "/open 1")
    assert said[1] == "There is no question yet."
    assert said.count("Catalogue: Folds flat and floats.") == 2
    said = transcript(catalogue_dir, "/history floats", "/open 1", "/export json", "/export x")
    assert said.count("Catalogue: Folds flat and floats.") == 2
    written = Path(said[-3].removeprefix("Written to "))
    assert len(json.loads(written.read_text(encoding="utf-8"))["conversations"]) == 1
    assert said[-1] == "Choose one of markdown, json."


def test_answers_are_switched_and_names_may_be_cut_short(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "canvas stool blue", "/prev", "/regen", "/prev", "/copy_r")
    assert said[4] == "You: /prev"
    assert said[5] == "This question has one answer. /regenerate asks again."
    assert said.count("Catalogue: Folds flat and floats.") == 3
    assert said[-1].startswith("Copied to ")


def test_slips_are_told_and_do_no_harm(catalogue_dir: Path) -> None:
    said = transcript(
        catalogue_dir, "/nonsense", "/open 1", "/record", "/copy", "/export", "/compare", "",
        "//nonsense", "/help", "/quit", "never said",
    )  # fmt: skip
    assert said[1].startswith("Unknown command /nonsense")
    assert any(line.startswith("Catalogue: No product matches “/nonsense”.") for line in said)
    assert all(
        any(line.startswith(f"/{slash.called(one)}") for line in said) for one in PLAIN_COMMANDS
    )
    assert said[-1] == "You: /quit"


def test_a_backslash_goes_on_and_what_was_typed_before_comes_first(catalogue_dir: Path) -> None:
    said = transcript(catalogue_dir, "lighthouse", typed="Empty Shelf\nthe tin ")
    assert said[0] == "You: Empty Shelf"
    assert f"Catalogue: {RECORD}" in said
    said = transcript(catalogue_dir, "the tin\\", "lighthouse")
    assert f"Catalogue: {RECORD}" in said


def test_nothing_that_acts_on_a_terminal_is_said(catalogue_dir: Path) -> None:
    said = "".join(transcript(catalogue_dir, "Bell Tower", "/record", "/original", "\x1b[2J"))
    assert "Rings" in said
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)


def test_a_blank_before_the_first_word_is_not_said_twice() -> None:
    said = io.StringIO()
    writer = AnswerWriter(LineTerminal(io.StringIO(), said), "Base Llama")
    for text in (" ", " Two ", " coats"):
        writer.write(Piece(text))
    writer.end()
    assert said.getvalue() == "Base Llama: Two  coats\n"


def test_half_a_word_is_held_back_until_the_rest_of_it_is_there() -> None:
    said = io.StringIO()
    terminal = LineTerminal(io.StringIO(), said)
    terminal.stream("One ca")
    assert said.getvalue() == "One "
    terminal.stream("t\n")
    assert said.getvalue() == "One cat\n"


def test_over_a_pipe_without_any_locale(tmp_path: Path, catalogue_dir: Path) -> None:
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    ended = subprocess.run(
        [sys.executable, "-c", code, "--plain", "--catalogue", str(catalogue_dir)],
        input="O Jardim de Inverno\n".encode("latin-1"),
        env=clean | {"LC_ALL": "C", "PYTHONUTF8": "0", "BALCAO_HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert ended.stdout.isascii()
    assert b"Uma fam?lia herda uma estufa e n?o sabe" in ended.stdout
    assert ended.stderr == b""


@pytest.mark.parametrize(
    ("environ", "flag"),
    [({"TERM": "dumb"}, []), ({"BALCAO_PLAIN": "1"}, []), ({"NO_COLOR": "1"}, ["--plain"])],
)
def test_in_a_terminal(
    tmp_path: Path, catalogue_dir: Path, environ: dict[str, str], flag: list[str]
) -> None:
    arguments = [*flag, "--catalogue", str(catalogue_dir)]
    with terminal(*arguments, home=tmp_path, environ=UTF8 | environ) as chat:
        chat.expect("You: ")
        drawn = chat.before
        assert "line by line" in drawn.decode()
        chat.sendline("empty shelfx\bx\x7f\x7f")
        chat.expect("/record shows it")
        drawn += chat.before
        chat.expect("You: ")
        chat.sendintr()
        chat.expect("quits")
        chat.expect("You: ")
        chat.sendeof()
        chat.expect(pexpect.EOF)
    assert chat.exitstatus == 0
    if environ.get("TERM") == "dumb":
        assert b"\x1b" not in drawn


def test_a_terminal_breaks_lines_between_words(tmp_path: Path, catalogue_dir: Path) -> None:
    arguments = ["--plain", "--catalogue", str(catalogue_dir)]
    with terminal(
        *arguments, home=tmp_path, environ={**UTF8, "TERM": "dumb"}, size=(24, 22)
    ) as chat:
        chat.expect("You: ")
        chat.sendline("the tin lighthouse")
        chat.expect("Catalogue:")
        chat.expect(r"\(word")
        lines = chat.before.decode().splitlines()
        chat.sendeof()
    assert len(lines) > 2
    assert " ".join(line.strip() for line in lines).strip() == RECORD
    assert max(len(line) for line in lines[1:]) <= 22


async def test_ctrl_c_stops_the_answer_and_keeps_what_came(catalogue_dir: Path) -> None:
    async with scripted.running() as server:
        server.always = scripted.stalled(scripted.words("Half an answer "))
        environ = UTF8 | {
            "BALCAO_ENGINE": "openai",
            "BALCAO_ENGINES__OPENAI__MODEL": "m",
            "BALCAO_ENGINES__OPENAI__BASE_URL": server.url,
        }
        await asyncio.to_thread(_stop_an_answer, catalogue_dir, paths.data_dir().parent, environ)
        assert server.asked[0].left.is_set()
    store = ConversationStore(paths.conversations_file())
    answer = store.open(store.latest()[0].id).turns[0].answer
    store.close()
    assert answer is not None
    assert (answer.text, answer.stop_reason) == ("Half an answer", StopReason.CANCELLED)


def _stop_an_answer(catalogue: Path, home: Path, environ: dict[str, str]) -> None:
    with terminal("--plain", "--catalogue", str(catalogue), home=home, environ=environ) as chat:
        chat.expect("You: ")
        chat.sendline("canvas stool blue")
        chat.expect("OpenAI: Half an answer")
        chat.sendintr()
        chat.expect("stopped by you.*Stopped")
        chat.expect("You: ")
        chat.sendline("/engine catalogue")
        chat.expect("You: ")
        chat.sendline("canvas stool blue")
        chat.expect("Catalogue: Folds flat and floats.")
        chat.expect("You: ")
        chat.sendline("/quit")
        chat.expect(pexpect.EOF)


def test_a_number_of_5000_digits_is_out_of_range() -> None:
    assert index_of("3", 3) == 2
    assert index_of("003", 3) == 2
    for number in ("9" * 5000, "0", "4", "²", "-1", ""):
        with pytest.raises(UsageError, match="from 1 to 3"):
            index_of(number, 3)
