"""Combinations of keys that no command, or no training, can work with: a mistake for each, with its remedy."""

import re
from collections.abc import Callable, Container
from typing import Any

from experiment.settings.engine_rules import engine_mistakes
from experiment.settings.keys import DataKeys, EvaluationKeys, LossKeys, ModelKeys, OpenSearchKeys
from experiment.settings.mistakes import Mistake
from losses import RANKING
from retrieval.dataset_names import dataset_name, has_bad_splits, parse_name
from retrieval.metrics import LESS_IS_BETTER, figure_name, metric_mistakes
from training.named_columns import COLUMNS, ONE_VALUE

NEED_TEACHER = [name for name, loss in RANKING.items() if loss.needs_teacher]
KEY = "kd_ensemble_teacher_kwargs"


def common_mistakes(evaluation: EvaluationKeys, opensearch: OpenSearchKeys, given: Container[str]) -> list[Mistake]:
    """Combinations that no command can work with; given: the keys that the user wrote."""
    found = engine_mistakes(evaluation, opensearch, given)
    if not evaluation.beir_datasets:
        found.append(Mistake("beir_datasets", "empty; name at least one data set."))
    found += _data_set_mistakes("beir_datasets", evaluation.beir_datasets)
    found += _data_set_mistakes("eval_beir_datasets", evaluation.eval_beir_datasets or [])
    if evaluation.split and has_bad_splits(evaluation.split):
        found.append(Mistake("split", f"{evaluation.split} is no split, nor several as in dev+test, each once."))
    if "metrics" in given:
        found += [Mistake("metrics", text) for text in metric_mistakes(evaluation.metrics, evaluation.top_k)]
    if "summary" in map(dataset_name, evaluation.beir_datasets):
        found.append(Mistake("beir_datasets", "a data set cannot be called summary; rename its folder."))
    if evaluation.evaluation_name and not re.fullmatch(r"(?!runs$)[\w=-][\w.=-]*", evaluation.evaluation_name):
        needed = "a plain folder name of letters, digits, _, ., = and - is needed (not runs)."
        found.append(Mistake("evaluation_name", needed))
    return found


def _data_set_mistakes(key: str, names: list[str]) -> list[Mistake]:
    found = [
        Mistake(key, f"{name}: after a data set's name stands nothing, :split or :split+split, each split once.")
        for name in names
        if name.startswith(":") or name.endswith(":") or has_bad_splits(parse_name(name)[1] or "test")
    ]
    labels = [dataset_name(name) for name in names]
    for name in sorted({name for name in labels if labels.count(name) > 1}):
        found.append(Mistake(key, f"{name} stands twice; results are filed by name ({name}:dev+test: two splits)."))
    return found


def training_mistakes(
    model: ModelKeys, data: DataKeys, loss: LossKeys, evaluation: EvaluationKeys, value: Callable[[str], Any]
) -> list[Mistake]:
    """Everything that keeps these keys from being trained; value: one of the Trainer's by its name."""
    found = []
    if not model.model_name_or_path:
        found.append(Mistake("model_name_or_path", "missing; name a masked language model (folder or hub id)."))
    if data.queries and not data.documents:
        found.append(Mistake("queries", "is for documents; judged queries are a BEIR folder's (pairs.beir)."))
    if data.pseudo_negatives and not data.documents:
        found.append(Mistake("pseudo_negatives", "is for documents; rows (train_file) bring their negs."))
    if data.documents and 0 < data.pseudo_negatives < data.sample_num_one_query:
        why = f"{data.pseudo_negatives}, but an example takes {data.sample_num_one_query} (sample_num_one_query)"
        found.append(Mistake("pseudo_negatives", f"{why}; give as many or more.", involves=("sample_num_one_query",)))
    if data.documents and not model.inf_free:
        found.append(Mistake("documents", "the ladder is for inf_free: true; give that, or rows (train_file)."))
    found += _data_mistakes(data, loss) + _teacher_mistakes(data, loss) + _trainer_mistakes(model, value)
    if loss.ranking_loss_weight == 0 and loss.flops_d_lambda == 0 and not loss.flops_q_lambda:
        found.append(Mistake("ranking_loss_weight", "0, and λ 0 too: the loss is 0 and trains nothing."))
    if not model.inf_free and (loss.flops_q_lambda is None or loss.flops_q_T is None):
        why = "false trains queries through the model: flops_q_lambda and flops_q_T are needed."
        found.append(Mistake("inf_free", why))
    if value("eval_strategy") not in (None, "no") and not evaluation.eval_beir_datasets:
        why = "name eval_beir_datasets to score while training, or set eval_strategy: 'no'."
        found.append(Mistake("eval_strategy", why))
    found += _average_mistakes(model, value) + _query_mistakes(model, loss) + _target_mistakes(model, loss, value)
    return found + _best_mistakes(evaluation, value("metric_for_best_model"))


