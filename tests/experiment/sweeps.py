"""Runs of the configs that a test wrote."""

from experiment.sweep import runs as plan


def runs_of(*names: str, overrides: tuple[str, ...] = (), name: str | None = None) -> list[plan.PlannedRun]:
    return plan.read_runs(plan.find_configs(names), overrides, name)
