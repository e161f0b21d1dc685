"""Queries without queries: training rows and a held-out BEIR split made of a corpus alone.

    python -m pairs.pseudo data/handbook data/handbook-pseudo
    python -m pairs.pseudo data/beir/scifact data/scifact-pseudo --kinds titles,cloze,cloze,keywords

Kinds (one that stands twice is drawn twice as often): titles, headings, first_sentences, cloze (a sentence and its
passage, mostly without it), spans (of a few words), keywords (drawn by IDF). OUT is a BEIR folder: train.jsonl, rows
{query, pos} of most documents; queries.jsonl and qrels/{dev,test}.tsv of the others, one or several a document, each of
another kind, whose passages in corpus.jsonl mostly lack what they are asked by. No document, and no copy of a passage,
has rows on one side and queries on another. pseudo.json holds the counts and is written last.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from pairs.pseudo_queries import KINDS, Passage, Rarity, drawn, several
from retrieval.beir_files import packed_or_not, read_records, text_lines
from retrieval.files import made_once, whole
from retrieval.fingerprint import fingerprint, text_key
from sparse_model.commands import exit_code
from sparse_model.disk_errors import disk_told, usable_folder
from sparse_model.errors import UserError

RECORD = "pseudo.json"
DEFAULT_KINDS = ("titles", "headings", "cloze", "spans", "keywords")
HELD_OUT = 0.15
"""The share of the documents that each of dev and test is made of, at most."""
MOST_ASKED, MOST_QUERIES, MOST_PASSAGES, MOST_ROWS = 500, 1_000, 6_000, 60_000
"""Documents and queries of each held-out split; passages that are searched; rows: more tell and teach little more."""
FEWEST_ASKED = 10
"""Documents of each split: with fewer no test tells models apart."""
SPLITS = ("dev", "test")


@dataclass
class Survey:
    """What is known of a corpus after it was read once."""

    rarity: Rarity
    documents: int = 0
    copies: set[bytes] = field(default_factory=set)
    """keys of texts that several passages have"""
    common_titles: set[str] = field(default_factory=set)
    """titles of several documents: no query that one of them alone answers"""


def make_pseudo(
    folder: Path,
    out: Path,
    kinds: Sequence[str] = DEFAULT_KINDS,
    seed: int = 42,
    most_rows: int = MOST_ROWS,
    log: Path | None = None,
) -> dict[str, Any]:
    """Make rows and held-out splits of a BEIR folder's corpus; the record. The same corpus leaves the same bytes.

    Args:
        log: a file of queries that people asked, see `read_log` and `Rarity`.

    Raises:
        UserError: an unknown kind, a log that cannot be read, a corpus that gives too few queries, or `out` holds
            something else.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"kinds: {', '.join(unknown)}: unknown; there are {', '.join(KINDS)}.")
    if not kinds:
        raise UserError(f"kinds: name at least one of {', '.join(KINDS)}.")
    if most_rows < 1:
        raise UserError(f"rows: {most_rows}; 1 or more.")
    if log and not log.is_file():
        raise UserError(f"queries: {log}: no such file.")
    corpus = packed_or_not(folder / "corpus.jsonl")
    if corpus is None:
        raise UserError(f"{folder}: no corpus.jsonl in it; python -m mining.documents FOLDER OUT makes one.")
    made_of = {"corpus": fingerprint([corpus]), "kinds": list(kinds), "seed": seed, "rows": most_rows, "version": 3}
    if log:
        made_of["log"] = fingerprint([log])

    def make() -> dict[str, Any]:
        return _write(corpus, out, list(kinds), str(seed), most_rows, read_log(log) if log else [])

    return made_once(out, RECORD, "corpus.jsonl", made_of, make)


