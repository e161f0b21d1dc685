"""How a command ends: what stands on the screen."""

import pytest
from tqdm import tqdm

from experiment.run.command import INTERRUPTED, _fail


def test_an_error_beside_a_bar_has_a_line_of_its_own(capsys: pytest.CaptureFixture) -> None:
    with tqdm(total=3):
        assert _fail("train_ir.py", INTERRUPTED, 1, show_traceback=False) == 1
    on_screen = [line.rpartition("\r")[2] for line in capsys.readouterr().err.split("\n")]
    assert f"error: {INTERRUPTED}" in on_screen
