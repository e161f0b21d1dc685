"""Room on the disk: what is too little, or can hold nothing, is said with its size and place."""

from collections import namedtuple
from pathlib import Path

import pytest

from retrieval.files import require_disk
from sparse_model.errors import UserError

Usage = namedtuple("Usage", "total used free")


def test_sizes_are_said_in_units_that_show_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(9e9, 9e9, 400_000))
    require_disk(tmp_path / "run", 300_000, "one checkpoint")
    with pytest.raises(UserError, match=r"0.4 MB are free where it lies, one checkpoint needs 2.5 GB"):
        require_disk(tmp_path / "run", 2_500_000_000, "one checkpoint")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="has no /proc")
def test_what_is_no_disk_is_said_to_be_none() -> None:
    with pytest.raises(UserError, match="output_dir: /proc/x/y: /proc is on no disk that can be written"):
        require_disk(Path("/proc/x/y"), 1, "one checkpoint")
