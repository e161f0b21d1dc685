"""The configs of the paper's 56 runs, against a table that is written down here independently of them."""

import re
from pathlib import Path

import pytest
import yaml

from experiment.run.engines import engine_options
from experiment.settings.files import read_with_bases
from experiment.settings.settings import load_settings
from experiment.sweep.runs import PAPER_FOLDERS, find_configs, read_runs

CONFIG = Path(__file__).parents[2] / "config"

THRESHOLDS = [50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 1000]
LAMBDAS = [0.1, 0.01, 0.001, 0.2, 0.4, 0.05, 0.8, 0.025, 0.035]
# (folder, file) -> activation_type, λ, t, decouple_activation
RUNS: dict[tuple[str, str], tuple[str, float, float | None, bool]] = {
    **{("mask_vary_threshold", f"{t}_0.04"): ("relu", 0.04, t, False) for t in THRESHOLDS},
    **{("mask+activation_vary_threshold", f"{t}_0.04"): ("l1_relu", 0.04, t, False) for t in THRESHOLDS},
    **{("mask+activation_vary_lambda", f"200_{x}"): ("l1_relu", x, 200, False) for x in LAMBDAS},
    **{("mask_vary_lambda", f"200_{x}"): ("relu", x, 200, False) for x in LAMBDAS},
    **{("just_activation", f"{x}"): ("l1_relu", x, None, False) for x in (0.1, 0.01, 0.4, 0.04, 0.004, 0.035)},
    **{("baseline", f"{x}"): ("relu", x, None, False) for x in (0.01, 0.001, 0.0001, 0.4, 0.004, 0.15)},
    ("vary_activation", "decouple"): ("relu", 0.04, None, True),
    ("vary_activation", "mask_decouple"): ("relu", 0.04, 200, True),
    ("vary_activation", "l2"): ("l2_relu", 0.04, None, False),
    ("vary_activation", "l3"): ("l3_relu", 0.04, None, False),
}
CONDITIONS = {
    "model_name_or_path": "distilbert/distilbert-base-uncased",
    "idf_path": "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill",
    "inf_free": True,
    "train_file": "data/msmarco_ft",
    "data_type": "kd",
    "sample_num_one_query": 2,
    "use_in_batch_negatives": False,
    "max_seq_length": 256,
    "eval_max_seq_length": 512,
    "loss_types": ["kldiv"],
    "ranking_loss_weight": 1,
    "flops_d_T": 10000,
    "flops_grouping": "published",
    "per_device_train_batch_size": 40,
    "gradient_accumulation_steps": 1,
    "max_steps": 100_000,
    "warmup_steps": 6000,
    "lr_scheduler_type": "linear",
    "learning_rate": 2e-5,
    "adam_epsilon": 1e-6,
    "weight_decay": 0.01,
    "max_grad_norm": 0.0,  # the Trainer's way to say: no clipping
    "fp16": True,
    "engine": "opensearch",
    "beir_datasets": (
        "trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 dbpedia-entity scidocs fever climate-fever "
        "scifact quora"
    ).split(),
}


def test_the_seven_folders_hold_these_56_runs_and_nothing_else() -> None:
    found = {(folder, path.stem) for folder in PAPER_FOLDERS for path in find_configs([str(CONFIG / folder)])}
    assert found == set(RUNS) and len(RUNS) == 56


@pytest.mark.parametrize("folder", PAPER_FOLDERS)
def test_every_value_is_the_paper_s(folder: str) -> None:
    for (_, name), (activation, strength, threshold, decoupled) in ((k, v) for k, v in RUNS.items() if k[0] == folder):
        path = CONFIG / folder / f"{name}.yaml"
        settings = load_settings([str(path)], for_training=True)
        own = {
            "activation_type": activation,
            "flops_d_lambda": strength,
            "flops_threshold": threshold,
            "decouple_activation": decoupled,
        }
        assert {key: settings.value(key) for key in own} == own, path
        assert {key: settings.value(key) for key in CONDITIONS} == CONDITIONS, path
        assert settings.output_dir == Path("output", folder, name)
        assert [p.name for p, _ in read_with_bases(path)] == ["paper.yaml", path.name]
        assert not (set(yaml.safe_load(path.read_text())) - {"base", *own}), "conditions belong to paper.yaml"


def test_the_overrides_of_the_header_are_valid_and_arrive() -> None:
    header = [line for line in (CONFIG / "paper.yaml").read_text().splitlines() if line.startswith("#")]
    lines = [found for line in header if (found := re.findall(r"\b[a-z]+_?[a-z_]*=\S+", line))]
    assert len(lines) == 3
    settings = [load_settings([str(CONFIG / "baseline" / "0.01.yaml"), *line], for_training=True) for line in lines]
    assert (settings[0].evaluation.engine, settings[0].training["max_steps"]) == ("exact", 1000)
    latency = settings[1]
    assert latency.evaluation.top_k == 15
    assert engine_options(latency.evaluation, latency.opensearch, 8_841_823).shards == 12
    assert settings[2].value("per_device_train_batch_size") == 320
    assert settings[2].value("micro_batch_documents") == 16


def test_a_sweep_of_them_has_56_folders_in_the_order_of_the_numbers() -> None:
    configs = find_configs([str(CONFIG / folder) for folder in PAPER_FOLDERS])
    assert [path.stem for path in configs[:11]] == [f"{t}_0.04" for t in THRESHOLDS]
    for name in (None, "trial"):
        runs = read_runs(configs, [], name)
        assert len({run.folder for run in runs}) == 56
    assert runs[0].folder == Path("output/trial/mask_vary_threshold/50_0.04")


def test_the_co_condenser_differs_where_the_authors_say() -> None:
    settings = load_settings([str(CONFIG / "co-condenser" / "150_0.08.yaml")], for_training=True)
    own = {
        "model_name_or_path": "Luyu/co-condenser-marco",
        "per_device_train_batch_size": 20,
        "flops_d_lambda": 0.08,
        "flops_d_T": 40000,
        "flops_threshold": 150,
        "activation_type": "l1_relu",
    }
    expected = CONDITIONS | own
    assert {key: settings.value(key) for key in expected} == expected
