"""`balcao models` in a process: download, interrupt, kill, list, remove."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.config import keys, paths
from engine.config.paths import hub_cache
from engine.core.files import Manifest, write_manifest
from engine.models.pull import Hub, look_up, pull
from engine.prompts import PROMPT_VERSION
from scripts import models
from tests.engine.backends.llama.tiny import ROOT, Tiny
from tests.engine.models.conftest import MEGABYTE, blobs
from tests.engine.models.hub import FakeHub

WEIGHTS = "model.safetensors"
CANARY = "hf_canary_1234567890"


def start(hub: FakeHub, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.models", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": hub.url, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise TimeoutError


def settings(text: str) -> None:
    paths.config_dir().mkdir(parents=True, exist_ok=True)
    paths.settings_file().write_text(text, encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="signals of a POSIX system")
def test_stopped_and_killed_download_resumes(hub: FakeHub) -> None:
    """The stored token is sent and never shown."""
    keys.store("HF_TOKEN", CANARY, in_file=True)
    hub.gated, hub.tokens, hub.accepted, hub.licence = "auto", {CANARY}, {CANARY}, "llama2"
    hub.stall = 11 * MEGABYTE
    said = ""

    def parts() -> list[Path]:
        return list(blobs(hub).glob("*.incomplete"))

    for number in (signal.SIGINT, signal.SIGKILL):
        with start(hub, "pull", hub.model) as fetching:
            assert hub.stalled.wait(60)
            hub.stalled.clear()
            until(lambda: [file.stat().st_size for file in parts()] == [11 * MEGABYTE])
            fetching.send_signal(number)
            out, err = fetching.communicate(timeout=60)
            said += out + err
        assert fetching.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert out == ""
        assert [file.stat().st_size for file in parts()] == [11 * MEGABYTE]
    assert "Run the command again to resume the download." in said
    assert [one.range for one in hub.downloads(WEIGHTS)] == ["", f"bytes={11 * MEGABYTE}-"]
    hub.stall = None
    with start(hub, "pull", hub.model) as fetching:
        out, err = fetching.communicate(timeout=60)
    assert fetching.returncode == 0
    assert Path(out.strip(), WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert "Licence: llama2" in err
    assert f'Set `model` to "{hub.model}", under [engines.base] in {paths.settings_file()}.' in err
    assert CANARY not in said + out + err
    assert not any("agent" in one.path for one in hub.asked)
    assert hub.downloads(WEIGHTS)[-1].range == f"bytes={11 * MEGABYTE}-"


def test_offline_and_wrong_id(hub: FakeHub) -> None:
    with start(hub, "pull", hub.model, HF_HUB_OFFLINE="1") as fetching:
        _, err = fetching.communicate(timeout=60)
    assert fetching.returncode == 1
    assert "in offline mode. Unset HF_HUB_OFFLINE" in err
    assert models.main(["pull", "no-id"]) == 2
    assert not hub.asked


def entries(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert models.main(["--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def test_list_shows_settings_and_disk(
    hub: FakeHub, to: Hub, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pull(to, look_up(to, hub.model, "main"), lambda _: None)
    other = hub_cache() / "models--someone--bert"
    (other / "refs").mkdir(parents=True)
    (other / "refs" / "main").write_text("c1")
    (other / "snapshots" / "c1").mkdir(parents=True)
    (other / "snapshots" / "c1" / "config.json").write_text('{"model_type": "bert"}')
    part = hub_cache() / "models--meta-llama--Llama-2-7b-chat-hf" / "blobs" / "x.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(3_000_000))
    settings(
        f"[engines.tiny]\nkind = 'llama'\nmodel = '{tiny.model}'\nadapter = '{tiny.adapter}'\n"
        f"[engines.gone]\nkind = 'llama'\nmodel = '{tmp_path / 'nowhere'}'\n"
    )
    found = entries(capsys)
    gated = found["meta-llama/Llama-2-7b-chat-hf"]
    assert (gated["whole"], gated["bytes"]) == (False, 3_000_000)
    assert (gated["used_by"], found["smollm2"]["used_by"]) == ([], ["base", "lora"])
    assert gated["problem"] == "Incomplete: 3.0 MB downloaded."
    assert gated["remedy"] == "Resume: balcao models pull meta-llama/Llama-2-7b-chat-hf"
    own = found[str(tiny.model)]
    assert (own["kind"], own["precision"], own["used_by"]) == ("llama", "fp32", ["tiny"])
    assert own["whole"]
    adapter = found[str(tiny.adapter)]
    assert (adapter["kind"], adapter["whole"], adapter["used_by"]) == ("adapter", True, ["tiny"])
    assert not found[str(tmp_path / "nowhere")]["whole"]
    fetched = found[hub.model]
    assert (fetched["whole"], fetched["precision"], fetched["used_by"]) == (True, "bf16", [])
    assert fetched["bytes"] > 12_000_000
    assert (found["someone/bert"]["kind"], found["someone/bert"]["whole"]) == ("bert", False)
    assert models.main([]) == 0
    said = capsys.readouterr()
    assert "llama · bf16 · 12.6 MB · ready · unused" in said.out
    assert str(hub_cache()) in said.err


def test_remove(hub: FakeHub, to: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    stored = blobs(hub).parent
    pull(to, look_up(to, hub.model, "main"), lambda _: None)
    # pytest's standard input is not a terminal.
    assert models.main(["remove", hub.model]) == 2
    assert stored.exists()
    assert models.main(["remove", hub.model, "--yes"]) == 0
    assert "12.6 MB freed" in capsys.readouterr().err
    assert not stored.exists()
    assert hub.model not in entries(capsys)
    assert models.main(["remove", hub.model, "--yes"]) == 1


def test_conversions_are_listed_and_removed_with_their_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("org/name", str(own)):
        copy = paths.cache_dir() / "llama.cpp" / f"{Path(name).name}-1234"
        copy.mkdir(parents=True)
        (copy / "model.gguf").write_bytes(bytes(2_000_000))
        made_from = {"model": name, "precision": "nf4"}
        write_manifest(
            copy,
            Manifest(
                kind="llama.cpp model", version=1, settings=made_from, prompt_version=PROMPT_VERSION
            ),
        )
    found = entries(capsys)
    assert found["org/name"]["kind"] == "copy for llama.cpp"
    assert found[str(own)]["precision"] == "nf4"
    for name in ("org/name", str(own)):
        assert models.main(["remove", name, "--yes"]) == 0
    assert own.exists()
    assert not list((paths.cache_dir() / "llama.cpp").iterdir())


def test_remove_refuses_other_folders() -> None:
    hub_cache().mkdir(parents=True)
    for wrong in (str(hub_cache()), "../x", "models"):
        assert models.main(["remove", wrong, "--yes"]) == 2
    assert hub_cache().exists()
