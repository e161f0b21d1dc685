"""BEIR folders: corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each also as .gz, checked while read."""

import difflib
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from retrieval import distributed, download
from retrieval.dataset_names import BEIR_13 as BEIR_13
from retrieval.dataset_names import parse_name, scored_split, splits_of
from retrieval.fingerprint import fingerprint
from retrieval.metrics import Qrels
from sparse_model.errors import UserError


@dataclass(frozen=True)
class BeirData:
    """A corpus with the judged queries of one split, or of several: "dev+test"."""

    name: str
    """The folder's name."""
    split: str
    doc_ids: list[str]
    texts: list[str]
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


def load_beir(name_or_path: str, beir_dir: str, split: str | None = None) -> BeirData:
    """Read a data set: a folder of beir_dir by name (downloaded if absent), or any BEIR folder by path.

    To be called in every process. A split in the name goes before `split`; without either it is `default_split`.

    Raises:
        UserError: an unknown name, a failed download, a file that cannot be used (with line and remedy).
    """
    split = scored_split(name_or_path, split)
    folder = distributed.on_main(lambda: locate(parse_name(name_or_path)[0], beir_dir))
    name = folder.name
    paths = data_files(folder, split)
    qrels, notes = _read_qrels(paths[2:])
    corpus = _read_records(paths[0], "document")
    if not corpus:
        raise UserError(f"{paths[0]}: the corpus is empty; expected one JSON object per line with _id, title, text.")
    queries = _read_records(paths[1], "query")
    judged = {qid: text for qid, text in queries.items() if qid in qrels}
    notes += _check(paths, qrels, corpus, judged)
    kept = {qid: qrels[qid] for qid in judged}
    digest = fingerprint(paths)[:16]
    return BeirData(
        name,
        split,
        list(corpus),
        list(corpus.values()),
        list(judged),
        list(judged.values()),
        kept,
        digest,
        notes,
    )


def local_folder(name_or_path: str, beir_dir: str) -> Path | None:
    """The folder of a data set as `locate` finds it; None if it is not on this disk. Nothing is downloaded."""
    return next((path for path in (Path(beir_dir, name_or_path), Path(name_or_path)) if path.is_dir()), None)


def locate(name_or_path: str, beir_dir: str) -> Path:
    """The absolute folder of a data set; a known BEIR or NanoBEIR name is downloaded if it is absent.

    To be called in one process: see `load_beir`.
    """
    named = Path(beir_dir, name_or_path)
    has_separator = "/" in name_or_path or os.sep in name_or_path
    if has_separator or (_is_beir(Path(name_or_path)) and not named.is_dir()):
        folder = Path(os.path.abspath(name_or_path))
        if not folder.is_dir():
            raise UserError(f"{name_or_path}: no such folder ({folder}); give a BEIR folder or a data set's name.")
        return folder
    if not named.is_dir():
        if name_or_path not in download.NAMES:
            raise UserError(_unknown(name_or_path, beir_dir))
        download.ensure(name_or_path, beir_dir)
    return Path(os.path.abspath(named))


def data_files(folder: Path, split: str) -> list[Path]:
    """Corpus, queries and the judgements of each split of a BEIR folder.

    Raises:
        UserError: for the first that is missing.
    """
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
    return any((folder / ("corpus.jsonl" + ending)).is_file() for ending in ("", ".gz"))


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / (name + ".gz")):
        if path.is_file():
            return path
    raise UserError(
        f"{folder}: no {name} (or {name}.gz) in it. A BEIR folder holds corpus.jsonl, queries.jsonl and "
        f"qrels/<split>.tsv; complete it, or remove it to have a known data set downloaded again."
    )


