"""Names of data sets: a folder's name or path and, where that is not the split asked for, the splits to score.

"trec-dl-mini:dev+test" is one corpus, encoded once, with the queries of both.
"""

from pathlib import Path

BEIR_13 = (
    "trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 dbpedia-entity scidocs fever "
    "climate-fever scifact quora"
).split()


def default_split(name: str) -> str:
    """The split that is reported for a data set: dev for msmarco, else test."""
    return "dev" if name == "msmarco" else "test"


def parse_name(name: str) -> tuple[str, str | None]:
    """A data set's name or path, and the split after its colon, if there is one."""
    before, colon, split = name.rpartition(":")
    return (before, split) if before and split and "/" not in split else (name, None)


def scored_split(name: str, split: str | None) -> str:
    """The split that counts for a data set's name: its own, else `split`, else the default."""
    return parse_name(name)[1] or split or default_split(dataset_name(name))


def dataset_name(name: str) -> str:
    """What the results of a data set are filed under: its folder's name."""
    return Path(parse_name(name)[0]).name


def splits_of(text: str) -> list[str]:
    """The splits that a split key, or what follows a name's colon, stands for."""
    return [split.strip() for split in text.split("+")]


def has_bad_splits(text: str) -> bool:
    """Whether one of the splits is empty or stands twice."""
    splits = splits_of(text)
    return "" in splits or len({*splits}) < len(splits)