def read_log(path: Path) -> list[str]:
    """The queries of a log without judgements: a line each, or of a .jsonl its rows' text (or query).

    Raises:
        UserError: naming file and line.
    """
    queries = []
    for number, line in enumerate(text_lines(path), start=1):
        query: Any = line
        if path.suffix == ".jsonl" and line.strip():
            try:
                row = json.loads(line)
                query = row.get("text", row.get("query"))
            except (ValueError, RecursionError, AttributeError):
                query = None
        if not isinstance(query, str):
            raise UserError(f'{path}:{number}: no query; expected {{"text": "..."}}, or plain lines in a .txt.')
        queries.append(" ".join(query.split()))
    if not any(queries):
        raise UserError(f"{path}: holds no query; give a line for each.")
    return [query for query in queries if query]


def _documents(corpus: Path) -> Iterator[list[Passage]]:
    """The passages of each document; they stand below one another."""
    passages = (
        Passage(record.name, record.passage_of or record.name, record.title.strip(), record.heading, record.text)
        for record in read_records(corpus, "document", [])
    )
    for _, together in groupby(passages, key=lambda passage: passage.document):
        yield list(together)


def _survey(corpus: Path, log: Sequence[str]) -> Survey:
    found = Survey(Rarity(log))
    texts: set[bytes] = set()
    titles: set[str] = set()
    for document in _documents(corpus):
        found.documents += 1
        title = document[0].title
        (found.common_titles if title in titles else titles).add(title)
        for passage in document:
            found.rarity.add(passage.whole)
            (found.copies if (key := text_key(passage.text)) in texts else texts).add(key)
    return found


def _share(name: str, seed: str) -> float:
    """A number from 0 to 1 that is the same on every machine."""
    return int.from_bytes(blake2b(f"{seed}:{name}".encode(errors="replace"), digest_size=6).digest(), "big") / 2**48


def side(document: str, seed: str, held_out: float) -> str:
    """train, dev or test: of a document's id alone."""
    share = _share(document, seed)
    return "dev" if share < held_out else "test" if share < 2 * held_out else "train"


class _Writer:
    """Writes the files of a pseudo folder, document by document."""

    def __init__(
        self, survey: Survey, kinds: list[str], seed: str, most_rows: int, files: Mapping[str, IO[str]]
    ) -> None:
        self.survey, self.kinds, self.seed, self.files = survey, kinds, seed, files
        # A third more than are wanted: some documents give no query.
        self.held_out = min(HELD_OUT, 1.3 * MOST_ASKED / max(survey.documents, 1))
        self.each = round(MOST_QUERIES / max(min(self.held_out * survey.documents, MOST_ASKED), 1))
        self.row_share = most_rows / max(survey.rarity.passages * len(kinds), 1)
        self.searched = MOST_PASSAGES / max(survey.rarity.passages, 1)
        self.counts: Counter[str] = Counter()
        self.asked: set[str] = set()

    def add(self, document: list[Passage]) -> None:
        """Write what a document gives."""
        split = side(document[0].document, self.seed, self.held_out)
        if split == "train":
            for passage in document:
                self._add_rows(passage)
        elif self.counts[f"{split} documents"] < MOST_ASKED:
            document = self._asked(document, split)
        if split != "train" or _share(document[0].document, f"searched {self.seed}") < self.searched:
            for passage in document:
                self.counts["passages"] += 1
                metadata = {"passage_of": passage.document} if passage.document != passage.name else {}
                record = {"_id": passage.name, "title": passage.title, "text": passage.text, "metadata": metadata}
                self._line("corpus", record)

    def _kinds(self, passage: Passage) -> list[str]:
        """The kinds that ask for it; a title of several documents asks for none of them."""
        is_common = passage.title in self.survey.common_titles
        return [kind for kind in self.kinds if not (is_common and kind == "titles")]

    def _add_rows(self, passage: Passage) -> None:
        if text_key(passage.text) in self.survey.copies:
            return
        for number, kind in enumerate(self._kinds(passage)):
            seed = f"{self.seed}:{number}"
            if _share(passage.name, seed) < self.row_share and (
                found := drawn(kind, passage, seed, self.survey.rarity)
            ):
                query, answer = found
                self._line("train", {"query": query.text, "pos": answer.whole, "kind": kind, "passage": passage.name})
                self.counts["rows"] += 1
                self.counts[f"rows of {kind}"] += 1

    def _asked(self, document: list[Passage], split: str) -> list[Passage]:
        """The document as it answers the queries that are asked for it; as it is, where it gives none."""
        own = [passage for passage in document if text_key(passage.text) not in self.survey.copies]
        kinds = self._kinds(document[0])
        if not own or not kinds:
            return document
        drew = several(kinds, own, self.each, self.seed, self.survey.rarity)
        new = [found for found in drew if found[2].text.lower() not in self.asked]
        self.counts[f"{split} documents"] += bool(new)
        for kind, passage, query in new:
            self.asked.add(query.text.lower())
            name = f"{kind}:{passage.name}"
            self._line("queries", {"_id": name, "text": query.text, "metadata": {"kind": kind}})
            self.files[split].write(f"{name}\t{passage.document}\t1\n")
            self.counts[split] += 1
            self.counts[f"{split} of {kind}"] += 1
            document = [part.without(query.gone) for part in document]
        return document

    def _line(self, file: str, record: dict[str, Any]) -> None:
        self.files[file].write(json.dumps(record, ensure_ascii=False) + "\n")


