"""The configs of the small sweep: what varies is what their names say, and nothing else does."""

from pathlib import Path

import pytest

from experiment.settings.files import read_with_bases
from experiment.settings.settings import load_settings
from experiment.sweep import data as prepared_data
from experiment.sweep.data import preparations
from experiment.sweep.report_options import report_options
from experiment.sweep.runs import find_configs, read_runs

SMALL = Path(__file__).parents[2] / "config" / "small"
ACTIVATIONS = {"act": "l1_relu", "l2": "l2_relu", "l3": "l3_relu"}
VARIED = {"activation_type", "flops_d_lambda", "flops_threshold", "decouple_activation"}


def test_names_say_the_values() -> None:
    """<kind>[_<t>]_<λ>[_seed<n>], where the kind names activation, mask and decoupling."""
    trained = [path for path in find_configs([str(SMALL)]) if path.stem not in ("bm25", "start")]
    for path in trained:
        parts = path.stem.split("_")
        seed = int(parts.pop().removeprefix("seed")) if parts[-1].startswith("seed") else 42
        settings = load_settings([str(path)], for_training=True)
        masked = "mask" in parts
        expected = {
            "seed": seed,
            "activation_type": next((ACTIVATIONS[part] for part in parts if part in ACTIVATIONS), "relu"),
            "flops_threshold": float(parts[-2]) if masked else None,
            "flops_d_lambda": float(parts[-1]),
            "decouple_activation": "decouple" in parts,
        }
        assert {key: settings.value(key) for key in expected} == expected, path
        own = {key for file, mapping in read_with_bases(path) if file.name != "base.yaml" for key in mapping}
        assert own - {"seed"} <= VARIED, f"{path}: what the runs share belongs to base.yaml"
    assert len([path for path in trained if "seed" not in path.stem]) == 32
    assert len([path for path in trained if "seed" in path.stem]) == 3


def test_data_and_report_belong_to_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SMALL.parents[1])
    monkeypatch.setattr(prepared_data, "has_training_data", lambda path: False)
    first, *others = read_runs(find_configs(["config/small/plain_0.yaml", "config/small/bm25.yaml"]), [], None)
    names = ("medquad", "qed-nq", "squad-sent")
    made = {Path(f"config/small/data/{name}.yaml"): Path("data/small", name) for name in names}
    assert preparations(first) == made and not preparations(others[0])
    for config, folder in made.items():
        assert load_settings([str(config)]).preparation.dataset == folder.name
    assert report_options([first])[-4:] == [
        *("--group", "out of domain=scifact,trec-dl-mini"),
        *("--group", "in domain=medquad,squad-sent"),
    ]
