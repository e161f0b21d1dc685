"""Training losses as pure functions: ranking, sparsity, the λ schedule."""

from losses.ranking import infonce, kldiv, marginmse, same_text
from losses.schedule import quadratic
from losses.sparsity import decoupled, flops, lengths

__all__ = ["decoupled", "flops", "infonce", "kldiv", "lengths", "marginmse", "quadratic", "same_text"]
