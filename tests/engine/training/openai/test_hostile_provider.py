"""What a careless or hostile provider sends is checked before it is shown or stored."""

from __future__ import annotations

import gzip
import json
import stat
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from engine.backends.openai.engine import parse_day
from engine.config import paths
from engine.core.errors import DataError
from engine.training.openai.job import JOB_FILE, JobRecord, parse_event, parse_state, read_job
from tests.engine.training.openai.conftest import CANARY, Run
from tests.engine.training.openai.stand_in import Reply, StandIn, Trap, error

CREATE, LOOK = "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/"
EVENTS = "GET /fine_tuning/jobs/ftjob-0001/events"


def record_of(data: Path) -> JobRecord:
    record = read_job(data)
    assert record is not None
    return record


def event(**fields: Any) -> dict[str, Any]:
    return {"id": "ftevent-x", "message": "", "data": None} | fields


def listed(*items: Any, **more: Any) -> Reply:
    return Reply(200, {"object": "list", "data": list(items), "has_more": False} | more)


LOSSES = [float("nan"), float("inf"), -float("inf"), 10**400, True, "2.5", None, [1]]


def test_a_loss_that_is_no_number_is_not_stored(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    metrics = [{"step": 1, "total_steps": 5, "train_loss": loss} for loss in LOSSES]
    events = [event(id=f"e-{number}", data=each) for number, each in enumerate(metrics)]
    provider.traps = [Trap(EVENTS, listed(*events))]
    assert run(*arguments).code == 0
    assert [point.step for point in record_of(data).curve] == [3, 4]
    assert run(*arguments, "--resume").code == 0


def test_a_count_that_is_no_number_is_not_stored(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    job: dict[str, object] = {
        "id": "ftjob-0001", "status": "running", "fine_tuned_model": "ft:m:a",
    }  # fmt: skip
    states = [job | {"trained_tokens": count} for count in (10**30, float("nan"), "7")]
    states.append(job | {"status": "succeeded", "trained_tokens": True})
    # The second of each pair is taken for the list of events.
    provider.traps = [Trap(LOOK, Reply(200, state)) for state in states for _ in range(2)]
    assert run(*arguments).code == 0
    assert record_of(data).trained_tokens is None


def test_a_record_of_an_older_version_with_a_loss_of_null_is_read(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.fate = ("running",)
    provider.traps = [Trap(LOOK, error(401, "Stop here"))]
    assert run(*arguments).code == 1
    record = json.loads((data / JOB_FILE).read_text())
    record["curve"] = [{"step": 1, "loss": None}, {"step": 2, "loss": 1.5, "valid_loss": None}]
    (data / JOB_FILE).write_text(json.dumps(record))
    provider.fate = ("succeeded",)
    assert run(*arguments, "--resume").code == 0
    assert [point.step for point in record_of(data).curve] == [2]
    assert len(provider.jobs) == 1


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b'{"curve": 5}', b'{"curve": [5]}'])
def test_a_record_that_is_damaged_is_reported(data: Path, content: bytes) -> None:
    (data / JOB_FILE).write_bytes(content)
    with pytest.raises(DataError, match=JOB_FILE):
        read_job(data)


def test_halves_of_characters_are_replaced(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.failure = "half \ud83d here"
    provider.say = "cut \ude00"
    provider.fate = ("running", "failed")
    ran = run(*arguments)
    assert ran.code == 1
    assert "half \ufffd here" in ran.err
    assert "cut \ufffd: running" in ran.err
    assert "half \ufffd here" in record_of(data).error


@pytest.mark.parametrize(
    "job_id", ["a\nb", "a b", "ft\x1b[2J", "\ud83d", "", 5, pytest.param("x" * 5000, id="long")]
)
def test_an_id_that_cannot_be_sent_is_none(job_id: object) -> None:
    assert parse_state({"id": job_id, "status": "running"}) is None


def test_a_job_with_such_an_id_is_refused_at_once(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    for reply in ({"id": "a\nb", "status": "running"}, {"id": f"ft-{CANARY}", "status": "running"}):
        provider.traps = [Trap(CREATE, Reply(200, reply))]
        ran = run(*arguments, "--resume")
        assert ran.code == 1
        assert "unexpected answer" in ran.err
        assert CANARY not in ran.err + (data / JOB_FILE).read_text()
        assert record_of(data).job == ""


def test_a_stored_id_that_cannot_be_sent_is_looked_up_again(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    provider.traps = [Trap(LOOK, error(401, "Stop here"))]
    assert run(*arguments).code == 1
    record = json.loads((data / JOB_FILE).read_text())
    (data / JOB_FILE).write_text(json.dumps(record | {"job": "ftjob\n-0001"}))
    assert run(*arguments, "--resume").code == 0
    assert record_of(data).job == "ftjob-0001"
    assert len(provider.jobs) == 1


def test_a_list_that_ignores_the_place_ends(
    run: Run, provider: StandIn, arguments: list[str]
) -> None:
    first = [event(id=f"ftevent-{number}", message=f"Event {number}") for number in range(3)]
    provider.traps = [Trap(EVENTS, listed(*first, has_more=True)) for _ in range(2)]
    ran = run(*arguments)
    assert ran.code == 0
    assert ran.err.count("Event 1") == 1
    assert provider.traps == []


def test_a_list_without_an_end_is_left(
    run: Run, provider: StandIn, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.openai.client._MOST_PAGES", 4)
    pages = [event(id=f"ftevent-{number}", message="Again") for number in range(9)]
    provider.traps = [Trap(EVENTS, listed(page, has_more=True)) for page in pages]
    provider.fate = ("succeeded",)
    assert run(*arguments).code == 0
    assert provider.count(EVENTS) == 4


@pytest.mark.parametrize("rows", [5, {"a": 1}])
def test_a_list_of_another_type_is_reported(
    run: Run, provider: StandIn, arguments: list[str], rows: object
) -> None:
    provider.traps = [Trap(EVENTS, Reply(200, {"data": rows}))]
    ran = run(*arguments)
    assert ran.code == 1
    assert "unexpected answer" in ran.err


def test_a_body_without_an_end_is_left(
    run: Run, provider: StandIn, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.backends.openai.stream.BoundedResponse.left", 10_000)
    bomb = gzip.compress(b" " * 2**20)
    for line in (CREATE, EVENTS):
        reply = Reply(200, bomb.decode("latin-1"), {"content-encoding": "gzip"})
        provider.traps = [Trap(line, reply)]
        ran = run(*arguments, "--resume")
        assert ran.code == 1
        assert "sent more than" in ran.err
    assert run(*arguments, "--resume").code == 0
    assert len(provider.jobs) == 1


def test_a_redirect_is_not_followed(run: Run, provider: StandIn, arguments: list[str]) -> None:
    elsewhere = f"http://localhost:{provider.port}/v1/elsewhere"
    provider.traps = [Trap(CREATE, Reply(307, "", {"location": elsewhere}))]
    ran = run(*arguments)
    assert ran.code == 1
    assert f"redirects to http://localhost:{provider.port}, which is not followed" in ran.err
    assert not any("elsewhere" in line for line in provider.lines)


def test_events_without_an_id_are_not_counted_twice(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    metrics = {"step": 1, "train_loss": 2.0}
    again = [Trap(EVENTS, listed(event(id=f"e-{number}", data=metrics))) for number in range(3)]
    provider.traps = [Trap(EVENTS, listed(event(id=None, message="No id"))), *again]
    assert run(*arguments).code == 0
    assert [point.step for point in record_of(data).curve].count(1) == 1


def test_numbers_in_a_message_are_bounded() -> None:
    assert parse_event(event(message="Step 3/5: training loss=0.50")).point is not None
    for message in (f"Step {'9' * 5000}: loss=1", f"Step 1: loss={'9' * 400}"):
        assert parse_event(event(message=message)).point is None


ECHOES = [
    CANARY,
    CANARY.upper(),
    "\u200e".join(CANARY),
    "\0".join(CANARY),
    "".join(f"%{ord(letter):02x}" for letter in CANARY),
]


def test_a_key_that_the_provider_sends_back_is_not_shown_or_stored(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    echo = "; ".join(ECHOES)
    provider.failure = provider.say = f"Your keys {echo} again"
    provider.fate = ("running", f"queued {echo}", "failed")
    provider.traps = [Trap(EVENTS, listed(event(id=echo, message=echo)))]
    ran = run(*arguments)
    assert ran.code == 1
    assert "Your keys …; …; …; …; … again" in ran.err
    everything = ran.out + ran.err + (data / JOB_FILE).read_text(encoding="utf-8")
    letters = "".join(letter for letter in everything if "!" <= letter <= "~").casefold()
    assert not [form for form in (CANARY, *ECHOES) if form.casefold() in letters]


def test_the_password_of_the_address_is_sent_but_not_stored(
    run: Run, provider: StandIn, data: Path, arguments: list[str]
) -> None:
    url = provider.url.replace("://", "://shop:hunter22@")
    provider.traps = [Trap(LOOK, error(401, "Incorrect password hunter22"))]
    command = [*arguments, "--base-url", url]
    first, second = run(*command), run(*command, "--resume")
    assert (first.code, second.code) == (1, 0)
    assert {kind.split()[0] for kind in provider.keys} == {"Basic"}
    assert "the address's password is not stored" in second.err
    for file in (data / JOB_FILE, paths.engines_file()):
        assert provider.url in file.read_text()
        assert "hunter22" not in file.read_text()
    assert "hunter22" not in first.err + second.err


def test_the_record_is_private(run: Run, data: Path, arguments: list[str]) -> None:
    assert run(*arguments).code == 0
    assert stat.S_IMODE((data / JOB_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("sent", "day"),
    [
        ("2027-01-14", date(2027, 1, 14)),
        ("2027-01-14T10:00:00Z", date(2027, 1, 14)),
        (1799884800, date(2027, 1, 14)),
        ("soon", None),
        ("9999-12-31", None),
        ("0001-01-01", None),
        (0, None),
        pytest.param(10**400, None, id="400 digits"),
        (True, None),
        (None, None),
        ("2027-13-45", None),
        ([2027], None),
    ],
)
def test_a_shutdown_date_is_checked(sent: object, day: date | None) -> None:
    assert parse_day(sent) == day
