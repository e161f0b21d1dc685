"""One training run: settings to parts to a finished checkpoint, or on from where a killed one stopped."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from accelerate import PartialState

from experiment.run import online_teachers
from experiment.run.command import logged_to
from experiment.run.done import DECIDE_WEIGHTS, planned_length, say_it_is_trained, training_status
from experiment.run.inputs import require_unchanged, training_inputs
from experiment.run.locks import locked
from experiment.run.models import load_start
from experiment.run.online_teachers import asked_teachers
from experiment.run.plan import counted_texts, plan
from experiment.run.train_folder import checkpoint_to_resume, close_run, open_run
from experiment.settings.keys import DataKeys, EvaluationKeys, LossKeys, OnlineTeachers, is_known, keys_that_change
from experiment.settings.mistakes import refuse
from experiment.settings.settings import Settings
from retrieval.averages import by_whole, macro_means
from retrieval.beir_data import load_beir
from retrieval.distributed import is_main, on_main, world_size
from retrieval.files import move_aside, read_json, require_disk
from retrieval.metrics import LESS_IS_BETTER, figure_name
from retrieval.score_dataset import score_dataset
from retrieval.shaped import Shape
from sparse_model import SparseEncoder, UserError, corpus_idf
from sparse_model.casing import cautions
from sparse_model.layout import load_tokenizer
from sparse_model.lexical import LexicalShare
from training.arguments import build_arguments
from training.averages import mean_of_checkpoints, mix_with_start, require_checkpoints, trained_weights
from training.collator import text_key
from training.data import Examples
from training.dial import Dial
from training.files import training_files
from training.held_out import HeldOut, hold_out
from training.memory import memory_told
from training.objective import Objective
from training.shares import training_share
from training.step_checkpoints import complete_checkpoints, step_of
from training.targets import fitting_scale
from training.trainer import Trainer, epoch_sampler, planned_steps

logger = logging.getLogger(__name__)

SCALE = "score scale"  # in run.json: what score_scale: auto came to


def train(settings: Settings) -> None:
    """Train as the settings say and leave the final checkpoint in output_dir.

    Raises:
        UserError: for everything that cannot be used; RunError: if the run collapses or explodes.
    """
    refuse(settings.missing())
    args, notes = build_arguments(settings.output_dir, trainer_fields(settings.training, settings.evaluation))
    for name in settings.evaluation.eval_beir_datasets or []:
        load_beir(name, settings.evaluation.beir_dir, settings.evaluation.split)
    inputs = {} if settings.run.dry_run else on_main(lambda: training_inputs(settings))
    transformers.set_seed(args.seed)
    encoder, settings = load_start(settings)
    teachers = asked_teachers(settings.loss.kd_ensemble_teacher_kwargs, settings.run.trust_remote_code)
    on_main(lambda: online_teachers.check(teachers, encoder.max_seq_length))
    parts = load_examples(settings.data, settings.loss.use_in_batch_negatives, args.seed)
    held_out = on_main(lambda: hold_out(parts, args.seed)) if settings.loss.target else None
    if held_out:
        held_out.leave_out(parts)
    if settings.data.score_scale == "auto":
        scale = on_main(
            lambda: (
                _recorded_scale(settings.output_dir, settings.run.overwrite)
                or _fitting_scale(encoder, parts, settings.model.idf_path)
            )
        )
        for part in parts:
            part.score_scale = scale
    on_main(lambda: require_disk(settings.output_dir, _checkpoint_bytes(encoder), "one checkpoint"))
    objective = build_objective(settings.loss, settings.data.temperature, settings.model.inf_free)
    steps = planned_steps(args, epoch_sampler(parts, objective, args))
    require_checkpoints(settings.model.average_last, steps, args)
    texts = on_main(lambda: counted_texts(parts))
    planned = plan(settings.model, settings.loss, encoder, parts, texts, args, settings.data.temperature, held_out)
    planned = "\n".join([planned, *(f"warning: {text}" for text in cautions(encoder))])
    if settings.run.dry_run:
        if is_main():
            print(planned)
        return
    with _held(settings.output_dir, settings.data) if is_main() else nullcontext():
        _train(settings, inputs, encoder, teachers, args, [*notes, *planned.splitlines()], parts, objective, held_out)


def _train(
    settings: Settings,
    inputs: Mapping[str, str | None],
    encoder: SparseEncoder,
    teachers: OnlineTeachers | None,
    args: Any,
    notes: list[str],
    parts: list[Examples],
    objective: Objective,
    held_out: HeldOut | None,
) -> None:
    folder = settings.output_dir
    facts = {"processes": world_size(), **inputs}
    on_main(lambda: clear(folder, settings.run.overwrite))
    status = on_main(lambda: training_status(settings, facts))
    if status.is_done:
        say_it_is_trained(folder)
        return
    deciding = [key for key in keys_that_change(DECIDE_WEIGHTS) if is_known(key)]
    config = {key: settings.value(key) for key in deciding} | settings.resolved()
    scales = {SCALE: parts[0].score_scale} if settings.data.score_scale == "auto" else {}
    run_id = on_main(lambda: open_run(folder, status, config, facts | {"given": settings.written()} | scales))
    with logged_to(folder / "train.log" if is_main() else None):
        for line in notes if is_main() else []:
            logger.info(line)
        resume = on_main(lambda: checkpoint_to_resume(folder))
        if resume is not None:
            encoder.tokenizer = load_tokenizer(str(resume), trust_remote_code=settings.run.trust_remote_code)
        if encoder.inf_free:
            # A checkpoint brings its own table: the corpus need not be read again.
            from_texts = settings.model.idf_path == "corpus" and resume is None
            table = on_main(lambda: _training_idf(encoder, parts)) if from_texts else encoder.idf_V
            encoder.use_idf(table, requires_grad=settings.model.idf_requires_grad)  # type: ignore[arg-type]
        share = on_main(lambda: training_share(encoder, _distinct_documents(parts)))
        start = trained_weights(encoder) if settings.model.start_share else {}
        if settings.model.idf_form == "embedding":
            encoder.learn_query_function()
        dial = _dial(settings.loss, held_out, encoder)
        trainer = _build_trainer(settings, encoder, teachers, args, parts, objective, share, dial, run_id)
        on_main(lambda: require_unchanged("what is trained on", inputs, training_inputs(settings)))
        documents = args.per_device_train_batch_size * max(part.documents_per_example for part in parts)
        with memory_told(documents, settings.loss.micro_batch_documents):
            if resume is not None and step_of(resume) >= trainer.planned_steps:
                trainer.finish_from(resume)
            else:
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        encoder.end_query_function()
        if is_main():
            if (last := settings.model.average_last) > 1:
                mean_of_checkpoints(encoder, complete_checkpoints(folder)[-last:])
            if settings.model.start_share:
                mix_with_start(encoder, start, settings.model.start_share)
            length = planned_length(settings.value)
            encoder.save(folder, step=trainer.planned_steps, run=run_id, finished=length)
            close_run(folder, length)
        logger.info("the trained model is %s", folder)
        if share:
            logger.warning(encoder.trained_share.missed)


@contextmanager
def _held(output_dir: Path, data: DataKeys) -> Iterator[None]:
    """Keep others from writing to the run's folder, and to the data sets that it is trained on."""
    with ExitStack() as held:
        held.enter_context(locked(output_dir))
        key = "train_file" if data.train_file else "train_file_dir"
        for path in filter(Path.is_dir, training_files(data.train_file, data.train_file_dir)):
            held.enter_context(locked(path, purpose="users", shared=True, key=key))
        yield


