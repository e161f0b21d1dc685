"""The documentation names what exists: files, modules, keys. Its mistakes are real, its pictures up to date."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from experiment.settings.help import groups
from experiment.settings.settings import load_settings
from sparse_model.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])
KEYS = {key.name for _, described in groups() for key in described}

# Modules whose names a reader may type no longer: the changelog says what they are called today.
FORMER = {"experiment.beir_pairs", "experiment.quickstart_data"}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to a page's headings."""
    titles = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_readme_length() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 180


def test_readme_ends_with_the_tree() -> None:
    """Every folder of code stands in it."""
    tree = text_of(ROOT / "README.md").rstrip().rsplit("```", 2)[1]
    folders = [p.parent for p in ROOT.glob("*/__init__.py")] + [p.parent for p in ROOT.glob("experiment/*/__init__.py")]
    names = {f"{folder.relative_to(ROOT)}/" for folder in folders} - {"experiment/"}
    assert {name for name in names if name not in tree} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Every relative link leads to a file, and to a heading in it."""
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for target in targets:
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path) -> None:
    """Every module, script and make target that is named can be started; every file of config/ is there."""
    text = text_of(page)
    modules = set(re.findall(r"python -m ((?:experiment|pairs|benchmarks)(?:\.\w+)*)", text)) - FORMER
    assert {name for name in modules if find_spec(name) is None} == set()
    scripts = re.findall(r"(?:python|bash) ([\w/]+\.(?:py|sh))", text)
    configs = re.findall(r"config/[\w/+.-]+\.yaml", text)
    assert {name for name in scripts if not (ROOT / name).is_file()} == set()
    assert {name for name in configs if not (ROOT / name).is_file()} - {"config/quickstart/flop.yaml"} == set()
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert {name for name in targets if not re.search(rf"^{name}:", text_of(ROOT / "Makefile"), re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_in_tables(page: Path) -> None:
    """What stands in the first column of a table of keys is a key."""
    rows = re.findall(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", text_of(page), re.MULTILINE)
    named = {name for row in "".join(rows).splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named - KEYS == set()


def test_page_of_every_key() -> None:
    from keys_page import MARKER, keys_markdown

    assert MARKER in text_of(DOCS / "keys.md")
    assert KEYS - set(re.findall(r"^`(\w+)` \(", keys_markdown(), re.MULTILINE)) == set()


def test_pictures_are_those_that_are_drawn() -> None:
    from draw import files

    assert {name for name, content in files().items() if text_of(DOCS / name) != content} == set()


MISTAKES = re.findall(
    r"^\$ python (\w+\.py) (.*)\nerror:\s((?:command line|config)[^$]*?)\n```",
    text_of(DOCS / "mistakes.md"),
    re.MULTILINE,
)


@pytest.mark.parametrize(("script", "words", "message"), MISTAKES, ids=[words for _, words, _ in MISTAKES])
def test_mistakes_are_real(
    script: str, words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page of mistakes shows for settings is what they say where there are no data, the quickstart's aside."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        load_settings(words.split(), script == "train_ir.py", for_one_run=True)
    told = str(refused.value).splitlines()
    assert [line for line in told if "data/quickstart/" not in line] == message.splitlines()


def test_citation_and_changelog_know_the_version() -> None:
    version = re.findall(r'^version = "(.*)"', text_of(ROOT / "pyproject.toml"), re.MULTILINE)[0]
    assert f"\nversion: {version}\n" in text_of(ROOT / "CITATION.cff")
    assert f"## [{version}]" in text_of(ROOT / "CHANGELOG.md")


def test_first_lines_of_configs() -> None:
    """A config begins with its launch command, and shows an override."""
    for config in sorted((ROOT / "config").rglob("*.yaml")):
        head = "".join(re.match(r"(?:#.*\n)*", text_of(config))[0])  # type: ignore[index]
        assert re.search(r"python|torchrun|bash|make", head), config
        assert "Override" in head, config
        for module in re.findall(r"python -m ([\w.]+)", head):
            assert find_spec(module) is not None, config