def _average_mistakes(model: ModelKeys, value: Callable[[str], Any]) -> list[Mistake]:
    """An average of checkpoints that will not be there."""
    last, limit = model.average_last, value("save_total_limit")
    if last == 1:
        return []
    if value("load_best_model_at_end"):
        return [Mistake("average_last", f"{last}, and load_best_model_at_end takes one; give one of them.")]
    if value("save_strategy") == "no" or (limit and limit < last):
        return [
            Mistake("average_last", f"{last} needs as many checkpoints; raise save_total_limit, or set save_steps.")
        ]
    return []


def _query_mistakes(model: ModelKeys, loss: LossKeys) -> list[Mistake]:
    """Wishes for how query weights are trained, where they are not."""
    wishes = {"idf_form": model.idf_form != "table", "idf_decay": model.idf_decay, "idf_l1": loss.idf_l1}
    if model.idf_requires_grad and model.inf_free:
        return []
    why = "is about query weights that are trained; set idf_requires_grad: true (and inf_free: true)."
    return [Mistake(name, why, involves=("idf_requires_grad",)) for name, wished in wishes.items() if wished]


def _target_mistakes(model: ModelKeys, loss: LossKeys, value: Callable[[str], Any]) -> list[Mistake]:
    """A target that λ cannot lead to."""
    if loss.target is None:
        return []
    key, found = f"target_{loss.target[0]}", []
    if loss.target_d_length and loss.target_flops:
        found.append(Mistake("target_d_length", "and target_flops: give one of them.", involves=("target_flops",)))
    if loss.flops_d_lambda == 0:
        found.append(Mistake("flops_d_lambda", f"0, from where no factor leads to {key}; give a λ to begin near."))
    if loss.target_d_length and loss.target_d_length <= (loss.flops_threshold or 0):
        why = f"the ℓ0 mask leaves documents of {loss.flops_threshold:g} tokens (flops_threshold) as they are"
        found.append(Mistake("target_d_length", f"{why}; the target must be above that."))
    others = {"start_share": model.start_share, "load_best_model_at_end": value("load_best_model_at_end")}
    for name in (name for name, is_given in others.items() if is_given):
        found.append(Mistake(key, f"is of the last step's model, which {name} does not leave; give one of them."))
    return found


def _best_mistakes(evaluation: EvaluationKeys, metric: str | None) -> list[Mistake]:
    """A figure to choose the best checkpoint by which no evaluation gives."""
    if metric is None or metric_mistakes(evaluation.metrics, evaluation.top_k):
        return []
    names = [figure_name(name) for name in evaluation.metrics]
    own = [f"{dataset_name(data_set)}_{names[0]}" for data_set in evaluation.eval_beir_datasets or []]
    known = [*names, *LESS_IS_BETTER, *own]
    if metric.removeprefix("eval_") in known:
        return []
    return [Mistake("metric_for_best_model", f"{metric} is none of the figures, {', '.join(known)}.")]


