"""BEIR folders: where they are, and what a split's corpus.jsonl, queries.jsonl and qrels/<split>.tsv hold together."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrieval import distributed, download
from retrieval.beir_files import halves, json_lines, packed_or_not, read_judgements, read_records
from retrieval.dataset_names import PARTS, archive_of, folder_name, is_named, label, parse_name, scored_split, splits_of
from retrieval.fingerprint import file_hash, fingerprint
from retrieval.mapped_corpus import MappedCorpus, Mend, Source, map_corpus
from retrieval.metrics import Qrels
from retrieval.named_data import malformed
from retrieval.strings import Ids
from sparse_model.errors import UserError


@dataclass(frozen=True)
class BeirData:
    """A corpus with the judged queries of one split, or of several: "dev+test"."""

    name: str
    """The folder's name."""
    split: str
    doc_ids: Ids
    """In the order of the file; a list is taken, too. They need not lie in memory: see `retrieval.mapped_corpus`."""
    texts: Sequence[str]
    """(title + " " + text) stripped, for every line of the corpus, empty ones too."""
    query_ids: list[str]
    """Queries that the split judges, in the order of queries.jsonl."""
    queries: list[str]
    qrels: Qrels
    """Query id to document id to grade, for query_ids; documents that the corpus lacks are kept."""
    fingerprint: str
    """16 hex digits over the content of the files."""
    notes: list[str]
    """What is odd about the data, a sentence each."""
    in_corpus: frozenset[str] = frozenset()
    """Queries that are documents too: of the same id and the same text, as in ArguAna and Quora."""
    passage_of: Mapping[str, str] = field(default_factory=dict)
    """Of each line that is a part of a document, the document's id, which judgements and rankings name."""
    folder: Path = Path()
    """Where the files lie."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "doc_ids", Ids.of(self.doc_ids))


def load_beir(name_or_path: str, beir_dir: str, split: str | None = None, mend: Mend | None = None) -> BeirData:
    """Read a data set: a folder of beir_dir by name (downloaded if absent), or any BEIR folder by path.

    To be called in every process. A split in the name goes before `split`; without either it is `default_split`.

    Args:
        mend: a function that every document's text goes through (see `Source`).

    Raises:
        UserError: an unknown name, a failed download, a file that cannot be used (with line and remedy).
    """
    split = scored_split(name_or_path, split)
    folder = distributed.on_main(lambda: locate(parse_name(name_or_path)[0], beir_dir))
    paths = data_files(folder, split)
    # Rank 0's, so that no process reads other data than the rest.
    digest = distributed.on_main(lambda: fingerprint(paths))
    data = _read(label(folder), split, paths, digest[:16], mend)
    if fingerprint(paths) != digest:
        raise UserError(f"{folder}: was changed while it was read; run the same command again.")
    return data


def _read(name: str, split: str, paths: list[Path], digest: str, mend: Mend | None) -> BeirData:
    corpus_path, queries_path, *qrels_paths = paths
    qrels: Qrels = {}
    notes: list[str] = []
    queries = {record.name: record.text.strip() for record in read_records(queries_path, "query", notes)}
    for path in qrels_paths:
        notes += read_judgements(path, queries.keys(), qrels)
    judged = {qid: text for qid, text in queries.items() if qid in qrels}
    corpus = map_corpus(corpus_source(corpus_path, mend))
    places = dict(zip(judged, corpus.ids.positions([*judged]).tolist(), strict=True))
    same_id = {qid: place for qid, place in places.items() if place >= 0}
    own = frozenset(qid for qid, place in same_id.items() if corpus.says(place, judged[qid]))
    notes += halves(corpus_path, corpus.counts["halved"])
    notes += _check(paths, qrels, corpus, judged, len(same_id) - len(own))
    return BeirData(
        name=name,
        split=split,
        doc_ids=corpus.ids,
        texts=corpus.texts,
        query_ids=list(judged),
        queries=list(judged.values()),
        qrels={qid: qrels[qid] for qid in judged},
        fingerprint=digest,
        notes=notes,
        in_corpus=own,
        passage_of=corpus.passage_of,
        folder=corpus_path.parent,
    )


def corpus_source(path: Path, mend: Mend | None = None) -> Source:
    """A corpus.jsonl or corpus.jsonl.gz, to be mapped."""
    return Source(path, [path], lambda: json_lines(path), lambda: file_hash(path), mend)


def judged_queries(folder: Path, split: str) -> tuple[dict[str, str], Qrels]:
    """The texts of a BEIR folder's queries, and the judgements of a split, without the corpus.

    Raises:
        UserError: if the split is not there, or a file cannot be used.
    """
    _, path, *qrels_paths = data_files(folder, split)
    queries, qrels = {record.name: record.text.strip() for record in read_records(path, "query", [])}, Qrels()
    for judgements in qrels_paths:
        read_judgements(judgements, queries.keys(), qrels)
    return queries, qrels


def local_folder(name_or_path: str, beir_dir: str) -> Path | None:
    """The folder of a data set; None if it is not on this disk. Nothing is downloaded."""
    named, given = Path(beir_dir, folder_name(name_or_path)), Path(name_or_path)
    if is_named(name_or_path):
        return named if named.is_dir() else None
    if "/" in name_or_path or os.sep in name_or_path:
        return next((folder for folder in (given, named) if folder.is_dir()), None)
    if named.is_dir():
        return named
    return given if _is_beir(given) else None


def why_missing(name_or_path: str, beir_dir: str) -> str | None:
    """Why a data set cannot be had, with the remedy; None: it is on this disk, or can be downloaded."""
    if is_named(name_or_path):
        return malformed(name_or_path)
    if archive_of(name_or_path) in download.NAMES or local_folder(name_or_path, beir_dir) is not None:
        return None
    if label(given := Path(name_or_path)) != given.name:
        return f"{given}: no such folder; {given.parent.name} is the mean over all of its parts: complete it."
    if "/" in name_or_path or os.sep in name_or_path:
        return f"{name_or_path}: no such folder; give a BEIR folder or a data set's name."
    return _unknown(name_or_path, beir_dir)


def why_unusable(name: str, beir_dir: str, split: str | None = None) -> str | None:
    """Why a data set cannot be had, or which of its files is not there; None: it can, or what it lacks is downloaded.

    Args:
        name, split: as for `load_beir`.
    """
    place = parse_name(name)[0]
    folder, fetched = local_folder(place, beir_dir), Path(beir_dir, folder_name(archive_of(place)))
    can_be_fetched = is_named(place) or archive_of(place) in download.NAMES
    if folder and (download.is_beir_folder(fetched) or not (can_be_fetched and folder.is_relative_to(fetched))):
        try:
            data_files(folder, scored_split(name, split))
        except UserError as error:
            return str(error)
    return why_missing(place, beir_dir)


def locate(name_or_path: str, beir_dir: str) -> Path:
    """The absolute folder of a data set; what is known by its name is downloaded if it is absent.

    To be called in one process: see `load_beir`.
    """
    if why := why_missing(name_or_path, beir_dir):
        raise UserError(why)
    if is_named(name_or_path):
        return Path(os.path.abspath(download.ensure(name_or_path, beir_dir)))
    folder, named = local_folder(name_or_path, beir_dir), Path(beir_dir, name_or_path)
    if (archive := archive_of(name_or_path)) in download.NAMES and folder in (None, named):
        download.ensure(archive, beir_dir)
    return Path(os.path.abspath(folder or named))


def data_files(folder: Path, split: str) -> list[Path]:
    """Corpus, queries and the judgements of each split of a BEIR folder.

    Raises:
        UserError: for the first that is missing.
    """
    if parts := PARTS.get(folder.name):
        raise UserError(
            f"{folder}: is several corpora; name one of them: {folder.name}/{parts[0]}, …, {folder.name}/{parts[-1]}."
        )
    qrels = [_qrels_file(folder, part) for part in splits_of(split)]
    return [_file(folder, "corpus.jsonl"), _file(folder, "queries.jsonl"), *qrels]


def _unknown(name: str, beir_dir: str) -> str:
    there = sorted(path.name for path in Path(beir_dir).glob("*") if _is_beir(path))
    lower = {known.lower(): known for known in [*there, *download.NAMES]}
    near = difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(lower[match] for match in near)}?" if near else ""
    listed = f"In {beir_dir}: {', '.join(there) or 'no folder'}. To be downloaded: {', '.join(download.NAMES)}."
    return f"{name}: unknown data set.{hint} {listed} Any other BEIR folder can be given by its path."


def _is_beir(folder: Path) -> bool:
    return packed_or_not(folder / "corpus.jsonl") is not None


def _file(folder: Path, name: str) -> Path:
    if path := packed_or_not(folder / name):
        return path
    raise UserError(
        f"{folder}: no {name} (or {name}.gz) in it. A BEIR folder holds corpus.jsonl, queries.jsonl and "
        f"qrels/<split>.tsv; complete it."
    )


def _qrels_file(folder: Path, split: str) -> Path:
    if path := packed_or_not(folder / "qrels" / f"{split}.tsv"):
        return path
    there = sorted({p.name.split(".tsv")[0] for p in (folder / "qrels").glob("*.tsv*")})
    raise UserError(
        f"{folder}: no qrels/{split}.tsv; splits that are there: {', '.join(there) or 'none'} "
        "(name:split, or key: split)."
    )


def _check(paths: list[Path], qrels: Qrels, corpus: MappedCorpus, judged: dict[str, str], others: int) -> list[str]:
    """Notes on what is odd; UserError if judgements and texts have nothing in common.

    Args:
        others: documents that have a query's id, but not its text.
    """
    corpus_path, queries_path, qrels_path = *paths[:2], " and ".join(map(str, paths[2:]))
    documents = sorted({doc for grades in qrels.values() for doc in grades})
    wholes = {*corpus.passage_of.values()}
    found = zip(documents, corpus.ids.positions(documents).tolist(), strict=True)
    absent = sum(place < 0 and document not in wholes for document, place in found)
    if not judged:
        raise UserError(f"{qrels_path}: none of its {len(qrels)} queries is in {queries_path}; ids must be the same.")
    if absent == len(documents):
        raise UserError(
            f"{qrels_path}: none of its {len(documents)} documents is in {corpus_path}; ids must be the same."
        )
    counts = corpus.counts
    odd = {
        f"{qrels_path}: %d judged documents are not in the corpus; they count as never found.": absent,
        f"{qrels_path}: %d judged queries are not in {queries_path.name}; they are left out.": len(qrels) - len(judged),
        f"{corpus_path}: %d documents have the same text as an earlier one.": counts["repeated"],
        f"{corpus_path}: %d documents have a query's id, but not its text.": others,
        f"{corpus_path}: %d documents are empty.": counts["empty"],
        f"{corpus_path}: characters that were encoded twice are repaired in %d documents.": counts["mended"],
        f"{queries_path}: %d queries of the split are empty.": sum(not text for text in judged.values()),
    }
    return [sentence % count for sentence, count in odd.items() if count]
