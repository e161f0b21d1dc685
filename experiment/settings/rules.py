"""Combinations of keys that no command, or no training, can work with: a sentence for each, with its remedy."""

import re
from typing import TYPE_CHECKING

from experiment.run import online_teachers
from experiment.settings.engine_rules import engine_mistakes
from retrieval.dataset_names import dataset_name, has_bad_splits, parse_name
from retrieval.metrics import metric_mistakes

if TYPE_CHECKING:
    from experiment.settings.settings import Settings


def common_mistakes(settings: "Settings") -> list[str]:
    """Combinations that no command can work with."""
    model, evaluation, found = settings.model, settings.evaluation, []
    if model.use_l0 and "activation_type" in settings.given and model.activation_type != "l1_relu":
        found.append(f"use_l0: true means activation_type: l1_relu, but activation_type is {model.activation_type}.")
    found += engine_mistakes(evaluation, settings.opensearch, settings.given)
    if not evaluation.beir_datasets:
        found.append("beir_datasets: empty; name at least one data set.")
    found += _data_set_mistakes("beir_datasets", evaluation.beir_datasets)
    found += _data_set_mistakes("eval_beir_datasets", evaluation.eval_beir_datasets or [])
    if evaluation.split and has_bad_splits(evaluation.split):
        found.append(f"split: {evaluation.split} is no split, nor several as in dev+test, each once.")
    if "metrics" in settings.given:
        found += [f"metrics: {text}" for text in metric_mistakes(evaluation.metrics, evaluation.top_k)]
    if "summary" in map(dataset_name, evaluation.beir_datasets):
        found.append("beir_datasets: a data set cannot be called summary; rename its folder.")
    if evaluation.evaluation_name and not re.fullmatch(r"(?!runs$)[\w=-][\w.=-]*", evaluation.evaluation_name):
        found.append("evaluation_name: a plain folder name of letters, digits, _, ., = and - is needed (not runs).")
    return found


def _data_set_mistakes(key: str, names: list[str]) -> list[str]:
    found = [
        f"{key}: {name}: after a data set's name stands nothing, :split or :split+split, each split once."
        for name in names
        if name.startswith(":") or name.endswith(":") or has_bad_splits(parse_name(name)[1] or "test")
    ]
    labels = [dataset_name(name) for name in names]
    for name in sorted({name for name in labels if labels.count(name) > 1}):
        found.append(f"{key}: {name} stands twice; results are filed by name ({name}:dev+test: two splits).")
    return found


def training_mistakes(settings: "Settings") -> list[str]:
    """Everything that keeps these settings from being trained."""
    model, data, loss, found = settings.model, settings.data, settings.loss, []
    if not model.model_name_or_path:
        found.append("model_name_or_path: missing; name a masked language model (folder or hub id).")
    if bool(data.train_file) == bool(data.train_file_dir):
        found.append("train_file: give train_file or train_file_dir, one of them.")
    if data.data_type is None:
        found.append("data_type: missing; kd (rows query, docs, scores) or posnegs (rows query, pos, negs).")
    teachers = loss.kd_ensemble_teacher_kwargs
    if teachers is not None:
        found += online_teachers.mistakes(teachers, loss.loss_types, loss.use_in_batch_negatives, data.data_type)
    distilled = [name for name in loss.loss_types if name != "infonce"]
    if distilled and teachers is None and (loss.use_in_batch_negatives or data.data_type == "posnegs"):
        why = "use_in_batch_negatives: true" if loss.use_in_batch_negatives else "data_type: posnegs"
        found.append(
            f"loss_types: {', '.join(distilled)} needs a teacher's score for every pair, which {why} does not have "
            "without kd_ensemble_teacher_kwargs; use infonce, or kd data without in-batch negatives."
        )
    if data.data_type == "kd" and data.sample_num_one_query < 2 and not loss.use_in_batch_negatives:
        found.append("sample_num_one_query: 1 leaves a query one document and nothing to rank; give 2 or more.")
    found += _trainer_mistakes(settings)
    if not model.inf_free and (loss.flops_q_lambda is None or loss.flops_q_T is None):
        found.append("inf_free: false trains queries through the model: flops_q_lambda and flops_q_T are needed.")
    if settings.value("eval_strategy") not in (None, "no") and not settings.evaluation.eval_beir_datasets:
        found.append("eval_strategy: name eval_beir_datasets to score while training, or set eval_strategy: 'no'.")
    return found


def _trainer_mistakes(settings: "Settings") -> list[str]:
    """Numbers that the Trainer would take and stumble over later."""
    counts = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
    least = dict.fromkeys(counts, 1)
    least |= dict.fromkeys(("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "seed"), 0)
    found = [
        f"{key}: {settings.value(key)} is too small; {minimum} or more."
        for key, minimum in least.items()
        if not settings.value(key) >= minimum
    ]
    steps, epochs = settings.value("max_steps"), settings.value("num_train_epochs")
    if steps == 0 or (steps < 0 and epochs <= 0):
        found.append("max_steps: nothing would be trained; give max_steps or num_train_epochs above 0.")
    for key in ("adam_beta1", "adam_beta2"):
        if not 0 <= settings.value(key) < 1:
            found.append(f"{key}: {settings.value(key)} is not in [0, 1).")
    return found
