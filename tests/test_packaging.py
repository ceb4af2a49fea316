"""What pip sees: a project to clone, which no index takes; one version; types; lowest versions that CI has run with."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

from tools.structure import PACKAGES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_an_index_refuses_an_upload() -> None:
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_types_and_the_version_of_the_project(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["*"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "minigrad.__version__"}
    versions = {importlib.import_module(name).__version__ for name in PACKAGES}
    assert versions == {importlib.import_module(package).__version__}


def test_a_source_distribution_has_the_programs_and_the_tests() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text("utf-8").split()
    assert {"tests", "benchmarks", "docs", "tools", "train.py", "generate.py"} <= set(manifest)


def test_the_tests_that_ci_runs_with_the_lowest_versions_exist() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    named = re.findall(r"tests/[\w/]+\.py", script)
    assert len(named) > 5 and [name for name in named if not (ROOT / name).exists()] == []


def test_each_dependency_has_a_lowest_version_and_ci_reads_them_all() -> None:
    """.ci/run finds them with grep: "numpy>=2.1" becomes "numpy==2.1"."""
    extras = PROJECT["project"]["optional-dependencies"]
    needed = [*PROJECT["project"]["dependencies"], *extras["test"], *extras["chat"]]
    assert [name for name in needed if not re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9.]+", name)] == []
