"""The two ways a command ends early: a mistake of the user's (exit 2) and a run that cannot go on (exit 1)."""


class UserError(Exception):
    """A mistake of the user's, or input that cannot be used; names the file, row or key, and the remedy."""


class RunError(Exception):
    """A run that must stop although its input was usable: representations that collapsed, a NaN."""
