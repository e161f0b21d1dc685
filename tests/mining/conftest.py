"""What several tests of teachers share."""

from pathlib import Path

import pytest

from tests.mining.models import make_cross_encoder, make_dense, make_monot5, make_sparse


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny teacher of each type."""
    root = tmp_path_factory.mktemp("teachers")
    return {
        "sparse": make_sparse(root / "sparse"),
        "dense": make_dense(root / "dense", pooling="mean"),
        "cross_encoder": make_cross_encoder(root / "cross_encoder"),
        "monot5": make_monot5(root / "monot5"),
    }
