"""Downloads by the real hub client, from a hub on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from engine.backends.llama.weights import find_model
from engine.config.paths import hub_cache
from engine.core.errors import BalcaoError, EngineUnavailable, UsageError
from engine.core.files import Input
from engine.core.types import Progress
from engine.models.pull import Hub, look_up, pull
from tests.engine.models.conftest import MEGABYTE, blobs, files_of, safetensors
from tests.engine.models.hub import COMMIT, FakeHub

CANARY = "hf_canary_1234567890"
WEIGHTS = "model.safetensors"


def fetch(to: Hub, hub: FakeHub, revision: str = "main") -> tuple[Path, list[Progress]]:
    shown: list[Progress] = []
    return pull(to, look_up(to, hub.model, revision), shown.append), shown


def refused(to: Hub, model: str = "someone/tiny", revision: str = "main") -> str:
    with pytest.raises(BalcaoError) as caught:
        pull(to, look_up(to, model, revision), lambda _: None)
    assert caught.value.remedy
    assert CANARY not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    return str(caught.value)


def test_download_is_complete_and_found_by_an_engine(hub: FakeHub, to: Hub) -> None:
    folder, shown = fetch(to, hub)
    assert sorted(file.name for file in folder.iterdir()) == [
        "LICENSE.txt", "config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert find_model(hub.model, "base").folder == folder
    fractions = [step.fraction or 0.0 for step in shown]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert shown[-1].label == "12.6 MB of 12.6 MB"
    before = len(hub.asked)
    assert fetch(to, hub)[0] == folder
    assert not any(one.method == "GET" and "resolve" in one.path for one in hub.asked[before:])


def test_revisions_are_separate(hub: FakeHub, to: Hub) -> None:
    hub.revisions = ("main", "v1")
    folder, _ = fetch(to, hub, "v1")
    assert find_model(f"{hub.model}@v1", "base").folder == folder
    assert find_model(f"{hub.model}@{COMMIT}", "base").folder == folder
    with pytest.raises(EngineUnavailable, match="not on this machine"):
        find_model(hub.model, "base")
    assert "Revision “v2” of “someone/tiny” not found" in refused(to, revision="v2")


@pytest.mark.parametrize("ranges", [True, False])
def test_lost_connection_resumes(hub: FakeHub, to: Hub, ranges: bool) -> None:
    hub.cuts, hub.ranges = [11 * MEGABYTE], ranges
    folder, shown = fetch(to, hub)
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    second = hub.downloads(WEIGHTS)[-1]
    assert second.range == f"bytes={11 * MEGABYTE}-"
    assert shown[-1].fraction == 1.0


def test_failed_download_resumes_later(
    hub: FakeHub, to: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client tries six times with a second between.
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.cuts = [11 * MEGABYTE, *[0] * 6]
    assert "Run the command again to resume" in refused(to)
    (part,) = blobs(hub).glob("*.incomplete")
    assert part.stat().st_size == 11 * MEGABYTE
    with pytest.raises(EngineUnavailable, match="not on this machine"):
        find_model(hub.model, "base")
    folder, shown = fetch(to, hub)
    assert hub.downloads(WEIGHTS)[-1].range == f"bytes={11 * MEGABYTE}-"
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert (shown[0].fraction or 0.0) < 0.9
    assert not list(blobs(hub).glob("*.incomplete"))


def test_wrong_checksum_deletes_the_file(hub: FakeHub, to: Hub) -> None:
    hub.spoil = True
    assert "the checksum of model.safetensors is wrong" in refused(to)
    assert not list(blobs(hub).glob("*.incomplete"))
    hub.spoil = False
    assert (fetch(to, hub)[0] / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_too_long_partial_file_is_not_used(hub: FakeHub, to: Hub) -> None:
    blobs(hub).mkdir(parents=True)
    digest = hashlib.sha256(hub.files[WEIGHTS]).hexdigest()
    (blobs(hub) / f"{digest}.incomplete").write_bytes(bytes(13 * MEGABYTE))
    assert (fetch(to, hub)[0] / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_several_shards(hub: FakeHub, to: Hub) -> None:
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    del hub.files[WEIGHTS]
    hub.files |= {name: safetensors(2 * MEGABYTE, seed) for seed, name in enumerate(names)}
    hub.files["model.safetensors.index.json"] = b'{"weight_map": {"a": "%s", "b": "%s"}}' % tuple(
        name.encode() for name in names
    )
    hub.large = set(names)
    folder, _ = fetch(to, hub)
    assert [file.name for file in find_model(hub.model, "base").weights] == names
    assert all((folder / name).read_bytes() == hub.files[name] for name in names)


def test_gated_model_without_a_token(hub: FakeHub, to: Hub) -> None:
    hub.gated, hub.licence = "manual", "llama2"
    said = refused(to)
    assert "is gated and needs a token" in said
    assert f"{hub.url}/someone/tiny" in said
    assert "balcao keys set HF_TOKEN" in said
    assert "TinyLlama/" in said
    assert "SmolLM2" in said
    assert not any("resolve" in one.path for one in hub.asked)


def test_gated_model_with_a_token(hub: FakeHub, to: Hub) -> None:
    hub.gated, hub.tokens = "auto", {CANARY}
    assert "is gated, and your token cannot read it" in refused(replace(to, token=CANARY))
    hub.accepted = {CANARY}
    folder, _ = fetch(replace(to, token=CANARY), hub)
    assert (folder / WEIGHTS).exists()
    # The weights are on another server, which must not get the token.
    assert {one.token for one in hub.asked if "/cdn/" in one.path} == {""}
    assert {one.token for one in hub.asked if "/resolve/" in one.path} == {CANARY}
    assert CANARY not in repr(to) + repr(replace(to, token=CANARY))


def test_unknown_token(hub: FakeHub, to: Hub) -> None:
    hub.tokens = {"another"}
    assert "rejected the token" in refused(replace(to, token=CANARY))


def test_missing_model(to: Hub) -> None:
    assert "Model “some/other” not found on the hub" in refused(to, "some/other")


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../etc", "a/..", "someone/tiny@v1", ""])
def test_wrong_hub_id(to: Hub, name: str) -> None:
    with pytest.raises(UsageError, match="is not a hub id"):
        look_up(to, name, "main")


@pytest.mark.parametrize(
    ("status", "words"), [(429, "status 429"), (500, "status 500"), (403, "licence")]
)
def test_other_refusals(hub: FakeHub, to: Hub, status: int, words: str) -> None:
    hub.status = status
    assert words in refused(to)


@pytest.mark.parametrize("echo", [CANARY, CANARY.upper(), "%20".join(CANARY), "\t".join(CANARY)])
def test_a_token_that_the_hub_sends_back_is_not_shown(hub: FakeHub, to: Hub, echo: str) -> None:
    hub.tokens = {CANARY}
    hub.status, hub.message = 418, f"No {echo} here"
    assert "status 418 No … here" in refused(replace(to, token=CANARY))
    hub.status, hub.licence = 0, f"free {echo}"
    model = look_up(replace(to, token=CANARY), hub.model, "main")
    assert model.licence == "free …"
    assert CANARY not in repr(model)
    hub.commit = echo
    assert "does not name the commit" in refused(replace(to, token=CANARY))


@pytest.mark.parametrize("page", [b"<html>Welcome to the hotel</html>", b"[]", b"5", b"[" * 99_999])
def test_a_page_that_is_no_description_of_a_model(hub: FakeHub, to: Hub, page: bytes) -> None:
    hub.page = page
    assert refused(to).startswith("The hub sent an unexpected answer. Check HF_ENDPOINT")


def test_the_password_of_the_hub_is_not_shown(hub: FakeHub, to: Hub) -> None:
    endpoint = hub.url.replace("://", "://shop:hunter22@")
    hub.gated, hub.tokens = "auto", {"Basic c2hvcDpodW50ZXIyMg=="}
    said = refused(replace(to, endpoint=endpoint))
    assert f"{hub.url}/someone/tiny" in said
    assert "hunter22" not in said


def test_unreachable_hub(to: Hub) -> None:
    said = refused(replace(to, endpoint="http://127.0.0.1:9"))
    assert "Cannot reach the hub" in said
    assert "HF_ENDPOINT" in said


def test_other_architecture_stops_before_the_weights(hub: FakeHub, to: Hub) -> None:
    hub.files |= {"config.json": files_of({"model_type": "bert"})["config.json"]}
    assert "is a “bert” model" in refused(to)
    assert not hub.downloads(WEIGHTS)


def test_no_safetensors(hub: FakeHub, to: Hub) -> None:
    del hub.files[WEIGHTS]
    assert "does not offer safetensors, only .bin and .pth" in refused(to)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_full_disk(hub: FakeHub, to: Hub) -> None:
    blobs(hub).mkdir(parents=True)
    digest = hashlib.sha256(hub.files[WEIGHTS]).hexdigest()
    part = blobs(hub) / f"{digest}.incomplete"
    part.symlink_to("/dev/full")
    said = refused(to)
    assert said.startswith("The disk is full. Free some space")
    part.unlink()
    assert (fetch(to, hub)[0] / WEIGHTS).read_bytes() == hub.files[WEIGHTS]


def test_too_little_space_stops_before_the_download(hub: FakeHub, to: Hub) -> None:
    model = look_up(to, hub.model, "main")
    huge = replace(model, files=[Input(file.name, file.sha256, 1 << 60) for file in model.files])
    with pytest.raises(BalcaoError, match=r"for the download: .* GB needed, .* free") as caught:
        pull(to, huge, lambda _: None)
    assert "HF_HUB_CACHE" in caught.value.remedy
    assert not hub_cache().exists()


def test_unwritable_cache(hub: FakeHub, to: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BalcaoError, match="Cannot save the model") as caught:
        pull(replace(to, cache=tmp_path / "file" / "hub"), look_up(to, hub.model, "main"), _quiet)
    assert str(tmp_path) in caught.value.message


def _quiet(_: Progress) -> None:
    pass