def _qrels_file(folder: Path, split: str) -> Path:
    for path in (folder / "qrels" / f"{split}.tsv", folder / "qrels" / f"{split}.tsv.gz"):
        if path.is_file():
            return path
    there = sorted({p.name.split(".tsv")[0] for p in (folder / "qrels").glob("*.tsv*")})
    raise UserError(
        f"{folder}: no qrels/{split}.tsv; splits that are there: {', '.join(there) or 'none'} "
        "(name:split, or key: split)."
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file that may be compressed, blank lines left out."""
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else open(path, encoding="utf-8-sig") as file
        ):
            shown = distributed.is_main()
            for number, line in enumerate(tqdm(file, path.name, unit="line", delay=3, disable=not shown), start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}:{number + 1}: not UTF-8 ({error.reason}); convert the file to UTF-8.") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}:{number + 1}: cannot be read ({error}); fetch the file again.") from error


def _read_records(path: Path, kind: str) -> dict[str, str]:
    """Id to text (title first, if there is one) of a jsonl file."""
    texts: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            record: Any = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error}); correct or remove the line.") from error
        mistake = _record_mistake(record)
        if mistake:
            raise UserError(f'{path}:{number}: {mistake}; expected {{"_id": "...", "text": "..."}}.')
        name = str(record["_id"])
        if name in texts:
            raise UserError(
                f"{path}:{number}: {kind} id {name!r} is also that of an earlier line; keep one of the two."
            )
        title = record.get("title") or ""
        texts[name] = f"{title} {record['text']}".strip() if kind == "document" else record["text"].strip()
    return texts


def _record_mistake(record: Any) -> str | None:
    if not isinstance(record, dict):
        return "not a JSON object"
    name = record.get("_id")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        return "_id is missing or empty" if name in (None, "") else "_id is not a string"
    if set(str(name)) & set("\t\r\n"):
        return "_id holds a tab or a line break, so that no judgement can name it"
    if not isinstance(record.get("text"), str):
        return "text is not a string" if "text" in record else "text is missing"
    if not isinstance(record.get("title"), str | None):
        return "title is not a string"
    return None


def _read_qrels(paths: list[Path]) -> tuple[Qrels, list[str]]:
    qrels: Qrels = {}
    notes = [note for path in paths for note in _read_judgements(path, qrels)]
    return qrels, notes


def _read_judgements(path: Path, qrels: Qrels) -> list[str]:
    """Adds a file's judgements to qrels; notes on what is odd."""
    judged = repeated = 0
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != 3:
            raise UserError(f"{path}:{number}: {len(fields)} columns between tabs, not 3 (query-id, corpus-id, score).")
        if number == 1 and not _is_number(fields[2]):
            continue
        qid, doc, grade = fields
        try:
            value = int(grade)
        except ValueError as error:
            raise UserError(f"{path}:{number}: grade {grade!r} is not an integer; correct the line.") from error
        judged += 1
        repeated += doc in qrels.get(qid, {})
        qrels.setdefault(qid, {})[doc] = value
    if not judged:
        raise UserError(f"{path}: no judgement in it; expected lines of query-id, corpus-id, score.")
    return [f"{path}: {repeated} judgements repeat an earlier one; the last counts."] if repeated else []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check(paths: list[Path], qrels: Qrels, corpus: dict[str, str], judged: dict[str, str]) -> list[str]:
    """Notes on what is odd; UserError if judgements and texts have nothing in common."""
    corpus_path, queries_path, qrels_path = *paths[:2], " and ".join(map(str, paths[2:]))
    documents = {doc for grades in qrels.values() for doc in grades}
    if not judged:
        raise UserError(f"{qrels_path}: none of its {len(qrels)} queries is in {queries_path}; ids must be the same.")
    if documents.isdisjoint(corpus):
        raise UserError(
            f"{qrels_path}: none of its {len(documents)} documents is in {corpus_path}; ids must be the same."
        )
    odd = {
        f"{qrels_path}: %d judged documents are not in the corpus; they count as never found.": len(
            documents - corpus.keys()
        ),
        f"{qrels_path}: %d judged queries are not in {queries_path.name}; they are left out.": len(qrels) - len(judged),
        f"{corpus_path}: %d documents have the same text as an earlier one.": len(corpus) - len(set(corpus.values())),
        f"{corpus_path}: %d documents are empty.": sum(not text for text in corpus.values()),
        f"{queries_path}: %d queries of the split are empty.": sum(not text for text in judged.values()),
    }
    return [sentence % count for sentence, count in odd.items() if count]
