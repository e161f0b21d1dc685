"""Query-document pairs from Python source: summary sentences and the definitions they were taken from.

Source files are parsed, never imported, and read in an order that is the same on every machine and for any number
of processes.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import os
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

TRAIN_PAIRS_PER_PACKAGE = 700  # so that two or three huge packages do not make up the training set
HELD_OUT_PAIRS_PER_PACKAGE = 400
MAX_CHARACTERS = 1000  # of a document; the models read its first 128 tokens, about 500 characters
FEW_FILES = 200  # are read sooner than processes start
MOST_PROCESSES = 8
SKIPPED_FOLDERS = {"site-packages", "test", "tests", "testing", "_vendor", "_vendored", "idlelib", "lib2to3"}
SKIPPED_PACKAGES = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}  # there or not, by pip's mood

# A sentence ends at a full stop before white space, unless it belongs to "e.g.", "i.e." or "vs.".
SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!vs)[.!?](?=\s|$)")
MARKUP = re.compile(r":[a-z:]+:(?=`)|[`*]")


@dataclass(frozen=True)
class Pair:
    """A summary sentence and the definition it was taken from."""

    package: str
    query: str
    title: str
    text: str

    @property
    def document(self) -> str:
        """The document as models and BM25 read it: title and text."""
        return f"{self.title} {self.text}"


def split_docstring(docstring: str) -> tuple[str, str]:
    """The summary sentence, free of markup and white space at its ends, and what follows it."""
    first, _, rest = docstring.partition("\n\n")
    first = " ".join(first.split())
    end = SENTENCE_END.search(first)
    cut = end.end() if end else len(first)
    summary = MARKUP.sub("", first[:cut]).strip()
    return summary, (first[cut:].strip() + "\n\n" + rest).strip()


def is_query(sentence: str) -> bool:
    """Whether a summary sentence reads like a question someone could search with."""
    words = sentence.split()
    return 4 <= len(words) <= 40 and sentence[0].isalpha() and sentence.isascii() and ">>>" not in sentence


def fold(text: str) -> str:
    """The form in which two texts count as the same."""
    return " ".join(text.lower().split())


def rank_of(text: str) -> str:
    """A key that orders texts at random, but the same way on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()


def split_of(package: str) -> str:
    """train, dev or test: of a package's name alone, so it never changes with what else is installed."""
    share = int(rank_of(package)[:8], 16) / 2**32
    return "test" if share < 0.15 else "dev" if share < 0.2 else "train"


def definition_text(node: Definition, lines: list[str], rest: str) -> str:
    """Signature, the rest of the documentation string, body.

    Of a class only its members' signatures follow: their own sentences are queries of their own.
    """
    docstring = node.body[0]
    signature = lines[node.lineno - 1 : docstring.lineno - 1]
    if isinstance(node, ast.ClassDef):
        members = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        body = [lines[n.lineno - 1] for n in members]
    else:
        body = lines[docstring.end_lineno or 0 : node.end_lineno]
    return "\n".join([textwrap.dedent("\n".join(signature)), rest, textwrap.dedent("\n".join(body))])


def definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """(qualified name, node) of a module's functions and classes, and of those classes' members."""
    for node in tree.body:
        if isinstance(node, Definition):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, Definition):
                        yield f"{node.name}.{member.name}", member


def pairs_of_source(source: str, module: str) -> Iterator[Pair]:
    """The pairs of one module's source text; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the file's own mistakes, such as invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    lines = source.splitlines()
    for name, node in definitions(tree):
        docstring = ast.get_docstring(node)
        if not docstring or node.body[0].lineno == node.lineno:
            continue
        query, rest = split_docstring(docstring)
        text = re.sub(r"\n\s*\n+", "\n", definition_text(node, lines, rest)).strip()[:MAX_CHARACTERS]
        if is_query(query) and len(re.findall(r"\w+", text)) >= 12 and fold(query) not in fold(text):
            yield Pair(module.partition(".")[0], query, f"{module}.{name}", text)


def source_files(root: Path) -> dict[str, list[Path]]:
    """Package name -> its Python files under a folder of importable modules.

    A package's files come in random order, so that a cap on its pairs takes from all its parts.
    """
    packages: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir()):
        name = entry.stem if entry.suffix == ".py" else entry.name
        hidden = name.startswith("__") or not name.isidentifier()  # "__": shims of editable installs
        if hidden or name in SKIPPED_PACKAGES | SKIPPED_FOLDERS:
            continue
        files = [entry] if entry.suffix == ".py" else entry.rglob("*.py") if entry.is_dir() else []
        kept = [f for f in files if not SKIPPED_FOLDERS & set(f.relative_to(root).parts)]
        packages[name] = sorted(kept, key=lambda f: rank_of(f.relative_to(root).as_posix()))
    return {name: files for name, files in packages.items() if files}


def module_name(file: Path, root: Path) -> str:
    """The dotted name of a file under a folder of importable modules."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass(frozen=True)
class Package:
    """A package's files, in the order in which they are read, and the folder they are imported from."""

    name: str
    root: Path
    files: list[Path]

    def pairs(self) -> list[Pair]:
        """The first pairs of its files, as many as its split allows."""
        cap = TRAIN_PAIRS_PER_PACKAGE if split_of(self.name) == "train" else HELD_OUT_PAIRS_PER_PACKAGE
        found: list[Pair] = []
        for file in self.files:
            if len(found) >= cap:
                break
            source = file.read_text(encoding="utf-8", errors="replace")
            found += pairs_of_source(source, module_name(file, self.root))
        return found[:cap]


def read_packages(roots: Iterable[Path], processes: int | None = None) -> list[Pair]:
    """The pairs of all packages under the given folders, each package's number capped.

    Args:
        processes: how many read at once; None: one a core, or one alone if there are few files.
    """
    packages = [Package(name, root, files) for root in roots for name, files in source_files(root).items()]
    if processes is None:
        few = sum(len(package.files) for package in packages) <= FEW_FILES
        processes = 1 if few else min(os.cpu_count() or 1, MOST_PROCESSES)
    found = tqdm(_read(packages, processes), "reading packages", len(packages), unit="package", disable=None)
    return [pair for pairs in found for pair in pairs]


def _read(packages: list[Package], processes: int) -> Iterator[list[Pair]]:
    """The pairs of each package, in the packages' order."""
    if processes == 1:
        yield from map(Package.pairs, packages)
        return
    # Syntax trees hold no cycles: the collector would go through millions of nodes and find nothing.
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=gc.disable) as pool:
        yield from pool.map(Package.pairs, packages)


def deduplicate(pairs: list[Pair]) -> list[Pair]:
    """Drop repeated documents, then every query that several documents answer.

    Texts are compared lower-cased with white space folded; titles are left out, since vendored copies differ
    in nothing else. "Return a copy." has no one right answer, so none of its pairs is kept.
    """
    documents = {fold(pair.text): pair for pair in reversed(pairs)}
    unique = [pair for pair in pairs if documents[fold(pair.text)] is pair]
    uses = Counter(fold(pair.query) for pair in unique)
    return [pair for pair in unique if uses[fold(pair.query)] == 1]
