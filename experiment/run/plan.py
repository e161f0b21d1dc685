"""What a training is going to do, in a few lines: shown by dry_run, and written to train.log before it starts."""

from collections.abc import Iterator
from typing import Any

from experiment.run.models import query_weights
from experiment.settings.keys import LossKeys, ModelKeys
from retrieval.distributed import world_size
from sparse_model import SparseEncoder, UserError
from training.data import Examples
from training.held_out import HeldOut
from training.row_counts import MOST_TEXTS, TextCounts, count_texts
from training.targets import target_sentences


def counted_texts(parts: list[Examples]) -> list[TextCounts]:
    """The texts of each training file, counted.

    Raises:
        UserError: for a file of which all queries or all documents are empty.
    """
    counts = [count_texts(part.rows, part.data_type, MOST_TEXTS // len(parts)) for part in parts]
    for part, found in zip(parts, counts, strict=True):
        if not found.has_texts:
            of = "rows" if found.is_all else f"first {found.rows} rows"
            empty = "queries" if found.empty_queries == found.rows else "documents"
            raise UserError(f"{part.path}: all {empty} of its {of} are empty: there is nothing to learn from.")
    return counts


def plan(
    model: ModelKeys,
    loss: LossKeys,
    encoder: SparseEncoder,
    parts: list[Examples],
    texts: list[TextCounts],
    args: Any,
    temperature: float = 1.0,
    held_out: HeldOut | None = None,
) -> str:
    """The lines; texts: those of each part; temperature: of the distillation losses; held_out: what is measured."""
    batch = args.per_device_train_batch_size * world_size() * args.gradient_accumulation_steps
    length = f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs} epochs"
    threshold = loss.flops_threshold
    teachers = loss.kd_ensemble_teacher_kwargs
    lines = [
        f"model       {model.model_name_or_path}: V = {encoder.vocabulary_size}, {encoder.activation_type}, "
        f"{query_weights(encoder, model.idf_path)}",
        *(line for part, found in zip(parts, texts, strict=True) for line in _data_lines(part, found, temperature)),
        f"training    {length} of {batch} queries, {world_size()} process(es), seed {args.seed}",
        f"loss        {' + '.join(loss.loss_types)}, λ_d {loss.flops_d_lambda}, "
        + ("no ℓ0 mask" if threshold is None else f"ℓ0 mask at {threshold:g} tokens"),
        *_share_lines(encoder),
        *([_target_line(loss, held_out)] if held_out else []),
        *([f"teachers    {', '.join(teachers.model_ids)}"] if teachers else []),
        f"output_dir  {args.output_dir}",
    ]
    return "\n".join(lines)


def _share_lines(encoder: SparseEncoder) -> Iterator[str]:
    share = encoder.trained_share
    if share.lexical_share:
        times = " times the documents' IDF" if share.lexical_idf else ""
        yield f"under       a lexical share of {share.lexical_share:g}{times}, which the checkpoint cannot add"


def _target_line(loss: LossKeys, held_out: HeldOut) -> str:
    wanted = f"{loss.target_flops:g} FLOPS" if loss.target_flops else f"{loss.target_d_length:g} tokens"
    return f"target      {wanted}, measured every {loss.target_steps} steps on {held_out.sentence()}"


def _data_lines(part: Examples, texts: TextCounts, temperature: float) -> Iterator[str]:
    yield (
        f"data        {part.path}: {len(part)} examples"
        + (f"; {part.dropped_rows} rows dropped (filtered, or too short)" if part.dropped_rows else "")
        + (f"; {part.dropped_documents} documents left over" if part.dropped_documents else "")
        + ("" if part.has_negatives else "; without hard negatives")
    )
    for sentence in (*part.row_sentences(), *target_sentences(part, temperature), *texts.sentences()):
        yield f"{'':12}{sentence}"
