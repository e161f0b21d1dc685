"""The configs beyond the paper: each can be loaded, and trained where it names data; the start model stands beside."""

from pathlib import Path

import pytest

from experiment.settings.settings import load_settings

BEYOND = Path(__file__).parents[2] / "config" / "beyond"


@pytest.mark.parametrize("path", sorted(BEYOND.glob("*.yaml")), ids=lambda path: path.stem)
def test_configs_load(path: Path) -> None:
    settings = load_settings([str(path)])
    assert not settings.trains or not settings.unfit_for_training()
    assert len(settings.one_by_one()) > 1, "what is free is a curve over lengths, and so is what is compared with it"


def test_the_start_model_is_scored_as_the_others_are() -> None:
    start = load_settings([str(BEYOND / "start.yaml")])
    for path in BEYOND.glob("*.yaml"):
        settings = load_settings([str(path)])
        for key in ("model_name_or_path", "idf_path", "eval_max_seq_length", "beir_datasets", "max_active_dims"):
            assert settings.value(key) == start.value(key), (path, key)
