"""Combinations of keys that leave no sensible vectors to index."""

from typing import Any

from experiment.settings.keys import EvaluationKeys, LossKeys, ModelKeys
from experiment.settings.mistakes import Mistake


def vector_mistakes(model: ModelKeys, loss: LossKeys, evaluation: EvaluationKeys) -> list[Mistake]:
    """A mistake for each."""
    cuts, found = {"max_active_dims": evaluation.max_active_dims, "prune_ratio": model.prune_ratio}, []
    asked = {**cuts, "lexical_share": evaluation.lexical_share}
    by_rarity = evaluation.cut_by == "weight_df"
    if evaluation.baseline:
        return [Mistake(key, "is for a model's vectors; baseline: bm25 has none.") for key in asked if asked[key]]
    if by_rarity and not any(cuts.values()):
        found.append(Mistake("cut_by", "weight_df cuts nothing without max_active_dims or prune_ratio."))
    share = loss.train_lexical_share if evaluation.lexical_share is None else evaluation.lexical_share
    if evaluation.lexical_idf and not share:
        found.append(Mistake("lexical_idf", "true weighs nothing without a lexical_share."))
    if evaluation.lexical_idf is not None and "auto" in _all(evaluation.lexical_share):
        found.append(Mistake("lexical_idf", "lexical_share: auto chooses it, too; leave it out."))
    if loss.train_lexical_idf and not loss.train_lexical_share:
        found.append(Mistake("train_lexical_idf", "true weighs nothing without a train_lexical_share."))
    several = [key for key, value in asked.items() if isinstance(value, list)]
    chosen = ["cut_by: weight_df"] * by_rarity + ["lexical_share: auto"] * ("auto" in _all(evaluation.lexical_share))
    if evaluation.keep_vectors is False and (several or chosen):
        why = f"{', '.join(several)} with several values" if several else chosen[0]
        found.append(Mistake("keep_vectors", f"false: {why} needs the documents' vectors more than once."))
    return found


def _all(value: Any) -> list[Any]:
    """The values of a key that may have several."""
    return value if isinstance(value, list) else [value]
