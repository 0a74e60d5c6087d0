"""Prepare training rows: sampled over the whole file, split by hash, worded by engine.prompts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engine.catalogue.clean import clean
from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.core.errors import DataError, UsageError
from engine.core.files import describe_file, read_manifest
from engine.core.types import Product
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS, UNKNOWN_PRODUCT, training_messages

SPLITS = ("train", "valid", "test")


def write(path: Path, count: int = 2_000) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            row = {
                "uid": f"{number:010d}",
                "title": "" if number % 17 == 0 else f"Title &amp; {number} “quoted”",
                "content": "" if number % 3 == 0 else f'Text \\ {number // 4} said "so".',
            }
            stream.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("prepare") / "trn.json")


def rows(folder: Path, split: str) -> list[list[dict[str, str]]]:
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def pairs(folder: Path) -> dict[str, set[tuple[str, str]]]:
    return {
        split: {(one[1]["content"], one[2]["content"]) for one in rows(folder, split)}
        for split in SPLITS
    }


def usable(source: Path) -> list[tuple[str, str]]:
    found = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    return [
        (clean(one["title"]), clean(one["content"]))
        for one in found
        if one["title"] and one["content"]
    ]


def test_rows_equal_the_training_prompts(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", PrepareConfig())
    wanted = {
        msgspec.json.encode({"messages": training_messages(title, text, form)})
        for title, text in usable(source)
        for form in QUESTION_FORMS
    }
    lines = [
        line
        for split in SPLITS
        for line in (tmp_path / "out" / f"{split}.jsonl").read_bytes().splitlines()
    ]
    assert set(lines) <= wanted
    assert len(lines) == len(usable(source))


def test_every_wording_occurs_with_the_clean_description(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", PrepareConfig(forms=3))
    texts = {text for _, text in usable(source)}
    asked: Counter[str] = Counter()
    for messages in rows(tmp_path / "out", "train"):
        assert [one["role"] for one in messages] == ["system", "user", "assistant"]
        assert messages[2]["content"] in texts
        asked[messages[1]["content"].split("Title")[0]] += 1
    assert len(asked) == len({form.split("{")[0] for form in QUESTION_FORMS})


def test_repeated_wordings_have_the_title_in_lower_case(tmp_path: Path) -> None:
    source = tmp_path / "one.jsonl"
    title = 'The "ÉTÉ" of 12\\" Owls'
    source.write_text(json.dumps({"uid": "1", "title": title, "content": "Hoo."}) + "\n")
    forms = len(QUESTION_FORMS)
    prepare(source, tmp_path / "out", PrepareConfig(valid=0, test=0, forms=2 * forms))
    asked = [messages[1]["content"] for messages in rows(tmp_path / "out", "train")]
    assert sorted(asked[:forms]) == sorted(form.format(title=title) for form in QUESTION_FORMS)
    assert [one.lower() for one in asked[:forms]] == [one.lower() for one in asked[forms:]]
    assert all(title.lower() in one for one in asked[forms:])


@pytest.mark.parametrize(
    ("products", "limit", "forms"),
    [(900, None, 16), (1_001, None, 4), (1_200, 1_000, 16), (1_200, 5_000, 4), (10_001, None, 1)],
)
def test_small_sets_are_asked_for_in_many_ways_and_large_ones_in_one(
    tmp_path: Path, products: int, limit: int | None, forms: int
) -> None:
    source = tmp_path / "trn.json"
    lines = (
        f'{{"uid":"{n}","title":"Title {n}","content":"Text {n}."}}\n' for n in range(products)
    )
    source.write_text("".join(lines))
    config = PrepareConfig(limit=limit, valid=0.1, forms=None, as_typed=None, refusals=None)
    made = prepare(source, tmp_path / "out", replace(config, grounded=300 if limit else 0))
    assert made.settings["forms"] == forms
    varied = (0.4, 1.0) if forms > 1 else (0.0, 0.0)
    assert (made.settings["as_typed"], made.settings["refusals"]) == varied
    assert (tmp_path / "out" / "refusals.jsonl").exists() == (forms > 1)
    answers = (one[2]["content"] for one in rows(tmp_path / "out", "train"))
    taught = Counter(text for text in answers if text.startswith("Text"))
    assert set(taught.values()) <= {1, forms}
    assert sum(count == forms for count in taught.values()) > min(products, limit or products) / 2
    # Held-out products are for the score, which asks for each once.
    assert set(Counter(one[2]["content"] for one in rows(tmp_path / "out", "valid")).values()) == {
        1
    }


def test_training_questions_vary_as_people_type(source: Path, tmp_path: Path) -> None:
    plain, typed = PrepareConfig(forms=4), PrepareConfig(forms=4, as_typed=0.4)
    prepare(source, tmp_path / "plain", plain)
    for name in ("typed", "again"):
        prepare(source, tmp_path / name, typed)
    before, after = (rows(tmp_path / name, "train") for name in ("plain", "typed"))
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert 0.3 < changed / len(before) < 0.45
    assert [one[2] for one in before] == [one[2] for one in after]
    for name in (*(f"{split}.jsonl" for split in SPLITS), "products.jsonl"):
        assert (tmp_path / "typed" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    for split in ("valid", "test"):
        assert rows(tmp_path / "plain", split) == rows(tmp_path / "typed", split)


def test_a_short_title_asks_only_for_its_own_product(tmp_path: Path) -> None:
    source = tmp_path / "trn.json"
    titles = ["Owls: A Walk", "Kettle (Red)", "Kettle (Blue)"]
    lines = [
        json.dumps({"uid": str(n), "title": title, "content": f"Text {n}."})
        for n, title in enumerate(titles)
    ]
    source.write_text("\n".join(lines) + "\n")
    config = PrepareConfig(valid=0, test=0, forms=16, as_typed=1.0)
    prepare(source, tmp_path / "out", config)
    asked = [one[1]["content"].lower() for one in rows(tmp_path / "out", "train")]
    assert any("ow" in one and "alk" not in one for one in asked)
    assert all("re" in one or "bl" in one for one in asked if "kettle" in one)


ODD = (
    ('A "B" \\ C', 'Tab\tand \\n, "said" he.'),
    ("Écru – “naïve” 🐱", "日本茶.\n\nTitle: none\nDescription: neither."),
    ("{title} & {description}", "{question} \u2028 {0} %s %b"),
    ("Title: Description:", "\x7f title \ufffd"),
)


def test_grounded_rows_equal_the_training_prompts(tmp_path: Path) -> None:
    source = tmp_path / "odd.jsonl"
    lines = [
        json.dumps({"uid": f"{number}{place}", "title": title, "content": text + f" {number}"})
        for number in range(30)
        for place, (title, text) in enumerate(ODD)
    ]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    prepare(
        source, tmp_path / "out", PrepareConfig(limit=20, valid=0, test=0, forms=2, grounded=90)
    )
    wanted = {
        msgspec.json.encode({"messages": training_messages(title, text, form, record)})
        for title, text in usable(source)
        for form in QUESTION_FORMS
        for record in (None, Product("", title, text))
    }
    written = (tmp_path / "out" / "train.jsonl").read_bytes().splitlines()
    assert set(written) <= wanted
    assert len(written) == len(set(written)) == 2 * 20 + 90
    shown = [one for one in rows(tmp_path / "out", "train") if is_grounded(one)]
    assert len(shown) == 90
    assert len({text[2]["content"].rpartition(" ")[0] for text in shown}) == len(ODD)


def is_grounded(messages: list[dict[str, str]]) -> bool:
    return "\nDescription:\n" in messages[1]["content"]


def test_grounded_rows_do_not_change_the_others(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "plain", PrepareConfig(limit=100, forms=2, valid=0.2))
    few = prepare(
        source, tmp_path / "few", PrepareConfig(limit=100, forms=2, valid=0.2, grounded=80)
    )
    prepare(source, tmp_path / "many", PrepareConfig(limit=100, forms=2, valid=0.2, grounded=1130))
    for split in SPLITS:
        plain, some, more = (rows(tmp_path / name, split) for name in ("plain", "few", "many"))
        assert [one for one in some if not is_grounded(one)] == plain
        assert [one for one in more if not is_grounded(one)] == plain
        shown = [one for one in some if is_grounded(one)]
        assert len(shown) == few.counts["grounded"][split] > 0
        assert all(one in more for one in shown)
    assert sum(few.counts["grounded"].values()) == 80
    assert few.counts["kept"] == 180
    assert sum(few.counts["splits"].values()) == 280


def test_some_records_are_shown_to_a_question_about_another_product(
    source: Path, tmp_path: Path
) -> None:
    config = PrepareConfig(limit=100, forms=2, valid=0.2, grounded=200)
    prepare(source, tmp_path / "plain", config)
    made = prepare(source, tmp_path / "out", replace(config, refusals=0.5))
    plain, found = rows(tmp_path / "plain", "train"), rows(tmp_path / "out", "train")
    refused = [one for one in found if one[2]["content"] in UNKNOWN_PRODUCT.values()]
    assert 8 <= len(refused) == made.counts["distractors"]["train"] <= 30
    assert [one for one in found if one not in refused] == plain
    for one in refused:
        title, _, question = one[1]["content"].removeprefix("Title: ").partition("\nDescription:\n")
        assert title not in question.rpartition("\n\n")[2]
        pt = question.rpartition("\n\n")[2].startswith(("Qual", "Me", "Vocês", "O que", "Descreva"))
        assert one[2]["content"] == UNKNOWN_PRODUCT["pt" if pt or "favor" in question else "en"]
    for split in ("valid", "test"):
        assert rows(tmp_path / "out", split) == rows(tmp_path / "plain", split)


def test_no_description_is_in_two_splits(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", PrepareConfig(valid=0.2, test=0.3))
    texts = {split: {text for _, text in found} for split, found in pairs(tmp_path / "out").items()}
    assert not texts["train"] & texts["valid"]
    assert not texts["train"] & texts["test"]
    assert not texts["valid"] & texts["test"]
    assert 0.1 < len(texts["valid"]) / sum(map(len, texts.values())) < 0.3


def test_splits_and_sample_are_stable(source: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.json"
    lines = source.read_text(encoding="utf-8").splitlines()
    random.Random(1).shuffle(lines)  # noqa: S311 - not for security
    shuffled.write_text("\n".join(lines), encoding="utf-8")
    for size, larger in ((200, None), (1_000, 1_200)):
        found = []
        for where, limit in ((source, size), (shuffled, size), (source, larger or size)):
            prepare(where, tmp_path / "out", PrepareConfig(limit=limit, seed=3))
            found.append(pairs(tmp_path / "out"))
        assert found[0] == found[1]
        # Below 1,000 products, shares are counted. Otherwise a hash decides, whatever the limit.
        assert all(found[0][split] <= found[2][split] for split in SPLITS)
        assert sum(len(found[0][split]) for split in SPLITS) == size


def test_the_sample_is_spread_over_the_whole_file(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", PrepareConfig(limit=120))
    numbers = [
        int("".join(filter(str.isdigit, asked)))
        for found in pairs(tmp_path / "out").values()
        for asked, _ in found
    ]
    thirds = Counter(number * 3 // 2_000 for number in numbers)
    assert min(thirds[third] for third in range(3)) > 20


def test_another_seed_gives_another_sample(source: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        prepare(source, tmp_path / str(seed), PrepareConfig(limit=100, seed=seed))
    assert pairs(tmp_path / "1") != pairs(tmp_path / "2")


def test_a_limit_above_the_size_takes_all(source: Path, tmp_path: Path) -> None:
    made = prepare(source, tmp_path / "out", PrepareConfig(limit=10**9))
    assert made.counts["kept"] == len(usable(source)) == sum(made.counts["splits"].values())


def test_the_manifest_records_counts_and_options(source: Path, tmp_path: Path) -> None:
    prepare(source, tmp_path / "out", PrepareConfig(limit=50, seed=7))
    made = read_manifest(tmp_path / "out")
    assert (made.kind, made.prompt_version) == ("training-data", PROMPT_VERSION)
    assert made.inputs == [describe_file(source)]
    assert made.counts["read"] == 2_000
    assert made.counts["kept"] == 50
    assert made.settings == {
        "limit": 50, "seed": 7, "valid": 0.05, "test": 0.05, "forms": 1, "grounded": 0,
        "as_typed": 0.0, "refusals": 0.0,
    }  # fmt: skip
    assert made.counts["grounded"] == dict.fromkeys(SPLITS, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json",
        "products.jsonl",
        "test.jsonl",
        "train.jsonl",
        "valid.jsonl",
    ]


def test_the_products_are_listed_in_the_order_of_their_rows(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(source, out, PrepareConfig(limit=60, valid=0.2, test=0.2, forms=3, grounded=40))
    titles = {f"{n:010d}": clean(f"Title &amp; {n} “quoted”") for n in range(2_000)}
    left = {split: rows(out, split) for split in SPLITS}
    for line in (out / "products.jsonl").read_bytes().splitlines():
        listed = json.loads(line)
        assert titles[listed["uid"]] == listed["title"]
        own = [left[listed["split"]].pop(0) for _ in range(listed["rows"])]
        assert all(listed["title"] in one[1]["content"] for one in own)
        assert [is_grounded(one) for one in own] == [listed["grounded"]] * len(own)
    assert not any(left.values())


@pytest.mark.parametrize(
    "config",
    [
        PrepareConfig(limit=0),
        PrepareConfig(valid=-0.1),
        PrepareConfig(valid=0.6, test=0.5),
        PrepareConfig(forms=99),
        PrepareConfig(as_typed=1.1),
        PrepareConfig(refusals=-1),
        PrepareConfig(grounded=5),
        PrepareConfig(limit=5, grounded=-1),
    ],
)
def test_invalid_options_are_refused(source: Path, tmp_path: Path, config: PrepareConfig) -> None:
    with pytest.raises(UsageError):
        prepare(source, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_a_file_without_descriptions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trn.json").write_text('{"uid": "1", "title": "T", "content": ""}\n')
    with pytest.raises(DataError, match="with both"):
        prepare(tmp_path / "trn.json", tmp_path / "out", PrepareConfig())
    assert not (tmp_path / "out").exists()


def test_a_kill_leaves_complete_rows_or_none(tmp_path: Path) -> None:
    source = write(tmp_path / "trn.json", 40_000)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "scripts.prepare", str(source), "--out", str(out)]
    draw = random.Random(2)  # noqa: S311 - not for security
    for _ in range(5):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.15, 0.7))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        if out.exists():
            counts = read_manifest(out).counts["splits"]
            assert {split: len(rows(out, split)) for split in SPLITS} == counts
    subprocess.run(command, check=True, capture_output=True)
    assert sum(read_manifest(out).counts["splits"].values()) == len(usable(source))
    assert not list(tmp_path.glob(".out.building-*"))
