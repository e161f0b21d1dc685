"""The wheel, in an environment of nothing but what it declares: it loads, encodes, explains and saves."""

import importlib.metadata as metadata
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
NAME = "sparse-retrieval-l0"

# Run in the clean environment. The model is made there too, so that nothing else is needed for it.
USE = """
import importlib.metadata, importlib.util, json, sys
from pathlib import Path

import sparse_model

there = [n for n in ("losses", "training", "mining", "retrieval", "experiment", "pairs", "tests", "numba", "datasets")
         if importlib.util.find_spec(n)]
assert there == [], there
package = Path(sparse_model.__file__).parent
assert package.is_relative_to(sys.prefix) and (package / "py.typed").is_file()
assert importlib.metadata.version("sparse-retrieval-l0") == "0.2.0"

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "in", "new", "york", "sun"]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
names = {f"{n.lower()}_token": f"[{n}]" for n in ("PAD", "UNK", "CLS", "SEP", "MASK")}
PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained("model")
shape = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
BertForMaskedLM(BertConfig(vocab_size=len(words), **shape)).save_pretrained("model")

encoder = sparse_model.load("model", activation_type="l1_relu")
documents = encoder.encode_documents(["rain in new york", "", "sun"])
queries = encoder.encode_queries(["rain york"])
assert documents.shape == (3, len(words)) and documents[1].nnz == 0 and queries.sum() == 2
explained = encoder.explain("rain sun", "rain in new york sun")
assert all(product == q * d for _, q, d, product in explained)
encoder.save("saved")
again = sparse_model.load("saved")
assert again.activation_type == "l1_relu"
assert (again.encode_documents(["rain in new york", "", "sun"]) != documents).nnz == 0
print("encoded", documents.nnz > 0)
"""


def closure(requirements: list[str]) -> Iterator[metadata.Distribution]:
    """The installed distributions that these requirements bring, each once."""
    seen: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not applies or name in seen:
            continue
        seen.add(name)
        found = metadata.distribution(name)
        yield found
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                needed.marker = None
                waiting.append(needed)


def link_into(site: Path, distribution: metadata.Distribution) -> None:
    """Put a distribution's top-level folders and modules into a site-packages folder."""
    source = Path(str(distribution.locate_file("")))
    for top in {Path(str(file)).parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        if not (site / top).exists() and (source / top).exists():
            (site / top).symlink_to(source / top)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since a build leaves its folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    packages = [path.parent.name for path in ROOT.glob("*/__init__.py")]
    for name in packages:
        shutil.copytree(ROOT / name, folder / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]:
        shutil.copy(path, folder / "copy")
    # Older versions of setuptools need another package to build wheels: pip then fetches a new one.
    able = Version(metadata.version("setuptools")) >= Version("70.1")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation"] if able else []
    subprocess.run([*command, "--wheel-dir", str(folder), str(folder / "copy")], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.process
def test_the_wheel_holds_sparse_model_alone(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"sparse_model", "sparse_retrieval_l0-0.2.0.dist-info"}


@pytest.mark.process
@pytest.mark.slow
def test_the_wheel_works_with_what_it_declares(wheel: Path, tmp_path: Path) -> None:
    """An environment that holds the wheel and links to its dependencies' closure, and no other package."""
    venv.create(tmp_path / "clean", symlinks=True, with_pip=False)
    site = next((tmp_path / "clean" / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    declared = next(iter(metadata.distributions(name=NAME, path=[str(site)]))).requires or []
    for distribution in closure(declared):
        link_into(site, distribution)
    python = tmp_path / "clean" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", USE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "encoded True"
