"""Names of data sets: a folder's name or path and, where that is not the split asked for, the splits to score.

"trec-dl-mini:dev+test" is one corpus, encoded once, with the queries of both. "hub:owner/name" and "irds:ID" are
fetched from the Hugging Face hub and by ir_datasets.
"""

from pathlib import Path

BEIR_13 = (
    "trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 dbpedia-entity scidocs fever "
    "climate-fever scifact quora"
).split()


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
    return Path(folder_name(parse_name(name)[0])).name


def splits_of(text: str) -> list[str]:
    """The splits that a split key, or what follows a name's colon, stands for."""
    return [split.strip() for split in text.split("+")]


def has_bad_splits(text: str) -> bool:
    """Whether one of the splits is empty or stands twice."""
    splits = splits_of(text)
    return "" in splits or len({*splits}) < len(splits)
