"""Run `balcao finetune` against a stateful stand-in: requests, messages, records."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import pytest

from engine.backends.registry import Registry
from engine.config import keys, paths, settings
from engine.training.openai.job import JOB_FILE, JobRecord, lock_job, read_job
from tests.configs import openai
from tests.engine.training.openai.conftest import CANARY, KEY_ENV, Run, write_rows
from tests.engine.training.openai.stand_in import Reply, StandIn, Trap, error
from tests.test_imports import HEAVY, loaded_after

UPLOAD, CREATE, LOOK = "POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/"
BALCAO = str(Path(sys.executable).parent / "balcao")


def record_of(data: Path) -> JobRecord:
    record = read_job(data)
    assert record is not None
    return record


def test_from_rows_to_an_engine(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.shutdown = "2027-01-14"
    ran = run(*arguments)
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "model   ft:gpt-4o-mini:org-1:balcao:0001",
        "engine  openai",
        "tokens  1234",
    ]
    assert "(an estimate; prices as of 2026-11-23, not confirmed)" in ran.err
    assert "will shut gpt-4o-mini down on 2027-01-14" in ran.err
    assert "Fine-tuning job is at work: running" in ran.err

    record = record_of(data)
    assert record.files == {"train.jsonl": "file-0001", "valid.jsonl": "file-0002"}
    assert (record.job, record.status, record.trained_tokens) == ("ftjob-0001", "succeeded", 1234)
    assert [(point.step, point.loss) for point in record.curve] == [(3, 2 / 3), (4, 0.5)]
    assert record.ended

    chosen = settings.load()
    engine = Registry(chosen).get("openai")
    row = openai("openai", chosen)
    assert (row.model, row.base_url, row.api_key_env) == (record.model, provider.url, KEY_ENV)
    assert engine.availability().ready
    assert engine.info.title == "Tuned gpt-4o-mini"


def test_what_is_sent(run: Run, provider: StandIn, data: Path, arguments: list[str]) -> None:
    more = ["--suffix", "shop", "--seed", "7", "--epochs", "3", "--learning-rate", "0.5"]
    assert run(*arguments, *more, "--batch-size", "2").code == 0
    assert provider.wrong == []
    assert provider.keys == {f"Bearer {CANARY}"}
    assert list(provider.contents.values()) == [
        (data / "train.jsonl").read_bytes(),
        (data / "valid.jsonl").read_bytes(),
    ]
    (job,) = provider.created
    run_name = record_of(data).run
    assert job == {
        "model": "gpt-4o-mini",
        "training_file": "file-0001",
        "validation_file": "file-0002",
        "suffix": "shop",
        "seed": 7,
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 0.5
                }
            },
        },
        "metadata": {"balcao_run": run_name},
    }  # fmt: skip
    names = [file["filename"] for file in provider.files.values()]
    assert names == [f"balcao-{run_name}-train.jsonl", f"balcao-{run_name}-valid.jsonl"]


def test_without_rows_to_validate_with(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    (data / "valid.jsonl").write_bytes(b"")
    assert run(*arguments).code == 0
    assert "validation_file" not in provider.created[0]
    assert len(provider.files) == 1


def test_a_dry_run_needs_no_key_and_sends_nothing(
    run: Run, provider: StandIn, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_ENV)
    ran = run("finetune", "--data", str(data), "--dry-run", "--epochs", "2", "--price", "10")
    assert ran.code == 0
    assert "12 rows" in ran.out
    assert "at 10 USD a million tokens" in ran.out
    assert "in 2 epochs\n" in ran.out
    assert "2027-01-06" in ran.out  # OpenAI's shutdown dates are shown
    assert provider.lines == []
    assert not (data / JOB_FILE).exists()


def test_invalid_rows_are_reported_and_not_sent(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    with (data / "train.jsonl").open("a") as stream:
        stream.write('{"messages": [{"role": "user", "content": "x"}]}\n{no\n')
    for words in (arguments, ["finetune", "--data", str(data), "--dry-run"]):
        ran = run(*words)
        assert ran.code == 1
        assert "train.jsonl: line 13: the last message is not an assistant message." in ran.err
        assert "train.jsonl: line 14: not valid JSON." in ran.err
    assert provider.lines == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "/nowhere"], "not a folder"),
        (["--epochs", "51"], "--epochs must be 1 to 50"),
        (["--seed", "-1"], "--seed must be"),
        (["--suffix", "x" * 65], "--suffix"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--batch-size", "257"], "--batch-size"),
        (["--base-url", "ftp://x"], "Invalid server address"),
        (["--engine", "catalogue"], "an engine named"),
        (["--engine", "A b"], "small letters"),
        (["--every", "0"], "--every"),
        (["--every", "inf"], "--every"),
        (["--price", "-1"], "--price"),
        (["--api-key-env", "UNSET", "--base-url", ""], "UNSET is not set"),
        (["--cancel"], "no job to cancel"),
    ],
)
def test_wrong_usage(
    run: Run, provider: StandIn, arguments: list[str], words: list[str], told: str
) -> None:
    ran = run(*arguments, *words)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert provider.lines == []


def test_another_address_does_not_get_openais_key(
    run: Run, provider: StandIn, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    ran = run("finetune", "--data", str(data), "--yes", "--base-url", provider.url)
    assert ran.code == 2
    assert "--api-key-env" in ran.err
    assert provider.lines == []


def test_the_packages_address_variable_counts(
    run: Run, provider: StandIn, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
    provider.traps = [Trap("GET /models", error(501, "No list of models"))]
    assert run("finetune", "--data", str(data), "--yes", "--every", "0.01").code == 0
    assert provider.keys == {"Bearer sk-openai"}
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert openai("openai").base_url == provider.url  # the model is there and nowhere else


def test_confirmation_needs_a_terminal(run: Run, provider: StandIn, arguments: list[str]) -> None:
    arguments.remove("--yes")
    ran = run(*arguments)
    assert ran.code == 2
    assert "--yes" in ran.err
    assert provider.count(UPLOAD) == 0


def test_the_user_confirms_before_anything_is_sent(
    provider: StandIn, data: Path, arguments: list[str]
) -> None:
    arguments.remove("--yes")
    for answer, code in (("n", 1), ("y", 0)):
        child = pexpect.spawn(BALCAO, arguments, timeout=30, encoding="utf-8")
        child.expect("about 0.01 USD")
        child.expect(r"start the job\? \[y/N\]")
        assert provider.count(UPLOAD) == 0
        assert not (data / JOB_FILE).exists()
        child.sendline(answer)
        child.expect("nothing was sent" if code else "balcao --engine openai")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code
    assert provider.count(CREATE) == 1


def test_a_failed_job_shows_its_error(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.fate = ("queued", "failed")
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert "has failed: invalid_data: The rows were refused by the moderation." in ran.err
    assert run(*arguments, "--resume").code == 1
    assert provider.count(CREATE) == 1
    assert not paths.engines_file().exists()
    provider.fate = ("succeeded",)
    assert run(*arguments).code == 0
    assert len(list(data.glob("finetune-*.json"))) == 1


def test_a_job_that_is_cancelled_elsewhere(
    run: Run, provider: StandIn, arguments: list[str]
) -> None:
    def cancelled() -> None:
        provider.cancel("ftjob-0001")

    provider.traps = [Trap(LOOK, spring=cancelled)]
    ran = run(*arguments)
    assert ran.code == 1
    assert "was cancelled" in ran.err


def test_cancel_on_request(run: Run, provider: StandIn, data: Path, arguments: list[str]) -> None:
    provider.traps = [Trap(LOOK, error(401, "Revoked"))]
    assert run(*arguments).code == 1
    ran = run(*arguments, "--cancel")
    assert (ran.code, ran.out) == (0, "")
    assert provider.jobs["ftjob-0001"]["status"] == "cancelled"
    assert record_of(data).status == "cancelled"
    assert run(*arguments, "--cancel").code == 0


def test_a_job_that_is_done_cannot_be_cancelled(
    run: Run, provider: StandIn, arguments: list[str]
) -> None:
    assert run(*arguments).code == 0
    ran = run(*arguments, "--cancel")
    assert ran.code == 1
    assert "succeeded" in ran.err
    assert provider.count("POST /fine_tuning/jobs/ftjob-0001/cancel") == 0


def test_a_paused_job_is_reported_once(run: Run, provider: StandIn, arguments: list[str]) -> None:
    provider.fate = ("running", "paused", "paused", "running", "succeeded")
    provider.fate = ("queued", *provider.fate)
    ran = run(*arguments)
    assert ran.code == 0
    assert ran.err.count("the job is paused") == 1


def test_another_job_of_the_same_data_is_not_started_by_accident(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.traps = [Trap(LOOK, error(401, "Revoked"))]
    assert run(*arguments).code == 1
    ran = run(*arguments)
    assert ran.code == 2
    assert "ftjob-0001 on this data is still running" in ran.err
    assert run(*arguments, "--resume").code == 0
    ran = run(*arguments)
    assert ran.code == 2
    assert "used already, for ft:gpt-4o-mini:org-1:balcao:0001" in ran.err
    assert run(*arguments, "--resume").out.startswith("model   ft:gpt-4o-mini")
    assert provider.count(CREATE) == 1

    # With --again, or with other rows: another job and another engine.
    assert run(*arguments, "--again").code == 0
    write_rows(data / "train.jsonl", 20)
    ran = run(*arguments)
    assert ran.out.splitlines()[1] == "engine  openai-3"
    assert provider.count(CREATE) == 3


def test_rows_changed_before_resuming(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.traps = [Trap(UPLOAD, error(401, "Revoked"))]
    assert run(*arguments).code == 1
    write_rows(data / "train.jsonl", 20)
    ran = run(*arguments, "--resume")
    assert ran.code == 1
    assert "has changed" in ran.err
    assert provider.count(UPLOAD) == 1
    assert run(*arguments, "--again").code == 0


def test_the_engine_id_can_be_chosen(run: Run, provider: StandIn, arguments: list[str]) -> None:
    ran = run(*arguments, "--engine", "shop")
    assert ran.out.splitlines()[1] == "engine  shop"
    assert run(*arguments, "--engine", "shop", "--resume").out == ran.out
    ran = run(*arguments, "--engine", "shop", "--again")
    assert (ran.code, "an engine named “shop”" in ran.err) == (2, True)
    assert provider.count(CREATE) == 1


def test_resume_without_a_job_begins_one(run: Run, provider: StandIn, arguments: list[str]) -> None:
    assert run(*arguments, "--resume").code == 0
    assert provider.count(CREATE) == 1


def test_only_one_at_a_time(run: Run, provider: StandIn, data: Path, arguments: list[str]) -> None:
    with lock_job(data):
        ran = run(*arguments)
    assert ran.code == 2
    assert "is running" in ran.err
    assert provider.lines == []


def test_an_invalid_record_is_reported(run: Run, data: Path, arguments: list[str]) -> None:
    for text in ("{", '{"kind": "robot", "settings": {"model": "m"}}'):
        (data / JOB_FILE).write_text(text)
        ran = run(*arguments, "--resume")
        assert ran.code == 1
        assert JOB_FILE in ran.err


def test_a_stored_key_is_used(
    run: Run, provider: StandIn, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_ENV)
    keys.store("SHOP_KEPT_KEY", "sk-kept", in_file=True)
    assert run(*arguments, "--api-key-env", "SHOP_KEPT_KEY").code == 0
    assert provider.keys == {"Bearer sk-kept"}


def test_the_key_is_in_no_output_and_no_file(
    run: Run, provider: StandIn, tmp_path: Path, arguments: list[str]
) -> None:
    """The provider repeats the key wherever it can."""
    provider.say = f"Bearer {CANARY}"
    provider.failure = f"bad {CANARY}"
    said = []
    replies = (
        error(401, f"Incorrect API key: {CANARY}"),
        error(400, f"header {CANARY}"),
        Reply(200, f"<html>{CANARY}", kind="text/html"),
        Reply(200, {"error": f"key {CANARY}"}),
        Reply(418, f"{CANARY}", kind="text/plain"),
    )
    for number, reply in enumerate(replies):
        arguments[2] = str(write_rows(tmp_path / f"rows{number}" / "train.jsonl", 10).parent)
        for line in (UPLOAD, CREATE, LOOK):
            provider.traps = [Trap(line, reply)]
            ran = run(*arguments, "--resume")
            assert ran.code == 1
            said.append(ran)
    provider.fate = ("running", "failed")
    said += [run(*arguments, "--resume"), run(*arguments, "--resume")]
    provider.fate = ("succeeded",)
    said.append(run(*arguments, "--again"))
    assert said[-1].code == 0
    assert not any(CANARY in ran.out + ran.err for ran in said)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"finetune.json", "engines.toml"} <= {file.name for file in written}
    assert not any(CANARY.encode() in file.read_bytes() for file in written)
    record = json.loads((tmp_path / "rows4" / "finetune.json").read_text())
    assert record["status"] == "succeeded"


def test_no_heavy_import_without_a_job() -> None:
    script = (
        "import scripts.finetune, scripts.keys\n"
        "scripts.finetune.make_parser(); scripts.keys.main(['list'])"
    )
    loaded = loaded_after(script)
    assert not loaded & (HEAVY | {"tiktoken", "keyring", "textual", "tui"})
