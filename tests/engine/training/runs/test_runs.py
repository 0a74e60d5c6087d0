"""List, view, lock and stop runs, without a model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pexpect
import pytest
from msgspec import to_builtins

from engine.config import edit, paths, settings
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import Manifest, write_manifest
from engine.prompts import PROMPT_VERSION
from engine.training.recipe import Recipe
from engine.training.runs import display
from engine.training.runs.control import add_engine, stop_run
from engine.training.runs.folder import (
    ADAPTER_KIND,
    CHECKPOINTS,
    MetricsWriter,
    RunInputs,
    check_new,
    check_not_done,
    check_resumable,
    is_done,
    lock_holder,
    lock_run,
    write_inputs,
)
from engine.training.runs.status import (
    Check,
    Score,
    StatusFile,
    Usage,
    known_folders,
    register_run,
    track_status,
)
from engine.training.runs.view import (
    MetricsReader,
    find_run,
    list_runs,
    view_run,
)
from scripts.cli import main
from tests.configs import llama
from tests.test_imports import HEAVY, loaded_after

CHILD = """
import sys, time
from pathlib import Path
from engine.training.runs.folder import RunInputs, lock_run, write_inputs
from engine.training.runs.status import track_status
from engine.training.recipe import Recipe
out = Path(sys.argv[1])
with lock_run(out):
    run = RunInputs(base="b", weights={}, data=[], recipe=Recipe(), prompt_version=1)
    write_inputs(out, run)
    with track_status(out, lambda: False) as status:
        status.begin(0, 40)
        status.step(7)
        status.write()
        print("ready", flush=True)
        time.sleep(60)