def _data_mistakes(data: DataKeys, loss: LossKeys) -> list[Mistake]:
    found = []
    if [data.train_file, data.train_file_dir, data.documents].count(None) != 2:
        others = ("train_file_dir", "documents")
        found.append(
            Mistake("train_file", "give train_file, train_file_dir or documents, one of them.", involves=others)
        )
    if data.passage_words and data.passage_overlap > data.passage_words / 2:
        found.append(Mistake("passage_overlap", f"{data.passage_overlap}; from 0 to half of passage_words."))
    if data.data_type is None and not data.documents:
        needed = "missing; kd (rows query, docs, scores) or posnegs (rows query, pos, negs)."
        found.append(Mistake("data_type", needed))
    found += _column_mistakes(data)
    if data.score_scale == "auto" and data.data_type == "posnegs":
        found.append(Mistake("score_scale", "auto is for data_type: kd; posnegs rows have no scores."))
    if data.data_type == "kd" and data.sample_num_one_query < 2 and not loss.use_in_batch_negatives:
        why = "1 leaves a query one document and nothing to rank; give 2 or more."
        found.append(Mistake("sample_num_one_query", why))
    return found


def _column_mistakes(data: DataKeys) -> list[Mistake]:
    """Names of columns that these rows do not have, or too few or many columns for one."""
    if data.documents and data.columns:
        return [Mistake("columns", "is about rows (train_file); of documents give document_columns.")]
    of_type = (*COLUMNS.get(str(data.data_type), data.columns), "first_rank")
    found = [
        Mistake("columns", f"{name} is none of {data.data_type} rows; they have {', '.join(of_type)}.")
        for name in data.columns
        if name not in of_type
    ]
    for name, listed in data.columns.items():
        if not listed or (name in ONE_VALUE and len(listed) > 1):
            found.append(Mistake("columns", f"{name}: {len(listed)} columns; give one."))
    return found


def _teacher_mistakes(data: DataKeys, loss: LossKeys) -> list[Mistake]:
    """Losses that lack a teacher's scores, and teachers that nothing asks for."""
    distilled = [name for name in loss.loss_types if name in NEED_TEACHER]
    if loss.kd_ensemble_teacher_kwargs is None:
        if not distilled or not (loss.use_in_batch_negatives or data.data_type == "posnegs"):
            return []
        which = "use_in_batch_negatives: true" if loss.use_in_batch_negatives else "data_type: posnegs"
        why = (
            f"{', '.join(distilled)} needs a teacher's score for every pair, which {which} does not have without "
            "kd_ensemble_teacher_kwargs; use infonce, or kd data without in-batch negatives."
        )
        return [Mistake("loss_types", why, involves=(KEY, "data_type"))]
    if not distilled:
        more = f"remove the key, or add {' or '.join(NEED_TEACHER)} to loss_types."
        return [Mistake(KEY, f"{', '.join(loss.loss_types)} needs no teacher; {more}")]
    if data.data_type == "kd" and not loss.use_in_batch_negatives:
        why = (
            "kd rows bring their scores; remove the key, or let the teachers score all documents of the batch "
            "(use_in_batch_negatives: true)."
        )
        return [Mistake(KEY, why)]
    return []


def _trainer_mistakes(model: ModelKeys, value: Callable[[str], Any]) -> list[Mistake]:
    """A training that would not move the weights."""
    found = []
    steps, epochs = value("max_steps"), value("num_train_epochs")
    if steps == 0 or (steps < 0 and epochs <= 0):
        found.append(Mistake("max_steps", "nothing would be trained; give max_steps or num_train_epochs above 0."))
    if value("learning_rate") == 0 and not (model.idf_requires_grad and model.idf_lr):
        found.append(Mistake("learning_rate", "0 trains nothing."))
    for kind in ("logging", "eval", "save"):
        every = value(f"{kind}_steps")
        if value(f"{kind}_strategy") == "steps" and every is not None and every <= 0:
            found.append(Mistake(f"{kind}_steps", f"{every} is too small; above 0, or {kind}_strategy: 'no'."))
    return found
