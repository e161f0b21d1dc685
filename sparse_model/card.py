"""The model card, README.md of a checkpoint: what the hub reads in front, then data, settings, figures, usage, limits.

Made of what lies in the folder: the checkpoint's own files, run.json of a training, evaluation/*.json; BM25's figures
are those of an evaluation of the same data beside the run. A card that somebody edited is never written over.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparse_model.activations import ACTIVATIONS
from sparse_model.description import describe
from sparse_model.layout import is_path
from sparse_model.lexical import TrainedShare
from sparse_model.manifest import CARD
from sparse_model.pruning import Cut

_MARK = "<!-- written by sparse-retrieval-l0, {}; once anything above is edited, it is left as it is -->\n"
_SETTINGS = (
    "loss_types use_in_batch_negatives flops_d_lambda flops_d_T flops_threshold learning_rate max_steps "
    "num_train_epochs per_device_train_batch_size max_seq_length seed"
).split()
_EXPORT = "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte"


def write_card(folder: Path, name: str | None = None, **told: str | None) -> bool:
    """Write README.md, unless one lies there that is not ours as we wrote it; whether it was written.

    Args:
        name: what usage calls the model: a hub id; None: the folder's name.
        told: language and license; None: as the card that is there says.
    """
    path = folder / CARD
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if before and not _is_ours(before):
        return False
    kept = {key: found[1] for key in ("language", "license") if (found := re.search(rf"^{key}: (.+)$", before, re.M))}
    text = card(folder, name or folder.resolve().name, kept | {key: value for key, value in told.items() if value})
    whole = path.with_name(f".{CARD}")
    whole.write_text(text + _MARK.format(_digest(text)), encoding="utf-8")
    whole.replace(path)
    return True


def _is_ours(text: str) -> bool:
    body, _, mark = text.rpartition("<!-- ")
    return f"<!-- {mark}" == _MARK.format(_digest(body))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def card(folder: Path, name: str, told: Mapping[str, str]) -> str:
    """The text, without our mark; told: language and license, as far as they are known."""
    says, run, records = describe(folder), _read(folder / "run.json"), list(_evaluations(folder))
    given = run.get("given", {})
    base = str(given.get("model_name_or_path", ""))
    activation = says.activation_type or "relu"
    front = _front(told, base, given, bool(says.inf_free), records, name)
    data = [_shown(given[key]) for key in ("train_file", "train_file_dir") if given.get(key)]
    settings = ", ".join(f"{key} {_shown(given[key])}" for key in _SETTINGS if given.get(key) not in (None, []))
    parts = [
        f"---\n{_yaml(front)}---\n\n# {name.rpartition('/')[2]}",
        "A learned sparse retriever: a document is encoded once into {token: weight} over the vocabulary of its "
        "tokenizer, and searched for in an inverted index. "
        + (
            "A query needs no model: a tokenizer and a table of weights (idf.json)."
            if says.inf_free
            else f"Queries go through {'a model of their own' if says.query_model else 'the model too'}."
        ),
        "## Data and settings",
        "\n".join(
            [
                f"- Base model: {_shown(base) or 'not recorded'}",
                f"- Data: {', '.join(data) or 'not recorded'}",
                f"- Settings: {settings or 'not recorded'}",
                f"- Activation {activation}, documents cut at {says.max_seq_length} tokens{_kept(says.cut)}",
                *([f"- Texts are read behind {says.prompts.words}"] if says.prompts else []),
                f"- Language: {told.get('language', 'not said')}; licence: {told.get('license', 'not said')}. What the "
                "base model and the data ask for holds as well.",
            ]
        ),
        "## Figures",
        _figures(folder, records),
        "## Usage",
        _usage(name, activation, bool(says.inf_free), says.cut, reads_alone=not says.prompts),
        "## Limits",
        _limits(says.max_seq_length, activation, TrainedShare.read(folder)),
    ]
    return "\n\n".join(parts) + "\n\n"


def _front(
    told: Mapping[str, str],
    base: str,
    given: Mapping[str, Any],
    inf_free: bool,
    records: list[dict[str, Any]],
    name: str,
) -> dict[str, Any]:
    """What the hub reads, in its words."""
    front: dict[str, Any] = dict(told)
    front |= {"library_name": "sentence-transformers", "pipeline_tag": "feature-extraction"}
    front["tags"] = ["sparse-encoder", "sparse", "splade", *(["inference-free"] if inf_free else [])]
    if base and not is_path(base) and base.count("/") == 1 and not Path(base).exists():
        front["base_model"] = base.partition("@")[0]
    files = str(given.get("train_file") or "")
    if files.startswith("hub:"):
        front["datasets"] = ["/".join(files.removeprefix("hub:").partition("@")[0].split("/")[:2])]
    if records:
        front["model-index"] = [{"name": name.rpartition("/")[2], "results": [_result(record) for record in records]}]
    return front


def _result(record: Mapping[str, Any]) -> dict[str, Any]:
    metrics = [*_metrics(record), "flops", "d_length"]
    return {
        "task": {"type": "information-retrieval"},
        "dataset": {"name": record["dataset"], "type": record["dataset"], "split": record.get("split", "test")},
        "metrics": [{"type": metric, "value": round(record[metric], 4)} for metric in metrics if metric in record],
    }


def _figures(folder: Path, records: list[dict[str, Any]]) -> str:
    if not records:
        return "None yet: an evaluation in this folder writes them here."
    names = list(dict.fromkeys(metric for record in records for metric in _metrics(record)))[:4]
    lines = [f"| data set | system | {' | '.join(names)} | FLOPS | d_length |", "|---" * (len(names) + 4) + "|"]
    for record in records:
        for system, figures in (("this model", record), ("BM25", _bm25(folder, record))):
            cells = [f"{figures[name]:.4f}" if name in figures else "" for name in names] if figures else []
            if figures:
                costs = f"{figures.get('flops', 0):.2f} | {figures.get('d_length', 0):.1f}"
                lines.append(f"| {record['dataset']} | {system} | {' | '.join(cells)} | {costs} |")
    return "\n".join(lines) + (
        "\n\nFLOPS: products that a query and a document share on average; d_length: tokens that a document "
        "is stored with."
    )


def _kept(cut: Cut) -> str:
    """Of a vector, in words."""
    heaviest = f"; of a vector its {cut.max_active_dims} heaviest tokens are kept" if cut.max_active_dims else ""
    light = f"; tokens below {cut.prune_ratio} × a vector's heaviest are dropped" if cut.prune_ratio else ""
    return heaviest + light + (" (other programs keep all, unless they are told)" if cut else "")


def _usage(name: str, activation: str, inf_free: bool, cut: Cut, reads_alone: bool) -> str:
    told = f", max_active_dims={cut.max_active_dims}" if cut.max_active_dims else ""
    from_hub = name if "/" in name else f"path/to/{name}"
    encode = 'model.encode_documents(["a document"]), model.encode_queries(["a query"])  # scipy CSR [N, V]'
    parts = [f'```python\nimport sparse_model\n\nmodel = sparse_model.load("{from_hub}")\n{encode}\n```']
    if ACTIVATIONS[activation].stored_name in ("relu", "log1p_relu"):
        parts.append(
            "sentence-transformers, from 5.1:\n\n```python\nfrom sentence_transformers import SparseEncoder\n\n"
            f'model = SparseEncoder("{from_hub}"{told})\n'
            'model.similarity(model.encode_query(["a query"]), model.encode_document(["a document"]))\n```'
        )
    else:
        parts.append(f"sentence-transformers does not know {activation} and refuses the model.")
    if inf_free and reads_alone:
        parts.append(
            f"OpenSearch: `python -m sparse_model.export opensearch {from_hub} FOLDER` writes the models that it "
            "serves and the calls in order. Without it, a field of type `rank_features` holds a document's weights, "
            "and a query is a `rank_feature` clause a token."
        )
    if inf_free and reads_alone and activation == "l1_relu":
        parts.append(
            f"FastEmbed, after `python -m sparse_model.export fastembed {from_hub} FOLDER`:\n\n```python\n"
            f'from fastembed import SparseTextEmbedding\n\nmodel = SparseTextEmbedding(\n    "{_EXPORT}",\n'
            '    specific_model_path="FOLDER",\n)\n```'
        )
    return "\n\n".join(parts)


def _limits(length: Any, activation: str, share: TrainedShare) -> str:
    lines = [
        f"- What stands behind a document's first {length} tokens is not read.",
        "- Tokens are those of the base model's vocabulary: words of other languages and domains fall into pieces.",
        "- A model repeats what its data prefer; figures hold for the data sets that they name.",
    ]
    if share.missed:
        lines.append(f"- Note: {share.missed}")
    if (logarithms := list(ACTIVATIONS).index(activation)) > 0:
        again = "once more" if logarithms == 1 else f"{logarithms} times more"
        lines.append(
            f"- Servers that take one logarithm (vLLM, TEI, Vespa's embedder) give other weights: take log1p {again} "
            "of each on the client."
        )
    return "\n".join(lines)


def _evaluations(folder: Path) -> Iterator[dict[str, Any]]:
    """The evaluation's figures of each data set, by name."""
    for path in sorted((folder / "evaluation").glob("*.json")):
        record = _read(path)
        if "dataset" in record and _metrics(record):
            yield record