def _recorded_scale(folder: Path, overwrite: bool) -> float | None:
    """The scale that a run which goes on began with."""
    return None if overwrite else read_json(folder / "run.json").get(SCALE)


def _fitting_scale(encoder: SparseEncoder, parts: list[Examples], idf_path: str | None) -> float:
    if encoder.inf_free and idf_path == "corpus":
        encoder.use_idf(_training_idf(encoder, parts))
    return fitting_scale(encoder, parts)


def clear(folder: Path, overwrite: bool) -> None:
    """Move what is there aside, if that is asked for."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder.")
    if overwrite and folder.exists():
        with locked(folder, purpose="users"):
            move_aside(folder)


def _build_trainer(
    settings: Settings,
    encoder: SparseEncoder,
    teachers: OnlineTeachers | None,
    args: Any,
    parts: list[Examples],
    objective: Objective,
    share: LexicalShare | None,
    dial: Dial | None,
    run_id: str,
) -> Trainer:
    model = settings.model
    training_length = encoder.max_seq_length
    # What the checkpoint will say, and what evaluations while training use.
    encoder.max_seq_length = model.eval_max_seq_length or training_length
    encoder.micro_batch_documents = settings.loss.micro_batch_documents
    return Trainer(
        encoder,
        args,
        parts,
        objective,
        max_seq_length=training_length,
        idf_lr=model.idf_lr,
        idf_decay=model.idf_decay,
        evaluate_figures=lambda: evaluate_while_training(settings.evaluation, encoder),
        teachers=online_teachers.load(teachers, training_length, args.device),
        teacher_scale=teachers.score_scale if teachers else 1.0,
        share=share,
        dial=dial,
        run_id=run_id,
    )


def _dial(loss: LossKeys, held_out: HeldOut | None, encoder: SparseEncoder) -> Dial | None:
    if loss.target is None or held_out is None:
        return None
    return Dial(*loss.target, start=loss.flops_d_lambda, every=loss.target_steps, held_out=held_out, encoder=encoder)


def trainer_fields(given: Mapping[str, Any], keys: EvaluationKeys) -> dict[str, Any]:
    """The given fields of TrainingArguments, and what follows from eval_beir_datasets."""
    fields = dict(given)
    if keys.eval_beir_datasets:
        fields.setdefault("metric_for_best_model", f"eval_{figure_name(keys.metrics[0])}")
    is_cost = str(fields.get("metric_for_best_model")).removeprefix("eval_") in LESS_IS_BETTER
    if is_cost and fields.get("greater_is_better") is None:
        fields["greater_is_better"] = False
    return fields


def load_examples(data: DataKeys, without_negatives: bool, seed: int) -> list[Examples]:
    """The examples of each training file."""
    # The first process of each machine fills the data sets' cache, the others read it.
    with PartialState().local_main_process_first():
        return [
            Examples(
                path,
                str(data.data_type),
                documents_per_query=data.sample_num_one_query,
                first_rank_thresh=data.first_rank_thresh,
                score_scale=1.0 if data.score_scale == "auto" else data.score_scale,
                swap_times=data.swap_times,
                seed=seed,
                without_negatives=without_negatives,
                named=data.columns,  # type: ignore[arg-type]
            )
            for path in training_files(data.train_file, data.train_file_dir)
        ]


def build_objective(loss: LossKeys, temperature: float, inf_free: bool) -> Objective:
    """The loss that the keys describe."""
    return Objective(
        loss_types=tuple(loss.loss_types),
        ranking_loss_weight=loss.ranking_loss_weight,
        use_in_batch_negatives=loss.use_in_batch_negatives,
        temperature=temperature,
        flops_d_lambda=loss.flops_d_lambda,
        flops_d_T=loss.flops_d_T,
        flops_q_lambda=None if inf_free else loss.flops_q_lambda,
        flops_q_T=None if inf_free else loss.flops_q_T,
        flops_threshold=loss.flops_threshold,
        pooled=loss.flops_grouping == "pooled",
        unbiased=loss.flops_estimator == "unbiased",
        idf_l1=loss.idf_l1,
        df_alpha=loss.flops_df_alpha,
        df_beta=loss.flops_df_beta,
        contrastive_temperature=loss.contrastive_temperature,
        elastic_lengths=tuple(loss.elastic_lengths),
        elastic_whole_weight=loss.elastic_whole_weight,
        decouple_activation=loss.decouple_activation,
    )


def evaluate_while_training(keys: EvaluationKeys, encoder: SparseEncoder) -> dict[str, float]:
    """Means over eval_beir_datasets, and the first metric of each data set."""
    data_sets = [load_beir(name, keys.beir_dir, keys.split) for name in keys.eval_beir_datasets or []]
    shape = Shape(**asdict(encoder.trained_share))
    score = partial(score_dataset, metrics=keys.metrics, drop_query_id=keys.drop_query_id, shape=shape)
    results = [score(encoder, data, keys.top_k, keys.query_prune).figures for data in data_sets]
    first, wholes = figure_name(keys.metrics[0]), by_whole(results)
    return macro_means(wholes) | {f"{one['dataset']}_{first}": one[first] for one in [*results, *wholes]}


def _checkpoint_bytes(encoder: SparseEncoder) -> int:
    """A checkpoint holds the weights and the optimizer's two moments; the final one the weights again."""
    return 4 * 4 * sum(p.numel() for p in encoder.parameters())


def _training_idf(encoder: SparseEncoder, parts: list[Examples]) -> Any:
    return corpus_idf(encoder.tokenizer, _distinct_documents(parts), encoder.vocabulary_size, show_progress=True)


def _distinct_documents(parts: list[Examples]) -> Iterator[str]:
    seen: set[int] = set()
    for part in parts:
        for text in part.all_documents():
            if (key := text_key(text)) not in seen:
                seen.add(key)
                yield text
