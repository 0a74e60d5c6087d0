"""`balcao job new`, and the mistakes in a job.toml that `balcao job run` refuses at once."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import job
from tests.scripts.test_light import run
from tools.schemas import schema

TABLE = "sku,name,description\n" + "".join(f"B{n},Kettle {n},Boils {n} cups.\n" for n in range(120))
BASE = Path(__file__).resolve().parents[1] / "made_at_a915cbe/model"


@pytest.fixture
def written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A job.toml for the first 20 rows of the table."""
    monkeypatch.chdir(tmp_path)
    Path("products.csv").write_text("\n".join(TABLE.splitlines()[:21]), encoding="utf-8")
    assert job.main(["new", "products.csv"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "title from column “name”, content from column “description”, uid from" in shown
    assert shown.endswith("job run")
    return tmp_path / "job.toml"


def values(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def test_a_new_job_follows_the_schema_and_fits_80_columns(written: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema("job")))
    validator.validate(values(written))
    assert not validator.is_valid(values(written) | {"dta": "x"})
    assert not validator.is_valid(values(written) | {"rows": {"forms": 33}})
    assert max(map(len, written.read_text(encoding="utf-8").splitlines())) <= 80


def test_a_new_job_suits_the_number_of_products_and_the_base(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = values(written)
    assert "limit" not in small["rows"]
    assert (small["rows"]["forms"], small["rows"]["grounded"]) == (16, 0)
    assert "epochs" in small["train"]["set"]

    Path("large").mkdir()
    Path("large/products.csv").write_text(TABLE, encoding="utf-8")
    arguments = ["new", "large/products.csv", "--out", "large/job.toml", "--base", str(BASE)]
    assert job.main(arguments) == 0
    large = values(Path("large/job.toml"))
    assert large["data"] == "products.csv"  # beside the job
    assert (large["rows"]["limit"], large["rows"]["grounded"]) == (100, 20)
    assert large["train"]["set"] == {}
    capsys.readouterr()
    assert job.main(arguments) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "changed", "said"),
    [
        ("data", 'data = "gone.csv"', "line 5, `data`: gone.csv does not exist."),
        ("data", "data = 3", "line 5, `data`: expected text, got a whole number."),
        ("data", "", "the key “data” is missing."),
        ("data", 'dta = "products.csv"', "line 5, `dta`: unknown key. Did you mean “data”?"),
        ("out", 'out = "products.csv"', "line 6, `out`: products.csv is a file."),
        ("engine", 'engine = "My Shop"', "line 7, `engine`: use at most 40 small letters"),
        ("title", 'title = "nam"', "has no column “nam”. Did you mean “name”?"),
        ("title", 'titel = "name"', "line 11, `columns.titel`: unknown key. Did you mean “title”?"),
        ("forms", "form = 16", "line 19, `rows.form`: unknown key. Did you mean “forms”?"),
        ("forms", 'forms = "many"', "line 19, `rows.forms`: expected a whole number, got text."),
        ("forms", "forms = 33", "line 19, `rows.forms`: expected a whole number <= 32."),
        ("valid", "valid = nan", "line 23, `rows.valid`: expected a number >= 0.0."),
        ("valid", "valid = 0.7\ntest = 0.7\n[cut]", "must add up to less than 1."),
        ("grounded", "grounded = 5", "line 22, `rows.grounded`: It takes products beyond `limit`"),
        ("base", 'base = "nowhere"', "line 28, `train.base`: Model folder not found: nowhere."),
        (
            "recipe",
            'recipe = "exat"',
            "`train.recipe`: Unknown recipe “exat”. Did you mean",
        ),
        ("epochs", "epoch = 2", "`train.set.epoch`: unknown key. Did you mean “epochs”?"),
        ("epochs", 'schedule = "cosin"', "linear, cosine. Did you mean “cosine”?"),
        ("epochs", 'report_to = ["wand"]', "Unknown tracker “wand”"),
        ("engines", "engines = 3", "`evaluate.engines`: expected a list, got a whole number."),
        ("engines", 'engines = ["lama:memory"]', "There is no engine named “lama”."),
        ("engines", 'engines = ["base:memry"]', "Unknown mode “memry”."),
        ("engines", "[rows]", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line_and_key(
    written: Path, capsys: pytest.CaptureFixture[str], line: str, changed: str, said: str
) -> None:
    text = written.read_text(encoding="utf-8").replace('"smollm2"  ', f'"{BASE}"', 1)
    text, count = re.subn(rf"^{line} = .*", changed, text, count=1, flags=re.MULTILINE)
    assert count == 1
    text = text.partition("[cut]")[0]
    written.write_text(text, encoding="utf-8")
    assert job.main(["run"]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert "job.toml" in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert not found.out
    assert not Path("products-job").exists()


def test_a_light_installation_writes_a_job_and_names_the_packages_to_run_it(written: Path) -> None:
    written.unlink()
    assert run("job", "new", "products.csv").returncode == 0
    ended = run("job", "run")
    assert ended.returncode == 2
    assert "Packages are missing: torch" in ended.stderr