def _bm25(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Its figures of the same data, from an evaluation in a folder beside the run's; {} if there is none."""
    for path in sorted(folder.resolve().parent.glob(f"*/evaluation/{record['dataset']}.json")):
        found = _read(path)
        if found.get("model") == "bm25" and found.get("data hash") == record.get("data hash"):
            return found
    return {}


def _metrics(record: Mapping[str, Any]) -> list[str]:
    named = record.get("metrics", ["ndcg@10", "recall@100"])
    return [name for name in named if isinstance(record.get(name), float)]


def _read(path: Path) -> dict[str, Any]:
    try:
        says = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return says if isinstance(says, dict) else {}


def _shown(value: Any) -> str:
    """A setting as others may read it: of a path its last part, which tells nothing of somebody's disk."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return Path(value).name if isinstance(value, str) and (is_path(value) or Path(value).exists()) else str(value)


def _yaml(value: Any, indent: str = "") -> str:
    """The front matter, whose strings are quoted as JSON where they are not plain words."""
    lines = []
    for key, entry in value.items():
        if isinstance(entry, dict):
            lines.append(f"{indent}{key}:\n{_yaml(entry, indent + '  ')}")
        elif isinstance(entry, list):
            rows = (
                _yaml(row, indent + "    ") if isinstance(row, dict) else f"{indent}    {_scalar(row)}\n"
                for row in entry
            )
            lines.append(f"{indent}{key}:\n" + "".join(f"{indent}  - {row.lstrip()}" for row in rows))
        else:
            lines.append(f"{indent}{key}: {_scalar(entry)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value) else json.dumps(value)
