"""Names of data sets: a folder's name or path and, where that is not the split asked for, the splits to score.

"trec-dl-mini:dev+test" is one corpus, encoded once, with the queries of both. "hub:owner/name" and "irds:ID" are
fetched from the Hugging Face hub and by ir_datasets. "cqadupstack" stands for its twelve folders.
"""

from collections.abc import Iterable
from pathlib import Path

BEIR_13 = (
    "trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 dbpedia-entity scidocs fever "
    "climate-fever scifact quora"
).split()

CQADUPSTACK = "android english gaming gis mathematica physics programmers stats tex unix webmasters wordpress".split()
PARTS = {"cqadupstack": CQADUPSTACK}
"""Data sets of several corpora, a folder each within their own: each is searched alone, and their mean counts once."""


def default_split(name: str) -> str:
    """The split that is reported for a data set: dev for msmarco, else test."""
    return "dev" if name == "msmarco" else "test"


HUB, IRDS = "hub:", "irds:"


def is_named(name: str) -> bool:
    """Whether a data set is fetched by its name: hub:owner/name, irds:ID."""
    return name.startswith((HUB, IRDS))


def folder_name(name: str) -> str:
    """The folder in beir_dir that a name stands for: irds-beir-scifact-test; BEIR's names are their own."""
    return name.replace(":", "-").replace("/", "-") if is_named(name) else name


def parse_name(name: str) -> tuple[str, str | None]:
    """A data set's name or path, and the split after its colon, if there is one; an id of ir_datasets names its own."""
    if name.startswith(IRDS):
        return name, None
    before, colon, split = name.rpartition(":")
    return (before, split) if before and split and "/" not in split else (name, None)


def scored_split(name: str, split: str | None) -> str:
    """The split that counts for a data set's name: its own, else `split`, else the default."""
    return parse_name(name)[1] or (None if name.startswith(IRDS) else split) or default_split(dataset_name(name))


def dataset_name(name: str) -> str:
    """What the results of a data set are filed under: its folder's name."""
    return label(Path(folder_name(parse_name(name)[0])))


def label(folder: Path) -> str:
    """What the results of a folder are filed under: its name, behind the whole's where it is a part."""
    is_part = folder.name in PARTS.get(folder.parent.name, ())
    return f"{folder.parent.name}-{folder.name}" if is_part else folder.name


def archive_of(name: str) -> str:
    """What a data set is downloaded as: cqadupstack for cqadupstack/android."""
    whole, _, part = name.partition("/")
    return whole if part in PARTS.get(whole, ()) else name


def split_up(name: str) -> list[str]:
    """The names of a data set's parts; its own, if it has none: cqadupstack:test → cqadupstack/android:test, …"""
    whole, split = parse_name(name)
    parts = PARTS.get(dataset_name(name), ())
    return [f"{whole}/{part}:{split}" if split else f"{whole}/{part}" for part in parts] or [name]


def counted(labels: Iterable[str]) -> dict[str, list[str]]:
    """What averages are over, in order, each with its labels: a label, or the whole whose parts are all there."""
    labels = list(labels)
    found: dict[str, list[str]] = {}
    for one in labels:
        whole = one.partition("-")[0]
        parts = [f"{whole}-{part}" for part in PARTS.get(whole, ())]
        is_whole = one in parts and {*parts} <= {*labels}
        found |= {whole: parts} if is_whole else {one: [one]}
    return found


def splits_of(text: str) -> list[str]:
    """The splits that a split key, or what follows a name's colon, stands for."""
    return [split.strip() for split in text.split("+")]


def has_bad_splits(text: str) -> bool:
    """Whether one of the splits is empty or stands twice."""
    splits = splits_of(text)
    return "" in splits or len({*splits}) < len(splits)
