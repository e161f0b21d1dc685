"""One training run: settings to parts to a finished checkpoint, or on from where a killed one stopped."""

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import transformers
from accelerate import PartialState

from experiment.run import folder as run_folder
from experiment.run import online_teachers
from experiment.run.command import logged_to
from experiment.run.models import load_for_training
from experiment.settings.settings import Settings
from retrieval.beir_data import load_beir
from retrieval.distributed import is_main, on_main, world_size
from retrieval.files import require_disk
from retrieval.fingerprint import fingerprint
from retrieval.metrics import figure_name
from retrieval.score_dataset import score_dataset
from sparse_model import SparseEncoder, UserError, corpus_idf
from training import step_checkpoints as checkpoints
from training.arguments import build_arguments
from training.collator import text_key
from training.data import Examples, row_files, training_files
from training.objective import Objective
from training.trainer import Trainer

logger = logging.getLogger(__name__)


def train(settings: Settings) -> None:
    """Train as the settings say and leave the final checkpoint in output_dir.

    Raises:
        UserError: for everything that cannot be used; RunError: if the run collapses or explodes.
    """
    args, notes = build_arguments(settings.output_dir, trainer_fields(settings))
    for name in settings.evaluation.eval_beir_datasets or []:
        load_beir(name, settings.evaluation.beir_dir, settings.evaluation.split)
    transformers.set_seed(args.seed)
    encoder = load_for_training(settings)
    on_main(lambda: online_teachers.check(_asked_teachers(settings), encoder.max_seq_length))
    parts = load_examples(settings)
    on_main(lambda: require_disk(settings.output_dir, _checkpoint_bytes(encoder), "one checkpoint"))
    if settings.run.dry_run:
        if is_main():
            print(plan(settings, encoder, parts, args))
        return
    with run_folder.locked(settings.output_dir) if is_main() else nullcontext():
        _train(settings, encoder, args, notes, parts)


def _train(settings: Settings, encoder: SparseEncoder, args: Any, notes: list[str], parts: list[Examples]) -> None:
    files = [file for part in parts for file in row_files(part.path)]
    facts = {"processes": world_size(), "data hash": on_main(lambda: fingerprint(files))}
    length = {"max_steps": args.max_steps, "num_train_epochs": args.num_train_epochs}
    recorded = on_main(lambda: run_folder.open_run(settings, facts, length))
    if recorded.get("finished") == length and (settings.output_dir / "model.safetensors").is_file():
        logger.info("%s: training is finished already; nothing to do", settings.output_dir)
        return
    with logged_to(settings.output_dir / "train.log" if is_main() else None):
        for line in [*notes, *plan(settings, encoder, parts, args).splitlines()] if is_main() else []:
            logger.info(line)
        resume = on_main(lambda: _last_checkpoint(settings, recorded))
        trainer = _build_trainer(settings, encoder, args, parts, from_start=resume is None)
        if resume is not None and checkpoints.step_of(resume) >= trainer.planned_steps:
            trainer.finish_from(resume)
        else:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        if is_main():
            encoder.save(settings.output_dir)
            record = run_folder.read_json(settings.output_dir / "run.json")
            run_folder.write_json(settings.output_dir / "run.json", record | {"finished": length})
        logger.info("the trained model is %s", settings.output_dir)


def _build_trainer(
    settings: Settings, encoder: SparseEncoder, args: Any, parts: list[Examples], from_start: bool
) -> Trainer:
    if encoder.inf_free:
        # A checkpoint brings its own table: the corpus need not be read again.
        from_texts = settings.model.idf_path == "corpus" and from_start
        table = on_main(lambda: _training_idf(encoder, parts)) if from_texts else encoder.idf_V
        encoder.use_idf(table, requires_grad=settings.model.idf_requires_grad)  # type: ignore[arg-type]
    training_length = encoder.max_seq_length
    teachers, scale = online_teachers.load(_asked_teachers(settings), training_length, args.device)
    # What the checkpoint will say, and what evaluations while training use.
    encoder.max_seq_length = settings.data.eval_max_seq_length or training_length
    return Trainer(
        encoder,
        args,
        parts,
        build_objective(settings),
        max_seq_length=training_length,
        idf_lr=settings.model.idf_lr,
        evaluate_figures=lambda: evaluate_while_training(settings, encoder),
        teachers=teachers,
        teacher_scale=scale,
    )


def _asked_teachers(settings: Settings) -> dict[str, Any] | None:
    """kd_ensemble_teacher_kwargs; a trust_remote_code for all teachers counts for these too."""
    asked = settings.loss.kd_ensemble_teacher_kwargs
    return asked | {"trust_remote_code": True} if asked and settings.value("trust_remote_code") else asked


def trainer_fields(settings: Settings) -> dict[str, Any]:
    """The given fields of TrainingArguments, and what follows from eval_beir_datasets."""
    fields = dict(settings.training)
    if settings.evaluation.eval_beir_datasets:
        fields.setdefault("metric_for_best_model", f"eval_{figure_name(settings.evaluation.metrics[0])}")
    return fields


