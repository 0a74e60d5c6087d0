"""Failures of a provider: messages, retries, and no request that takes effect twice."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from engine.training.openai.job import JOB_FILE
from tests.engine.training.openai.conftest import Run
from tests.engine.training.openai.stand_in import Reply, StandIn, Trap, error

UPLOAD, CREATE, LOOK = "POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/"
LOG_IN = "<!DOCTYPE html><html><body>Welcome to the hotel</body></html>"
HANG_UP = Reply(0)
STALL = Reply(0, seconds=0.6)

FINAL: dict[str, tuple[Reply, str, str]] = {
    "401": (error(401, "Incorrect key"), "rejected the API key in SHOP_TEST_KEY", "keys set"),
    "403": (
        error(403, "Your organization is not allowed"),
        "does not let this account fine-tune “gpt-4o-mini”",
        "balcao train",
    ),
    "closed, as 400": (
        error(400, "Fine-tuning is no longer available to new organizations."),
        "does not let this account fine-tune",
        "--base-url",
    ),
    "404 model": (
        error(404, "The model `gpt-4o-mini` does not exist", "model_not_found"),
        "does not serve the model “gpt-4o-mini”",
        "--model",
    ),
    "404": (error(404, "Not Found"), "did not find the file or job", "does not fine-tune"),
    "no credit": (
        error(429, "You exceeded your quota", "insufficient_quota"),
        "no credit left",
        "--resume",
    ),
    "429 for an hour": (error(429, "Slow down", retry_after="3600"), "Too many requests", "Wait"),
    "413": (Reply(413, "too big", kind="text/plain"), "too large", "fewer rows"),
    "400": (error(400, "Invalid suffix"), "refused the job (status 400): “Invalid suffix”", ""),
    "HTML with 200": (Reply(200, LOG_IN, kind="text/html"), "unexpected answer", "log-in"),
    "HTML as JSON": (Reply(200, LOG_IN), "unexpected answer", "log-in"),
    "a list with 200": (Reply(200, []), "unexpected answer", "/v1"),
    "an error with 200": (Reply(200, {"error": "No luck"}), "unexpected answer: “No luck”", "/v1"),
    "nothing with 200": (Reply(200, {}), "unexpected answer", "/v1"),
}


@pytest.mark.parametrize(
    ("line", "reply", "told", "remedy"),
    [(CREATE, *final) for final in FINAL.values()]
    + [(UPLOAD, *FINAL[name]) for name in ("401", "403", "413", "HTML with 200")],
)
def test_final_errors_are_not_retried(
    run: Run, provider: StandIn, arguments: list[str], line: str, reply: Reply, told: str,
    remedy: str,
) -> None:  # fmt: skip
    provider.fate = ("succeeded",)
    provider.traps = [Trap(line, reply)]
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    last = ran.err.splitlines()[-1]
    assert told in last
    assert remedy in last
    assert "<" not in last
    assert provider.count(line) == 1
    assert run(*arguments, "--resume").code == 0
    assert (len(provider.files), len(provider.jobs)) == (2, 1)


PASSING: dict[str, Trap] = {
    "429": Trap("", error(429, "Slow down", retry_after_ms="10")),
    "500 without effect": Trap("", error(500, "Oops")),
    "503 page without effect": Trap("", Reply(503, LOG_IN, kind="text/html")),
    "409 without effect": Trap("", error(409, "Conflict")),
    "500 after it was done": Trap("", error(500, "Oops"), after=True),
    "409 after it was done": Trap("", error(409, "Exists already"), after=True),
    "hangs up after it was done": Trap("", HANG_UP, after=True),
    "hangs up before": Trap("", HANG_UP),
    "silent after it was done": Trap("", STALL, after=True),
}


@pytest.mark.parametrize(
    ("line", "trap"),
    [(CREATE, trap) for trap in PASSING.values()]
    + [(UPLOAD, PASSING[name]) for name in PASSING if "after" in name],
)
def test_passing_errors_are_retried_without_duplicates(
    run: Run, provider: StandIn, arguments: list[str], line: str, trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__STALL_TIMEOUT", "0.3")
    if trap.reply and not trap.reply.seconds:
        monkeypatch.setenv("BALCAO_ENGINES__OPENAI__STALL_TIMEOUT", "30")
    provider.fate = ("succeeded",)
    provider.traps = [Trap(line, trap.reply, trap.after)]
    ran = run(*arguments)
    assert ran.code == 0
    assert provider.traps == []
    assert (len(provider.files), len(provider.jobs)) == (2, 1)
    assert provider.count(line) == (2 if line == UPLOAD else 1) + (not trap.after)


def test_a_stalled_request_is_reported_and_resumed(
    run: Run, provider: StandIn, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__STALL_TIMEOUT", "0.3")
    for line in (UPLOAD, CREATE):
        provider.traps = [Trap(line, STALL)]
        ran = run(*arguments, "--resume")
        assert ran.code == 1
        assert "sent nothing" in ran.err
        assert "--resume" in ran.err
    assert run(*arguments, "--resume").code == 0
    assert (len(provider.files), len(provider.jobs)) == (2, 1)


@pytest.mark.parametrize("reply", [error(500, "Oops"), error(429, "Slow"), HANG_UP])
def test_a_server_that_is_gone_for_a_while_is_followed_again(
    run: Run, provider: StandIn, arguments: list[str], reply: Reply
) -> None:
    provider.traps = [Trap(LOOK, reply)]
    ran = run(*arguments)
    assert ran.code == 0
    assert "Fine-tuning job is at work: succeeded" in ran.err


def test_an_outage_is_reported(run: Run, provider: StandIn, arguments: list[str]) -> None:
    provider.traps = [Trap(LOOK, HANG_UP) for _ in range(2)]
    ran = run(*arguments)
    assert ran.code == 0
    assert ran.err.count("trying again") == 1


def test_a_file_that_is_not_ready_yet(run: Run, provider: StandIn, arguments: list[str]) -> None:
    provider.traps = [Trap(CREATE, error(400, "File 'file-0001' is still being processed."))]
    assert run(*arguments).code == 0
    assert len(provider.jobs) == 1


def test_other_providers_need_not_list_their_models(
    run: Run, provider: StandIn, arguments: list[str]
) -> None:
    """Such a provider refuses the job itself."""
    ran = run(*arguments, "--model", "no-such-model")
    assert ran.code == 0
    assert provider.created[0]["model"] == "no-such-model"


def test_files_and_jobs_are_found_among_others(
    run: Run, provider: StandIn, arguments: list[str]
) -> None:
    provider.page = 2
    provider.traps = [Trap(UPLOAD, HANG_UP, after=True), Trap(CREATE, HANG_UP, after=True)]

    def others() -> None:
        for number in range(5):
            provider.take_file({"purpose": "fine-tune", "file": (f"other{number}", b"x")})
            other = {"model": "m", "training_file": "file-0002", "method": {"type": "supervised"}}
            provider.take_job(other)

    provider.traps.append(Trap("GET /files", spring=others))
    provider.traps.append(Trap("GET /fine_tuning/jobs", spring=others))
    assert run(*arguments).code == 0
    mine = [name for name in _names(provider) if name.startswith("balcao-")]
    assert len(mine) == len(set(mine)) == 2
    assert len([job for job in provider.created if job["model"] == "gpt-4o-mini"]) == 1


def _names(provider: StandIn) -> list[str]:
    return [file["filename"] for file in provider.files.values()]


def test_many_events_come_in_pages_and_each_once(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.page = 1
    ran = run(*arguments)
    assert ran.code == 0
    told = [line for line in ran.err.splitlines() if line.startswith("Fine-tuning job")]
    assert told == [f"Fine-tuning job is at work: {state}" for state in provider.fate]
    curve = json.loads((data / JOB_FILE).read_text())["curve"]
    assert [point["step"] for point in curve] == [3, 4]


def test_a_slow_upload_is_no_stall(
    run: Run, provider: StandIn, data: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three megabytes in pieces, each well within the limit, all together well beyond it."""
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__STALL_TIMEOUT", "0.5")
    row = json.loads((data / "train.jsonl").read_text().splitlines()[0])
    with (data / "train.jsonl").open("a") as stream:
        for number in range(20):
            row["messages"][1]["content"] = f"Long {number}"
            row["messages"][2]["content"] = f"{number} " + "word " * 32_000
            stream.write(json.dumps(row) + "\n")
    provider.upload_seconds = 0.02
    assert run(*arguments).code == 0
    assert provider.contents["file-0001"] == (data / "train.jsonl").read_bytes()


def test_an_unreachable_server(
    run: Run, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_ENGINES__OPENAI__MAX_RETRIES", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/v1"
        ran = run(*arguments, "--base-url", url)
    assert ran.code == 1
    assert "Cannot reach" in ran.err
    assert "secret" not in ran.err


def test_refused_fields_are_left_out(run: Run, provider: StandIn, arguments: list[str]) -> None:
    extra = {"detail": [{"loc": ["body", "metadata"], "msg": "Extra inputs are not permitted"}]}
    provider.traps = [
        Trap(CREATE, Reply(422, extra)),
        Trap(CREATE, error(400, "Unknown parameter: 'method'.", "unknown_parameter")),
        # The stand-in, like OpenAI's description, wants nothing more than model and file.
    ]
    ran = run(*arguments, "--epochs", "2")
    assert ran.code == 0
    (job,) = provider.created
    assert job == {
        "model": "gpt-4o-mini",
        "training_file": "file-0001",
        "validation_file": "file-0002",
        "suffix": "balcao",
        "seed": 0,
        "hyperparameters": {"n_epochs": 2},
    }
    assert "refuses `method`: left out" in ran.err
