"""No call of ours runs code that a model, a file or a config brings: each names the argument that keeps it out."""

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiment.run.command import logged_to
from experiment.run.folder import shown
from experiment.settings.settings import load_settings
from retrieval.command import fail
from sparse_model import UserError

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part in ("tests", "build") for part in path.relative_to(ROOT).parts)
)

# Called under these names, with this argument: its value; None: any but a plain True; ...: any but a plain False.
FROM, CODE = {"from_pretrained", "from_config"}, ("trust_remote_code", None)
NEEDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "yaml.load": ("Loader", None),
    "Environment": ("autoescape", ...),
}
# Run what they are given: code, words of a shell line, pickles, YAML tags.
NEVER = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"} | {
    f"{module}.{name}"
    for module in ("pickle", "marshal", "dill", "joblib", "cloudpickle", "shelve")
    for name in ("load", "loads", "Unpickler", "open")
}
# These would ask on the terminal in older versions of datasets, unless it was told not to.
HUB = {"load_dataset": {"rows_on_hub", "read_rows"}}


def dotted(node: ast.expr) -> str:
    """The name in a call, such as torch.load; ?.load where it is of no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def mistakes(tree: ast.Module) -> Iterator[str]:
    """line: what is wrong there, of each call that lets something in."""
    inside = {
        id(node): function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), {word.arg: word.value for word in node.keywords}
        last = name.rsplit(".", 1)[-1]
        argument, value = CODE if last in FROM else NEEDS.get(name, ("", None))
        if argument and not _is_safe(given.get(argument), value):
            yield f"{node.lineno}: {name} without {argument}={'…' if value in (None, ...) else value}"
        if name in NEVER:
            yield f"{node.lineno}: {name}"
        if "shell" in given:
            yield f"{node.lineno}: {name} with shell="
        if last in HUB and inside.get(id(node)) not in HUB[last]:
            yield f"{node.lineno}: {name} outside {', '.join(sorted(HUB[last]))}"


def _is_safe(found: ast.expr | None, value: object) -> bool:
    if value in (None, ...):
        return found is not None and not (isinstance(found, ast.Constant) and found.value is (value is None))
    return isinstance(found, ast.Constant) and found.value is value


def test_no_call_lets_code_in() -> None:
    assert len(FILES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{mistake}"
        for path in FILES
        for mistake in mistakes(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("AutoModel.from_pretrained(x)", "1: AutoModel.from_pretrained without trust_remote_code=…"),
        ("m.AutoModel.from_pretrained(x, trust_remote_code=True)", "1: m.AutoModel.from_pretrained without trust_r"),
        ("auto().from_config(c)", "1: ?.from_config without trust_remote_code=…"),
        ("torch.load(f, map_location='cpu')", "1: torch.load without weights_only=True"),
        ("torch.load(f, weights_only=flag)", "1: torch.load without weights_only=True"),
        ("np.load(f)", "1: np.load without allow_pickle=False"),
        ("yaml.load(f)", "1: yaml.load without Loader=…"),
        ("Environment(loader=l)", "1: Environment without autoescape=…"),
        ("Environment(autoescape=False)", "1: Environment without autoescape=…"),
        ("pickle.loads(b)", "1: pickle.loads"),
        ("subprocess.run('ls', shell=flag)", "1: subprocess.run with shell="),
        ("os.system(x)", "1: os.system"),
        ("eval(x)", "1: eval"),
        ("def f():\n    datasets.load_dataset(x)", "2: datasets.load_dataset outside read_rows"),
    ],
)
def test_each_door_is_seen(code: str, found: str) -> None:
    assert [mistake.startswith(found) for mistake in mistakes(ast.parse(code))] == [True]


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained(x, trust_remote_code=False)",
        "AutoModel.from_pretrained(x, trust_remote_code=spec.trust_remote_code)",
        "torch.load(f, weights_only=True)",
        "Environment(autoescape=True); Environment(autoescape=by_name())",
        "model.eval(); make().eval(); ast.literal_eval(x); re.compile(x); json.loads(x); subprocess.run(['ls'])",
        "def rows_on_hub():\n    datasets.load_dataset(x)",
    ],
)
def test_what_is_safe_passes(code: str) -> None:
    assert list(mistakes(ast.parse(code))) == []


def test_templates_escape_all_but_what_is_drawn_here() -> None:
    """`safe` is for SVG, whose texts are escaped when it is written, and for words of the template itself."""
    templates = [path.read_text(encoding="utf-8") for path in ROOT.glob("experiment/**/*.html.j2")]
    safe = [found for text in templates for found in re.findall(r"([^{}]*?)\|\s*safe", text)]
    assert templates and safe
    assert all(re.search(r"\.svg\s*$", found) or re.fullmatch(r"\s*' class=\"\w+\"'\s*", found) for found in safe)


def test_what_is_logged_acts_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal's escapes in a log, and in the message that a command ends with."""
    for show in (lambda: logging.getLogger("ours").error("a\x1b[2Jb"), lambda: fail("ours", "a\x1b[2Jb", 1, False)):
        with logged_to(tmp_path / "log"):
            show()
    assert r"a\x1b[2Jb" in (tmp_path / "log").read_text() and "\x1b" not in (tmp_path / "log").read_text()
    assert r"error: a\x1b[2Jb" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["hub_token=hf_a b"], ["--hub_token", "hf_a 'b'"], ["--hub_token=hf_a\nb"]])
def test_a_secret_is_neither_stored_nor_shown(words: list[str]) -> None:
    """Whatever characters it has, as it is typed; and of a mistaken one, no value."""
    settings = load_settings([*words, "seed=7"])
    stored = shown(["python", "train_ir.py", *words, "seed=7"]) + str(settings.resolved()) + str(settings.written())
    assert "hub_token" in stored and "seed=7" in stored and "hf_a" not in stored and "b'" not in stored
    with pytest.raises(UserError, match="hub_token: .*string") as error:
        load_settings(["hub_token=[hf_a]"])
    assert "hf_a" not in str(error.value)
