"""From a model and a data set to the page."""

import argparse
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, select_autoescape

from experiment.inspect import pictures
from experiment.inspect.collect import Explainer, Vectors, lines_of, needed, postings, read_vectors, spread
from experiment.run.kept_vectors import kept_vectors
from experiment.run.models import Chosen
from retrieval.asked import AskedShape
from retrieval.beir_data import BeirData, load_beir
from retrieval.bm25 import score_bm25
from retrieval.files import write_atomically
from retrieval.fingerprint import corpus_hash
from retrieval.metrics import DEFAULT_METRICS, PRIMARY
from retrieval.plain import plain
from retrieval.score_dataset import DatasetScores, document_vectors, prune, score_dataset
from retrieval.search.index import Match
from retrieval.shaped import Shape
from sparse_model.disk_errors import usable_folder
from sparse_model.errors import UserError
from sparse_model.pruning import Cut
from sparse_model.tokens import distinct_ids
from sparse_model.vocabulary import tokens_by_id

DEPTH = 1000
PLACE = Path("output/inspect")
"""Where pages and vectors of models lie that are no folder of a run."""


@dataclass
class Scored:
    """A model on a data set; its vectors are those that its evaluation kept, if it has been evaluated."""

    path: str
    data: BeirData
    asked: AskedShape
    use_cpu: bool

    @cached_property
    def _loaded(self) -> tuple[Chosen, Any, Shape]:
        import torch

        device = "cuda" if torch.cuda.is_available() and not self.use_cpu else "cpu"
        chosen = Chosen(self.path, {}, device)
        encoder = chosen.load()
        told, encoder.cut = encoder.cut, Cut()
        return chosen, encoder, self.asked.of(told, encoder.trained_share)

    @property
    def encoder(self) -> Any:
        """The model, without a cut of its own."""
        return self._loaded[1]

    @property
    def shape(self) -> Shape:
        """What becomes of its vectors."""
        return self._loaded[2]

    @cached_property
    def folder(self) -> Path:
        """Where its vectors are kept."""
        (chosen, encoder, _), data = self._loaded, self.data
        facts = chosen.vector_facts(encoder, chosen.vector_files())
        facts |= {"corpus": corpus_hash(data.doc_ids, data.texts)}
        folder = kept_vectors(place_of(self.path) / "evaluation", data.name, len(data.doc_ids), facts, keep=True)
        assert folder is not None
        return folder

    @cached_property
    def scores(self) -> DatasetScores:
        """Its rankings and figures."""
        more = {"vectors_folder": self.folder, "shape": self.shape}
        return score_dataset(self.encoder, self.data, DEPTH, metrics=DEFAULT_METRICS[:1], **more)  # type: ignore[arg-type]


def place_of(path: str) -> Path:
    """A run's folder, or one for a model that is none."""
    folder = Path(path)
    return folder if (folder / "run.json").is_file() or (folder / "evaluation").is_dir() else PLACE / folder.name


def write_page(arguments: argparse.Namespace, asked: AskedShape) -> str:
    """Write the page; what is to be said of it."""
    folder = arguments.output.parent if arguments.output else place_of(arguments.model) / "inspect"
    usable_folder(folder, "--output")
    data = load_beir(arguments.dataset, arguments.beir_dir)
    output = arguments.output or folder / f"{data.name}.html"
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder; name a file.")
    if output.exists() and not arguments.overwrite:
        raise UserError(f"--output {output}: is there already; name another file, or give --overwrite.")
    model = Scored(arguments.model, data, asked, arguments.use_cpu)
    other, values = _others(arguments, data, asked)
    page = _page(model, other, values, arguments.queries)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, plain(_environment().get_template("page.html.j2").render(page)))
    return f"{page['facts']}\n{output}"


def _others(arguments: argparse.Namespace, data: BeirData, asked: AskedShape) -> tuple[str, list[float]]:
    if arguments.against.lower() == "bm25":
        scores, name = score_bm25(data, DEPTH, DEFAULT_METRICS[:1]), "BM25"
    else:
        scores = Scored(arguments.against, data, asked, arguments.use_cpu).scores
        name = Path(arguments.against).name
    return name, _of_queries(scores, data)


def _of_queries(scores: DatasetScores, data: BeirData) -> list[float]:
    return [scores.per_query[qid][PRIMARY] for qid in data.query_ids]


def _page(model: Scored, other: str, others: list[float], wanted: int) -> dict[str, Any]:
    data, encoder = model.data, model.encoder
    scores = _of_queries(model.scores, data)
    numbers = spread(scores, wanted)
    lines, names = lines_of(data), needed(data, model.scores.rankings, numbers)
    wanted_lines = {line for name in names for line in lines.get(name, [])}
    queries_QV = prune(encoder.encode_queries(data.queries), 0)
    vectors = _vectors(model, wanted_lines)
    tokens = tokens_by_id(encoder.tokenizer, encoder.vocabulary_size)
    words_of = lambda text: distinct_ids(encoder.tokenizer, [text])[0]  # noqa: E731
    explainer = Explainer(data, queries_QV, vectors, lines, data.texts, tokens, words_of)
    rankings = model.scores.rankings
    shown = [explainer.query(n, rankings[data.query_ids[n]], scores[n], others[n]) for n in numbers]
    figures = model.scores.figures
    facts = (
        f"{data.name} ({data.split}): {len(data.queries)} queries, {len(data.doc_ids)} documents. NDCG@10 "
        f"{np.mean(scores):.4f}, {other} {np.mean(others):.4f}; {figures['d_length']:.1f} tokens a document, "
        f"FLOPS {figures['flops']:.3f}."
    )
    which = (
        "All" if len(numbers) == len(scores) else f"The worst {wanted // 2} of {len(scores)}, and a spread of the rest"
    )
    return {
        "title": f"{Path(model.path).name} on {data.name}",
        "facts": facts,
        "other": other,
        "by_query": pictures.by_query(scores, others, other),
        "lengths": pictures.lengths(vectors.lengths_N),
        "postings": postings(vectors, queries_QV, tokens),
        "queries": shown,
        "about_queries": f"{which}, worst first.",
    }


def _vectors(model: Scored, wanted: set[int]) -> Vectors:
    """Of the whole corpus; the kept ones are by id descending."""
    data, encoder, V = model.data, model.encoder, model.encoder.vocabulary_size
    order = data.doc_ids.order.tolist()
    vectors = document_vectors(encoder, data, V, 32, model.folder, model.shape)
    places = [n for n, line in enumerate(order) if line in wanted]
    found = read_vectors(vectors, len(order), V, set(places))
    return replace(found, rows={order[n]: row for n, row in found.rows.items()})


def _environment() -> Environment:
    """Everything that comes of data is escaped."""
    loader, escaped = FileSystemLoader(Path(__file__).parent), select_autoescape(["html.j2"])
    environment = Environment(loader=loader, autoescape=escaped, trim_blocks=True)
    environment.filters |= {
        "shared_text": _shared_text,
        "weight_text": lambda pair: f"{pair[0]} {pair[1]:.2f}",
    }
    return environment


def _shared_text(shared: Match) -> str:
    return f"{shared.token} {shared.query_weight:.2f} × {shared.document_weight:.2f} = {shared.product:.2f}"
