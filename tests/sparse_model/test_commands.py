"""Folders that are whole or not there: what a killed command left, and two commands at once."""

from pathlib import Path

import pytest

from sparse_model.commands import new_folder
from sparse_model.errors import UserError


def test_what_a_killed_command_left_is_no_part_of_it(tmp_path: Path) -> None:
    left = tmp_path / ".out.partial" / "old"
    left.mkdir(parents=True)
    (left / "a").touch()
    with new_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert not left.parent.exists()


def test_two_commands_do_not_mix_their_files(tmp_path: Path) -> None:
    """The second is told so; the first is not disturbed."""
    with new_folder(tmp_path / "out") as folder:
        (folder / "mine").touch()
        with pytest.raises(UserError, match="another command is writing it"), new_folder(tmp_path / "out"):
            pass
    assert (tmp_path / "out" / "mine").is_file()
