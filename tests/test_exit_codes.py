"""What the shell sees of each command, without a model."""

import pytest

from tests.processes import call, run


@pytest.mark.process
@pytest.mark.parametrize("script", ["train_ir.py", "evaluate_beir.py", "data_preparation.py"])
def test_the_shell_sees_the_exit_code(script: str) -> None:
    mistaken = run(script, "sed=1")
    assert mistaken.returncode == 2 and "did you mean seed?" in mistaken.stderr and mistaken.stdout == ""
    assert run(script, "--help").returncode == 0


def test_help_needs_nothing() -> None:
    done = call("evaluate_beir.py", "--help", "all")
    assert done.returncode == 0 and "query_prune" in done.stdout