"""


@contextmanager
def running(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has a run at step 7 of 40."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def begun(out: Path) -> Path:
    """A run that was begun here and has stopped."""
    with lock_run(out):
        run = RunInputs(base="models/llama", weights={}, data=[], recipe=Recipe(), prompt_version=1)
        write_inputs(out, run)
        with track_status(out, lambda: is_done(out)):
            pass
    return out


def finished(out: Path, base: str = "models/llama") -> Path:
    """A run that is done."""
    begun(out)
    scores = {"training": {"asked": 4, "right": 3}, "held_out": {"asked": 2, "right": 0}}
    values = {"base": base, "loss": 0.25, "word_for_word": scores}
    write_manifest(
        out,
        Manifest(kind=ADAPTER_KIND, version=1, settings=values, prompt_version=PROMPT_VERSION),
    )
    return out


def test_a_run_is_alive_while_its_process_is(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out) as process:
        view = view_run(out)
        assert (view.state, view.doing, view.step, view.steps) == ("running", "training", 7, 40)
        assert view.left is not None
        assert lock_holder(out) == process.pid
        with pytest.raises(UsageError, match="is running"), lock_run(out):
            pass
        process.kill()
        process.wait()
        # Its files say what they said; the lock is gone with it.
        assert view_run(out).state == "killed"
        assert view_run(out).left is None


def test_a_run_is_stopped_from_outside(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out) as process:
        stop_run(out)
        assert process.wait(10) == -signal.SIGTERM
    with pytest.raises(UsageError, match="No run is active"):
        stop_run(out)


def test_a_run_of_another_machine_is_not_stopped_by_its_number_here(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out) as process:
        (out / ".train.lock").write_text(f"{process.pid} another-machine")
        with pytest.raises(UsageError, match="another machine"):
            stop_run(out)
        assert process.poll() is None


def test_looking_does_not_prevent_a_run_from_starting(tmp_path: Path) -> None:
    over = threading.Event()

    def look_on() -> None:
        while not over.is_set():
            lock_holder(tmp_path)

    watching = threading.Thread(target=look_on)
    watching.start()
    try:
        for _ in range(50):
            with lock_run(tmp_path):
                pass
    finally:
        over.set()
        watching.join()


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (KeyboardInterrupt(), "stopped", ""),
        (BalcaoError("The disk is full.", "Make room."), "failed", "The disk is full. Make room."),
        (ValueError("a bug\x1b[2J"), "failed", "a bug[2J"),
    ],
)
def test_how_a_run_ended_is_recorded(
    tmp_path: Path, error: BaseException, state: str, words: str
) -> None:
    out = begun(tmp_path / "lora")
    with pytest.raises(type(error)), track_status(out, lambda: False):
        raise error
    assert (view_run(out).state, view_run(out).error) == (state, words)


def test_a_done_run_has_the_scores_of_its_manifest(tmp_path: Path) -> None:
    view = view_run(finished(tmp_path / "lora"))
    assert (view.state, view.loss) == ("done", 0.25)
    assert view.word_for_word == {"training": Score(4, 3), "held_out": Score(2, 0)}


def test_invalid_files_do_not_end_a_run(tmp_path: Path) -> None:
    out = finished(tmp_path / "lora")
    for name in ("status.json", "manifest.json", "metrics.jsonl"):
        (out / name).write_bytes(b"\xff{")
    assert view_run(out).state == "killed"
    metrics = MetricsReader(out)
    metrics.refresh()
    assert metrics.points == []


def test_a_run_whose_folder_is_no_text_trains_unlisted(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff")
    out.mkdir()
    with track_status(out, lambda: True):
        draft = out / f".status.json.{2**22 + 1}.draft"  # of a killed process
        draft.touch()
    register_run(out)
    assert not draft.exists()
    assert known_folders() == []


def test_the_list_has_what_is_there(tmp_path: Path) -> None:
    older, newer = begun(tmp_path / "older"), begun(tmp_path / "newer")
    StatusFile(newer).write()
    gone = begun(tmp_path / "gone")
    shutil.rmtree(gone)
    (paths.runs_dir() / "broken.json").write_bytes(b"{")
    assert [view.folder for view in list_runs()] == [newer, older]
    register_run(older)  # once is enough; what is gone is forgotten
    assert len(list(paths.runs_dir().iterdir())) == 2
    with running(tmp_path / "live"):
        assert [view.name for view in list_runs()] == ["live", "newer", "older"]


def test_many_runs_that_begin_at_once_are_all_listed(tmp_path: Path) -> None:
    outs = [tmp_path / f"run{number}" for number in range(16)]
    threads = [threading.Thread(target=begun, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {view.folder for view in list_runs()} == set(outs)


def test_a_state_folder_that_cannot_be_written_harms_no_run(tmp_path: Path) -> None:
    paths.data_dir().parent.mkdir(parents=True)
    paths.data_dir().write_text("a file")
    assert view_run(begun(tmp_path / "lora")).state == "stopped"
    assert list_runs() == []


def test_a_run_is_found_by_folder_or_by_name(tmp_path: Path) -> None:
    out = begun(tmp_path / "lora")
    assert find_run(str(out)) == out
    assert find_run("lora") == out
    begun(tmp_path / "other" / "lora")
    with pytest.raises(UsageError, match="2 runs"):
        find_run("lora")
    with pytest.raises(UsageError, match="not the folder of a run"):
        find_run(str(tmp_path))
    with pytest.raises(UsageError, match="Unknown run nowhere"):
        find_run("nowhere")


def test_metrics_are_read_while_they_grow(tmp_path: Path) -> None:
    metrics, written = MetricsReader(tmp_path), MetricsWriter(tmp_path, 0)
    assert not metrics.refresh()
    written.add({"step": 1, "loss": 3.0})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert metrics.refresh()
    assert metrics.points == [(1, 3.0)]
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('ss": 2.0}\n')
    row = {"question": "Q?", "said": "a", "wanted": "b", "right": False}
    written.add({"step": 2, "samples": {"training": [row]}})
    assert metrics.refresh()
    assert metrics.points == [(1, 3.0), (2, 2.0)]
    assert (metrics.sampled_at, metrics.samples["training"][0].said) == (2, "a")
    assert not metrics.refresh()
    # A resumed run takes out what came after its checkpoint.
    MetricsWriter(tmp_path, 1).add({"step": 2, "loss": 1.5})
    assert metrics.refresh()
    assert metrics.points == [(1, 3.0), (2, 1.5)]
    assert metrics.samples == {}


def test_runs_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs yet" in capsys.readouterr().err
    out = finished(tmp_path / "lora")
    assert main(["runs"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["RUN", "STATE", "STEP"]
    assert row.split()[:5] == ["lora", "done", "0.2500", "3/4", "0/2"]
    assert row.endswith(str(out))
    assert main(["runs", "--json", "lora"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["folder"]) == ("done", str(out))


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["follow", str(tmp_path)], ["stop", "x"], ["follow"], ["a", "b"], ["list", "a"]):
        assert main(["runs", *words]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
    stopped = begun(tmp_path / "lora")
    assert main(["runs", "stop", str(stopped)]) == 2
    assert main(["runs", "use", str(stopped)]) == 2
    assert "is not done" in capsys.readouterr().err


def test_following_ends_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "lora"
    with running(out) as process:
        killing = threading.Timer(0.3, process.kill)
        killing.start()
        assert main(["runs", "follow", str(out)]) == 1
        killing.join()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("running, step 7 of 40")
    assert lines[-3] == "killed, step 7 of 40"
    assert lines[-1] == f"  balcao train --resume --out {out}"


def test_an_adapter_becomes_an_engine_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path / "My Shop; 2")
    assert main(["runs", "use", str(out)]) == 0
    assert capsys.readouterr().out.split() == ["engine", "lora-my-shop-2"]
    row = llama("lora-my-shop-2")
    assert (row.model, row.adapter) == ("models/llama", str(out.resolve()))
    assert add_engine(out) == "lora-my-shop-2"
    other = finished(tmp_path / "other" / "My Shop; 2")
    assert add_engine(other) == "lora-my-shop-2-2"
    assert edit.engine_of(other) == "lora-my-shop-2-2"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of one product, with its catalogue and another one nearby."""
    monkeypatch.chdir(tmp_path)
    for name, title in (("other", "Oak Shelf"), ("shop", "Copper Kettle")):
        Path(f"{name}.csv").write_text(f"sku,name,description\n1,{title},Made by hand.\n")
        folder = f"catalogues/{name}"
        assert main(["index", f"{name}.csv", "--out", folder, "--no-meaning"]) == 0
    out = finished(tmp_path / "models" / "lora")
    values = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    products = [{"uid": "1", "title": "Copper Kettle"}]
    (out / "manifest.json").write_text(json.dumps(values | {"products": products}))
    return out


