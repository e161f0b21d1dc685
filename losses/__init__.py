"""Training losses as pure functions: ranking, teachers' scores, sparsity, the λ schedule."""

from losses.ensemble import ensemble
from losses.ranking import infonce, kldiv, marginmse, same_text
from losses.schedule import quadratic
from losses.sparsity import decoupled, flops, lengths

__all__ = ["decoupled", "ensemble", "flops", "infonce", "kldiv", "lengths", "marginmse", "quadratic", "same_text"]
