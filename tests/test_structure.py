"""Which module may import which: no circles, and arrows that point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sparse_model", "losses", "retrieval", "training", "mining", "pairs", "experiment")

# What a part may import, besides itself: the rooms and packages below it.
BELOW_RUN = {"sparse_model", "losses", "retrieval", "training", "mining", "experiment.settings"}
MAY_IMPORT = {
    "sparse_model": set(),
    "losses": set(),
    "retrieval": {"losses", "sparse_model"},
    "training": {"retrieval", "losses", "sparse_model"},
    "mining": {"retrieval", "losses", "sparse_model"},
    "pairs": {"mining", "retrieval", "losses", "sparse_model"},
    "experiment.settings": {"sparse_model", "losses", "retrieval", "training", "mining"},
    "experiment.run": BELOW_RUN | {"pairs"},
    "experiment.ladder": BELOW_RUN | {"pairs", "experiment.run", "experiment.report"},
    "experiment.sweep": BELOW_RUN | {"experiment.run", "experiment.report"},
    "experiment.report": {"retrieval", "sparse_model"},
    "experiment.inspect": {"retrieval", "sparse_model", "experiment.run", "experiment.report"},
    "experiment": {"sparse_model"},
}

# The report reads run folders; which keys make runs comparable, the keys say.
SINGLE_ARROWS = {
    ("experiment.report.grouping", "experiment.settings.effects"),
    ("experiment.report.grouping", "experiment.settings.keys"),
}


def source_files() -> dict[str, Path]:
    """Path of each module by its dotted name; a package goes by its own."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in files}


MODULES = source_files()


def imported(name: str) -> set[str]:
    """Our modules that a module imports anywhere in it: within functions and for type checkers only, too."""
    targets = set(_targets(ast.parse(MODULES[name].read_text(encoding="utf-8")))) & MODULES.keys()
    return {target for target in targets if target != name}


def _targets(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import of {node.module}"
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in dotted)


def part_of(module: str) -> str:
    """The package of a module, and under experiment the room."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "experiment" else parts[0]


def test_no_import_circles() -> None:
    """Nor within functions, nor for type checkers only: two modules that need each other are one, or three."""
    graph = {name: imported(name) for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_point_one_way(part: str) -> None:
    arrows = [
        f"{name} -> {target}"
        for name in MODULES
        if part_of(name) == part
        for target in imported(name)
        if part_of(target) not in MAY_IMPORT[part] | {part} and (name, target) not in SINGLE_ARROWS
    ]
    assert arrows == []


def test_every_part_has_its_place() -> None:
    assert {part_of(name) for name in MODULES} == MAY_IMPORT.keys()


@pytest.mark.process
def test_importing_the_model_package_prepares_for_torch_and_loads_nothing() -> None:
    """Threads' waiting is set before torch is loaded; errors are there without it."""
    code = (
        "import os, sys; os.environ.pop('GOMP_SPINCOUNT', None)\n"
        "import sparse_model.errors, experiment\n"
        "assert os.environ['GOMP_SPINCOUNT'] == '10000'\n"
        "assert sparse_model.ACTIVATIONS['l1_relu'].stored_name == 'log1p_relu'\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'scipy'} & sys.modules.keys()))"
    )
    assert _output_of(code) == "[]"


def _output_of(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.process
def test_the_encoders_module_loads_no_compiler() -> None:
    code = "import sys, sparse_model.encoder; print('torch._dynamo' in sys.modules)"
    assert _output_of(code) == "False"


LIGHT = (
    *("losses", "mining.teachers", "sparse_model.layout", "training.step_checkpoints", "retrieval.beir_data"),
    *("retrieval.dataset_names", "retrieval.distributed", "retrieval.metrics", "retrieval.opensearch.preflight"),
    *("retrieval.vectors", "retrieval.row_files", "retrieval.exact_engine", "mining.dataset", "mining.candidates"),
)
HEAVY = {"torch", "transformers", "datasets", "matplotlib", "pandas", "beir", "sentence_transformers"}


@pytest.mark.process
def test_what_settings_and_plans_read_loads_nothing_heavy() -> None:
    """A mistake is told in less time than torch takes to load."""
    code = f"import sys, {', '.join(LIGHT)}; print(sorted({HEAVY} & sys.modules.keys()))"
    assert _output_of(code) == "[]"


@pytest.mark.xdist_group("structure")
def test_a_group_of_tests_stays_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist writes a group into the names of its tests; under a pytest it does not know, it does nothing."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("only where --dist loadgroup gives tests out")
    assert request.node.nodeid.endswith("@structure")