def load_examples(settings: Settings) -> list[Examples]:
    """The examples of each training file."""
    data = settings.data
    # The first process of each machine fills the data sets' cache, the others read it.
    with PartialState().local_main_process_first():
        return [
            Examples(
                path,
                str(data.data_type),
                documents_per_query=data.sample_num_one_query,
                first_rank_thresh=data.first_rank_thresh,
                score_scale=data.score_scale,
                swap_times=data.swap_times,
                seed=settings.value("seed"),
                without_negatives=settings.loss.use_in_batch_negatives,
            )
            for path in training_files(data.train_file, data.train_file_dir)
        ]


def build_objective(settings: Settings) -> Objective:
    """The loss that the keys describe."""
    loss = settings.loss
    siamese = not settings.model.inf_free
    return Objective(
        loss_types=tuple(loss.loss_types),
        ranking_loss_weight=loss.ranking_loss_weight,
        use_in_batch_negatives=loss.use_in_batch_negatives,
        temperature=settings.data.temperature,
        flops_d_lambda=loss.flops_d_lambda,
        flops_d_T=loss.flops_d_T,
        flops_q_lambda=loss.flops_q_lambda if siamese else None,
        flops_q_T=loss.flops_q_T if siamese else None,
        flops_threshold=loss.flops_threshold,
        pooled=loss.flops_grouping == "pooled",
        decouple_activation=loss.decouple_activation,
    )


def evaluate_while_training(settings: Settings, encoder: SparseEncoder) -> dict[str, float]:
    """Means over eval_beir_datasets, and the first metric of each data set."""
    keys, names = settings.evaluation, settings.evaluation.eval_beir_datasets or []
    data_sets = [load_beir(name, keys.beir_dir, keys.split) for name in names]
    score = lambda data: score_dataset(encoder, data, keys.top_k, keys.query_prune, metrics=keys.metrics)  # noqa: E731
    results = [score(data).figures for data in data_sets]
    numbers = [name for name, value in results[0].items() if isinstance(value, float)]
    means = {name: sum(result[name] for result in results) / len(results) for name in numbers}
    first = figure_name(keys.metrics[0])
    return means | {f"{result['dataset']}_{first}": result[first] for result in results}


def plan(settings: Settings, encoder: SparseEncoder, parts: list[Examples], args: Any) -> str:
    """What a run is going to do, in a few lines."""
    batch = args.per_device_train_batch_size * world_size() * args.gradient_accumulation_steps
    lines = [
        f"model       {settings.model.model_name_or_path}: V = {encoder.vocabulary_size}, {encoder.activation_type}, "
        f"{'inference-free' if encoder.inf_free else 'siamese'}"
    ]
    for part in parts:
        lines.append(
            f"data        {part.path}: {len(part)} examples"
            + (f"; {part.dropped_rows} rows dropped (filtered, or too short)" if part.dropped_rows else "")
            + (f"; {part.dropped_documents} documents left over" if part.dropped_documents else "")
        )
    length = f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs} epochs"
    lines.append(f"training    {length} of {batch} queries, {world_size()} process(es), seed {args.seed}")
    threshold = settings.loss.flops_threshold
    lines.append(
        f"loss        {' + '.join(settings.loss.loss_types)}, λ_d {settings.loss.flops_d_lambda}, "
        + ("no ℓ0 mask" if threshold is None else f"ℓ0 mask at {threshold:g} tokens")
    )
    teachers = settings.loss.kd_ensemble_teacher_kwargs
    if teachers:
        lines.append(f"teachers    {', '.join(teachers['model_ids'])}")
    return "\n".join([*lines, f"output_dir  {settings.output_dir}"])


def _checkpoint_bytes(encoder: SparseEncoder) -> int:
    """A checkpoint holds the weights and the optimizer's two moments; the final one the weights again."""
    return 4 * 4 * sum(p.numel() for p in encoder.parameters())


def _last_checkpoint(settings: Settings, recorded: dict[str, Any]) -> Any:
    """The checkpoint to go on from (None: from the start); everything later is cut off."""
    folder = settings.output_dir
    checkpoints.remove_incomplete(folder)
    whole = checkpoints.complete_checkpoints(folder)
    if recorded.get("finished") and not whole:
        raise UserError(
            f"{folder}: the run is finished and left no checkpoint to go on from (save_strategy); overwrite=true "
            "moves it aside and trains anew."
        )
    if whole:
        checkpoints.check_readable(whole[-1])
    checkpoints.trim_metrics(folder / "metrics.jsonl", checkpoints.step_of(whole[-1]) if whole else -1)
    if whole:
        logger.info("going on from %s", whole[-1])
    return whole[-1] if whole else None


def _training_idf(encoder: SparseEncoder, parts: list[Examples]) -> Any:
    return corpus_idf(encoder.tokenizer, _distinct_documents(parts), encoder.vocabulary_size, show_progress=True)


def _distinct_documents(parts: list[Examples]) -> Iterator[str]:
    seen: set[int] = set()
    for part in parts:
        for text in part.all_documents():
            if (key := text_key(text)) not in seen:
                seen.add(key)
                yield text