def test_an_adapter_becomes_an_engine_with_the_catalogue_of_its_products(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = str(Path("catalogues/shop").resolve())
    capsys.readouterr()
    assert main(["runs", "use", str(shop)]) == 0
    said = capsys.readouterr()
    assert f"catalogue {own}" in said.out
    assert "balcao --engine lora-lora --memory\n" in said.err
    assert settings.load(flags={"engine": "lora-lora"}).catalogue == own
    assert settings.load().catalogue is None
    chosen = {"engine": "lora-lora", "catalogue": "elsewhere"}
    assert settings.load(flags=chosen).catalogue == "elsewhere"
    shutil.rmtree(own)
    assert settings.load(flags={"engine": "lora-lora"}).catalogue is None


def test_the_users_own_catalogue_comes_first(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / "a" / "b" / "c" / "far"
    shutil.copytree("catalogues/shop", far)
    monkeypatch.setenv("BALCAO_CATALOGUE", str(far))
    assert main(["runs", "use", str(shop)]) == 0
    assert settings.load().engines["lora-lora"]["catalogue"] == str(far)


def test_the_catalogue_of_other_products_is_not_taken(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "use", str(shop), "--catalogue", "catalogues/other"]) == 2
    assert "holds none of the products of" in capsys.readouterr().err
    shutil.rmtree("catalogues")
    assert main(["runs", "use", str(shop)]) == 0
    assert "--catalogue DIR" in capsys.readouterr().err
    assert main(["index", "shop.csv", "--out", "new", "--no-meaning"]) == 0
    assert main(["runs", "use", str(shop), "--catalogue", "new"]) == 0
    assert settings.load().engines["lora-lora"]["catalogue"] == str(Path("new").resolve())


def test_an_adapter_of_smollm2_finds_it_on_any_machine(tmp_path: Path) -> None:
    engine_id = add_engine(finished(tmp_path / "mine", base="smollm2"))
    assert llama(engine_id).model == "smollm2"


def test_an_engines_id_is_not_taken_from_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path / "lora")
    assert main(["runs", "use", str(out), "--engine", "base"]) == 2
    assert main(["runs", "use", str(out), "--engine", "No Id"]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["runs", "use", str(out), "--engine", "shop"]) == 0
    assert main(["runs", "use", str(out), "--engine", "shop"]) == 0
    assert "shop" in settings.load().engines


def test_a_folder_where_a_run_is_alive_or_done_is_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    run = RunInputs(base="b", weights={}, data=[], recipe=Recipe(), prompt_version=1)
    with running(out):
        with pytest.raises(UsageError, match=r"is running.*balcao runs"):
            check_new(out)
        with pytest.raises(UsageError, match=r"is running.*balcao runs"):
            check_resumable(out, run)
    check_resumable(out, run)
    (out / CHECKPOINTS / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(UsageError, match="--resume"):
        check_new(out)
    check_not_done(out)
    with pytest.raises(UsageError, match="is done"):
        check_not_done(finished(tmp_path / "done"))


def test_a_full_disk_is_said_as_the_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".train.lock").symlink_to("/dev/full")
    with pytest.raises(BalcaoError, match="Cannot write"), lock_run(tmp_path):
        pass


