"""Training losses as pure functions: ranking, teachers' scores, sparsity, the λ schedule.

torch is loaded when the first loss is computed.
"""

from losses.ensemble import ensemble
from losses.ranking import RANKING, RankingLoss, infonce, kldiv, known_positives, marginmse
from losses.schedule import quadratic
from losses.sparsity import decoupled, flops, frequency_penalty, heaviest, lengths, mean_of_pairs

__all__ = [
    "RANKING",
    "RankingLoss",
    "decoupled",
    "ensemble",
    "flops",
    "frequency_penalty",
    "heaviest",
    "infonce",
    "kldiv",
    "known_positives",
    "lengths",
    "marginmse",
    "mean_of_pairs",
    "quadratic",
]
