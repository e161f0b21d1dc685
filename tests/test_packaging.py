"""What a fresh machine relies on: the package list, the constraints, the configs and the make targets."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from experiment.settings.files import merged
from experiment.settings.settings import load_settings
from experiment.sweep.report_options import ReportKeys
from experiment.sweep.runs import REPORT

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONFIGS = sorted(p.relative_to(ROOT) for p in (ROOT / "config").rglob("*.yaml"))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_in(lines: list[str]) -> set[str]:
    return {canonical(re.split(r"[=<>\[ ;]", line)[0]) for line in lines if line and not line.startswith("#")}


def lists() -> dict[str, set[str]]:
    """Names in each list of dependencies in pyproject.toml, read without a TOML parser: Python 3.10 has none."""
    tables = PYPROJECT[PYPROJECT.index("dependencies = [") : PYPROJECT.index("[tool.setuptools")]
    found = re.findall(r"^([\w-]+) = \[(.*?)\]$", tables, re.DOTALL | re.MULTILINE)
    return {name: names_in(re.findall(r'"([^"]+)"', listed)) for name, listed in found}


def required() -> set[str]:
    """What `make install` installs: everything but ourselves and the peers of benchmarks/."""
    return set().union(*(names for name, names in lists().items() if name != "benchmark")) - {"sparse-retrieval-l0"}


def test_the_wheel_holds_the_model_alone() -> None:
    """What it needs is what sparse_model imports; whoever trains has a checkout. See also test_wheel.py."""
    listed = re.findall(r'"([^"]+)"', re.findall(r"^include = \[(.*)\]", PYPROJECT, re.MULTILINE)[0])
    assert listed == ["sparse_model*"]
    expected = {"torch", "transformers", "tokenizers", "safetensors", "huggingface-hub", "numpy", "scipy", "tqdm"}
    assert lists()["dependencies"] == expected
    assert {"train", "opensearch", "report", "test", "benchmark"} <= lists().keys()


def test_every_package_is_checked() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    checked = re.findall(r"^PACKAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0]
    assert set(checked.split()) == packages


def test_constraints_are_exact_and_cover_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert [pin for pin in pins if not re.match(r"^[\w.-]+==[\w.]+( ; python_version [<>]=? \"3\.11\")?$", pin)] == []
    assert required() - names_in(pins) == set()


def test_search_yaml_pins_the_papers_versions() -> None:
    environment = yaml.safe_load((ROOT / "search.yaml").read_text())
    pins = environment["dependencies"][-1]["pip"]
    assert environment["dependencies"][0] == "python=3.11"
    assert {"torch==2.5.1", "transformers==4.44.1", "accelerate==1.1.1", "datasets==3.0.2"} <= set(pins)


def test_compose_serves_this_machine_only() -> None:
    """It has no password."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["opensearch"]
    assert service["ports"] == ["127.0.0.1:9200:9200"] and service["image"].startswith("opensearchproject/opensearch:")


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_configs_are_valid(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if config.name == REPORT:  # with the sweep that it belongs to: test_small_configs.py
        ReportKeys.model_validate(merged(config))
    else:
        load_settings([str(config)])


def test_make_alone_lists_the_targets() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[1] for line in shown.splitlines()}
    assert targets >= set(
        "install quickstart quickstart-smoke test test-fast test-paper-versions lint benchmark".split()
    )


def test_an_old_python_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    refused = subprocess.run(
        ["make", "install", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "Python 3.10 or newer is needed" in refused.stderr
    assert not (tmp_path / ".venv").exists()