def test_a_terminal_gets_a_curve_that_is_drawn_in_its_place(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out):
        metrics = MetricsWriter(out, 0)
        for step in range(1, 8):
            metrics.add({"step": step, "loss": 8.0 / step})
        command = ["-m", "scripts.cli", "runs", "follow", str(out)]
        environ = os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        seen = pexpect.spawn(
            sys.executable, command, env=environ, dimensions=(24, 60), encoding="utf-8", timeout=30
        )
        seen.expect_exact("lora   running   step 7 of 40")
        seen.expect_exact(" 8.000 ┤")
        seen.expect("\x1b\\[[0-9]+A\r\x1b\\[J")  # up to its first line, and again
        drawn = seen.before
        seen.sendintr()
        seen.expect("the run continues")
        seen.expect(pexpect.EOF)
        assert "stopped" not in seen.before
        seen.close()
        assert seen.exitstatus == 130
        assert max(map(len, drawn.splitlines())) < 60
        assert lock_holder(out) is not None


def test_keys_leave_a_run_and_stop_it(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out) as process:
        command = ["-m", "scripts.cli", "runs", "follow", str(out)]
        environ = os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}

        def follow() -> pexpect.spawn[str]:
            seen = pexpect.spawn(sys.executable, command, env=environ, encoding="utf-8", timeout=30)
            seen.expect_exact("Q leave")
            return seen

        seen = follow()
        seen.send("q")
        seen.expect_exact("balcao: the run continues.")
        seen.expect(pexpect.EOF)
        seen.close()
        assert seen.exitstatus == 0
        seen = follow()
        seen.send("s")
        seen.expect_exact("S again")
        assert process.poll() is None
        seen.send("s")
        seen.expect_exact("killed")  # this process saves nothing
        seen.expect(pexpect.EOF)
        assert process.wait() == -signal.SIGTERM
        seen.close()
        assert seen.exitstatus == 1


def test_a_run_is_described_with_what_it_gained_and_uses(tmp_path: Path) -> None:
    out = tmp_path / "lora"
    with running(out):
        status, metrics = StatusFile(out), MetricsWriter(out, 0)
        for step, right in ((300, 77), (312, 83)):
            check = Check(
                step=step,
                learned=Score(100, right),
                refused=Score(100, 97),
                loss=0.1,
                held_out_loss=2.31,
            )
            metrics.add({"step": step, "check": to_builtins(check)})
        status.begin(0, 600)
        status.logged(0.0412, 412.3, Usage(2_100_000_000, 23_000_000_000, 2))
        status.checked(check)
        said = {"question": "?", "title": "Left Bank Beret", "right": False}
        texts = {"said": "A soft warm wool hat.", "wanted": "A soft warm felt hat."}
        metrics.add({"step": 312, "samples": {"training": [said | texts]}})
        reader = MetricsReader(out)
        reader.refresh()
        view = replace(view_run(out), left=720.0, age=0.0)
        head, *facts = display.facts(view, reader.before, 79)
    assert re.fullmatch(r"lora   running   step 0 of 600   12 min left \(until .*\d:\d\d\)", head)
    assert facts == [
        "loss      0.0412   held out 2.31",
        "learned   83 of 100 answers word for word   (+6 since step 300)",
        "refused   97 of 100 unknown titles",
        "memory    2.1 GB of 23.0 GB   2 cores   412 tokens/s",
    ]
    narrow = display.facts(view, reader.before, 44)
    assert max(map(len, narrow)) <= 44
    assert display.sample_lines(reader, 60) == [
        ("≈", "Left Bank Beret  1 slip: “wool” for “felt”"),
    ]
    assert display.sample_lines(reader, 30) == [("≈", "Left Bank Beret  1 slip: “w…")]


def test_no_heavy_import_to_look_at_runs() -> None:
    assert not loaded_after("import scripts.runs, tui.screens.runs, tui.commands.actions") & HEAVY


def test_a_full_disk_does_not_hide_how_a_run_ended(tmp_path: Path) -> None:
    out = begun(tmp_path / "lora")
    # The draft that replaces the status.
    (out / f".status.json.{os.getpid()}.draft").symlink_to("/dev/full")
    StatusFile(out).end("failed", "The disk is full.")
    assert (view_run(out).state, view_run(out).error) == ("failed", "The disk is full.")
    assert not list(out.glob("*.draft"))