def _write(corpus: Path, out: Path, kinds: list[str], seed: str, most_rows: int, log: Sequence[str]) -> dict[str, Any]:
    survey = _survey(corpus, log)
    paths = {name: out / f"{name}.jsonl" for name in ("corpus", "queries", "train")}
    paths |= {split: out / "qrels" / f"{split}.tsv" for split in SPLITS}
    with ExitStack() as stack:
        made = {name: stack.enter_context(whole(path)) for name, path in paths.items()}
        with ExitStack() as opened:
            files = {name: opened.enter_context(open(path, "w", encoding="utf-8")) for name, path in made.items()}
            for split in SPLITS:
                files[split].write("query-id\tcorpus-id\tscore\n")
            writer = _Writer(survey, kinds, seed, most_rows, files)
            for document in _documents(corpus):
                writer.add(document)
        counts = writer.counts
        few = [split for split in SPLITS if counts[f"{split} documents"] < FEWEST_ASKED]
        if few or not counts["rows"]:
            given = ", ".join(
                f"{counts[name]} {name}" for name in (*(f"{split} documents" for split in SPLITS), "rows")
            )
            raise UserError(
                f"{corpus}: its {survey.documents} documents give too few queries ({given}): at least {FEWEST_ASKED} "
                f"documents each of dev and test are needed to tell models apart; give more documents, or other kinds."
            )
    return {"documents": survey.documents, "held out": writer.held_out, **dict(sorted(counts.items()))}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pairs.pseudo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="a BEIR folder; its corpus alone is read")
    parser.add_argument("out", help="the folder to make")
    parser.add_argument("--kinds", default=",".join(DEFAULT_KINDS), help=f"({','.join(DEFAULT_KINDS)})")
    parser.add_argument("--seed", type=int, default=42, help="of what is drawn and held out (42)")
    parser.add_argument("--rows", type=int, default=MOST_ROWS, help=f"at most so many ({MOST_ROWS})")
    parser.add_argument(
        "--queries", type=Path, help="a log without judgements: spans and keywords become like its queries"
    )
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _make(arguments))


def _make(arguments: argparse.Namespace) -> None:
    kinds = [kind.strip() for kind in arguments.kinds.split(",") if kind.strip()]
    folder, out = Path(arguments.folder), Path(arguments.out)
    with disk_told(usable_folder(out, "out")):
        record = make_pseudo(folder, out, kinds, arguments.seed, arguments.rows, arguments.queries)
    counts = {name: value for name, value in record.items() if name != "made of"}
    print(f"{arguments.out}: " + ", ".join(f"{name} {value}" for name, value in counts.items()))


if __name__ == "__main__":
    sys.exit(main())
