"""Documents encoded a second, beside sentence-transformers and plain torch.

    python -m benchmarks.encode [--documents 512] [--all] [--rounds 3] [--sizes tiny minilm] [--tiny FOLDER]
        [--minilm FOLDER] [--ndcg] [--beir FOLDER] [--json FILE]

From texts to sparse rows, documents cut to 256 tokens. The minilm size encodes an eighth of --documents; --all is the
whole corpus. sentence-transformers runs in float32 at the batch size that is fastest in a short trial; plain torch
computes all logits of 32 documents at a time. `values off` is the largest difference to plain torch. The share of the
limit is the time that the products of body and head in full would take at the GEMM peak, each in the precision it was
computed in (the head's in 8-bit integers where the screen is used), over the time taken; beside it the same with all
products at the peak of float32, which is what the results are equal to. --ndcg encodes the whole of
--beir (default: $SPARSE_SHARED/beir/scifact), in float32 and with the body in bfloat16, and scores both.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from transformers import AutoModelForMaskedLM, AutoTokenizer

from benchmarks import made_models as models
from benchmarks import measure
from retrieval.beir_data import load_beir
from retrieval.metrics import PRIMARY
from retrieval.score_dataset import score_dataset
from sparse_model import SparseEncoder

OURS, OURS_LOW_HEAD = "this toolkit, float32-exact", "this toolkit, bfloat16 head"
OURS_LOW = "this toolkit, bfloat16 body"
PEER, PLAIN = "sentence-transformers, float32", "plain torch, float32"
BATCH_SIZES = (8, 16, 32, 64)
# How much of the documents a size encodes.
SHARES = {"tiny": 1.0, "minilm": 0.125}
NDCG_DOCUMENTS = 100


def run(
    folders: dict[str, str | None],
    documents: int | None = 512,
    length: int = models.LENGTH,
    rounds: int = 3,
    vocabulary: int = models.VOCABULARY,
    beir: str | None = None,
    enough_seconds: float = 40.0,
) -> dict[str, Any]:
    """The rows of every size.

    Args:
        documents: how many; None is the whole corpus, for every size.
        beir: a folder to be scored, too.
        enough_seconds: a contender that has run for so long is left out of further rounds.
    """
    peaks, rows = measure.gemm_peaks(), []
    settings: dict[str, Any] = {"documents": {}, "length": length, "rounds": rounds, "gemm_flops": peaks}
    for size, folder in folders.items():
        with tempfile.TemporaryDirectory() as scratch:
            model = models.prepare(size, folder, scratch, vocabulary, documents or 5000, length)
            texts = model.texts[: None if documents is None else max(1, round(documents * SHARES[size]))]
            settings[size], settings["documents"][size] = model.source, len(texts)
            rows += _size(model, texts, rounds, enough_seconds, peaks)
            if beir and model.source != "stand-in":
                _add_ndcg(rows, model, beir)
    return measure.result("encode", settings, rows)


def _size(
    model: models.Model, texts: list[str], rounds: int, enough_seconds: float, peaks: dict[str, float]
) -> list[measure.Row]:
    encoder = model.load()
    lengths = [len(row) for row in encoder.tokenize_documents(texts)]
    contenders = _contenders(model, texts)
    outputs: dict[str, csr_matrix] = {}
    rows = measure.side_by_side(contenders, PEER, rounds, enough_seconds, outputs, model=model.size)
    body, head = models.forward_flops(encoder.mlm, lengths)
    screen = measure.screen_precision()
    kinds = {OURS: ("float32", screen), OURS_LOW_HEAD: ("float32", "bfloat16"), OURS_LOW: ("bfloat16", screen)}
    for row in rows:
        if "missing" in row:
            continue
        kind = kinds.get(row["name"], ("float32", "float32"))
        row["documents_per_s"] = len(texts) / row["median_s"]
        row["share"] = (body / peaks[kind[0]] + head / peaks[kind[1]]) / row["median_s"]
        row["share_float32"] = (body + head) / peaks["float32"] / row["median_s"]
        row["active"] = outputs[PLAIN].nnz / len(texts)
        if row["name"] != PLAIN:
            row["values_off"] = float(abs(outputs[row["name"]] - outputs[PLAIN]).max())
    return rows


def _contenders(model: models.Model, texts: list[str]) -> dict[str, Callable[[], csr_matrix] | str]:
    low_body = _low_body(model)
    encoders = {OURS: model.load(), OURS_LOW_HEAD: model.load(head_dtype="bfloat16"), OURS_LOW: low_body}
    found: dict[str, Callable[[], csr_matrix] | str] = {}
    for name, encoder in encoders.items():
        found[name] = lambda encoder=encoder: encoder.encode_documents(texts)  # type: ignore[misc]
    try:
        found[PEER] = peer(model, texts)
    except ImportError:
        found[PEER] = "not installed: pip install sentence-transformers"
    found[PLAIN] = plain(model, texts)
    return found


def _low_body(model: models.Model) -> SparseEncoder:
    encoder = model.load()
    encoder.encoding_dtype = torch.bfloat16
    return encoder


def peer(model: models.Model, texts: list[str], device: str = "cpu") -> Callable[[], csr_matrix]:
    """sentence-transformers at the batch size that is fastest for the first documents."""
    from sentence_transformers import SparseEncoder as Theirs

    module = Theirs(str(model.folder), device=device)

    def encode(batch_size: int, some: list[str] = texts) -> csr_matrix:
        coo = module.encode_document(some, batch_size=batch_size, show_progress_bar=False).coalesce()
        rows, columns = coo.indices().cpu().numpy()
        return csr_matrix((coo.values().cpu().numpy(), (rows, columns)), shape=tuple(coo.shape))

    def seconds(batch_size: int) -> float:
        started = time.perf_counter()
        encode(batch_size, texts[: max(BATCH_SIZES)])
        return time.perf_counter() - started

    encode(BATCH_SIZES[0], texts[: BATCH_SIZES[0]])
    best = min(BATCH_SIZES, key=seconds)
    return lambda: encode(best)


def plain(model: models.Model, texts: list[str], batch_size: int = 32) -> Callable[[], csr_matrix]:
    """All logits of a batch, then log1p(relu(max)) over its tokens."""
    mlm = AutoModelForMaskedLM.from_pretrained(model.folder, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(model.folder, trust_remote_code=False)
    length = model.load().max_seq_length

    @torch.inference_mode()
    def encode() -> csr_matrix:
        parts = []
        for start in range(0, len(texts), batch_size):
            chunk = texts[start : start + batch_size]
            batch = tokenizer(chunk, truncation=True, max_length=length, padding=True, return_tensors="pt")
            mask_NL1 = batch["attention_mask"].unsqueeze(-1)
            logits_NLV = mlm(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            weights_NV = logits_NLV.masked_fill_(mask_NL1 == 0, float("-inf")).amax(dim=1).relu().log1p()
            parts.append(csr_matrix(weights_NV.numpy()))
        return vstack(parts, format="csr", dtype=np.float32)

    return encode


def _add_ndcg(rows: list[measure.Row], model: models.Model, beir: str) -> None:
    """NDCG@10 of float32 and of the body in bfloat16, into their rows."""
    data = load_beir(beir, "")
    for name, encoder in ((OURS, model.load()), (OURS_LOW, _low_body(model))):
        row = next(row for row in rows if row["name"] == name and row["model"] == model.size)
        row[PRIMARY] = score_dataset(encoder, data, top_k=NDCG_DOCUMENTS).figures[PRIMARY]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=(__doc__ or "").split("\n")[0])
    models.add_arguments(parser)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--all", action="store_true", help="the whole corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ndcg", action="store_true", help="score --beir, too")
    parser.add_argument("--beir", default=models.shared("beir/scifact"), help="a BEIR folder")
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    if asked.ndcg and not asked.beir:
        parser.error("--ndcg needs --beir FOLDER")
    figures = run(
        models.chosen(asked),
        None if asked.all else asked.documents,
        rounds=asked.rounds,
        vocabulary=asked.vocabulary,
        beir=str(asked.beir) if asked.ndcg else None,
    )
    return measure.report(figures, asked.json)


if __name__ == "__main__":
    sys.exit(main())
