"""Which model a command uses, and how it is loaded: by config, by checkpoint, by command line."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import sparse_model
from experiment.run.models import Chosen, asked_model, load_start, miner, model_files, scored_model
from experiment.settings.settings import Settings, load_settings
from sparse_model import UserError

TRAINED_WITH = {"activation_type": "l1_relu", "max_seq_length": 12}


@pytest.fixture(scope="module")
def ours(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that says l1_relu and twelve tokens, with a table of query weights."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    encoder = sparse_model.load(tiny_model, **TRAINED_WITH)
    assert encoder.idf_V is not None
    encoder.use_idf(encoder.idf_V.detach() * 2)
    encoder.save(folder)
    return folder


@pytest.fixture
def trained(ours: Path, tiny_model: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(the folder of a trained run, the config that trained it)."""
    folder, config = shutil.copytree(ours, tmp_path / "run"), tmp_path / "config.yaml"
    keys = f"model_name_or_path: {tiny_model}\ntrain_file: rows.jsonl\ndata_type: kd\nactivation_type: l1_relu\n"
    for path in (config, folder / "config.yaml"):
        path.write_text(keys + f"max_seq_length: 12\noutput_dir: {folder}\n")
    return folder, config


def _named(path: Path, *words: str) -> Settings:
    return load_settings([f"model_name_or_path={path}", *words])


def test_a_plain_model_is_as_the_keys_say(tiny_model: Path) -> None:
    """It says nothing of itself: every key that is given counts."""
    chosen = scored_model(_named(tiny_model, "activation_type=l1_relu", "max_seq_length=20", "use_cpu=true"))
    assert chosen == Chosen(str(tiny_model), {"activation_type": "l1_relu", "max_seq_length": 20}, "cpu")
    encoder = chosen.load()
    assert (encoder.activation_type, encoder.max_seq_length) == ("l1_relu", 20)


def test_a_checkpoint_says_what_it_is(ours: Path) -> None:
    encoder = scored_model(_named(ours)).load()
    assert (encoder.activation_type, encoder.max_seq_length) == ("l1_relu", 12)
    assert encoder.idf_V is not None and set(encoder.idf_V.tolist()) == {0.0, 2.0}, "0: special tokens"
    assert not encoder.training


def test_the_command_line_overrides_a_checkpoint(ours: Path) -> None:
    encoder = scored_model(_named(ours, "activation_type=relu", "eval_max_seq_length=8")).load()
    assert (encoder.activation_type, encoder.max_seq_length) == ("relu", 8)


def test_a_trained_config_means_its_own_checkpoint(trained: tuple[Path, Path]) -> None:
    folder, config = trained
    chosen = scored_model(load_settings([str(config)]))
    assert chosen.path == str(folder) and chosen.options == {}


def test_words_of_the_training_override_nothing(trained: tuple[Path, Path], tiny_model: Path) -> None:
    """Typed again for the evaluation they mean the run; other values mean another model."""
    folder, config = trained
    same = load_settings([str(config), f"model_name_or_path={tiny_model}", "activation_type=l1_relu"])
    assert asked_model(same).overriding == {} and asked_model(same).path == str(folder)
    other = load_settings([str(config), "activation_type=relu", "max_seq_length=9"])
    assert asked_model(other).overriding == {"activation_type": "relu", "max_seq_length": 9}
    assert scored_model(other).options == asked_model(other).overriding


def test_another_model_than_the_trained_one(trained: tuple[Path, Path], ours: Path) -> None:
    assert asked_model(load_settings([str(trained[1]), f"model_name_or_path={ours}"])).path == str(ours)


def test_what_was_never_trained_is_said(trained: tuple[Path, Path]) -> None:
    folder, config = trained
    (folder / "modules.json").unlink()
    with pytest.raises(UserError, match=f"holds no trained model.*python train_ir.py {config}"):
        scored_model(load_settings([str(config)]))
    for choose in (scored_model, miner):
        with pytest.raises(UserError, match="model_name_or_path: missing"):
            choose(load_settings([]))


@pytest.mark.parametrize("words", [[], ["idf_path=corpus"], ["idf_path=weights.json"]])
def test_where_query_weights_come_from(words: list[str], tiny_model: Path, ours: Path) -> None:
    """From the corpus, from a file, else from the checkpoint, if it has some."""
    plain, own = scored_model(_named(tiny_model, *words)), scored_model(_named(ours, *words))
    from_corpus = words == ["idf_path=corpus"]
    assert plain.idf_from_corpus == own.idf_from_corpus == from_corpus
    assert plain.brings_query_weights == (words == ["idf_path=weights.json"])
    assert own.brings_query_weights == (not from_corpus)


def test_weights_of_the_corpus_are_the_callers(tiny_model: Path) -> None:
    """Until it brings them, a query's tokens weigh 1."""
    table = scored_model(_named(tiny_model, "idf_path=corpus")).load().idf_V
    assert table is not None and set(table.tolist()) == {0.0, 1.0}


def test_precision_of_encoding(tiny_model: Path) -> None:
    """bf16_full_eval counts anywhere, fp16_full_eval on a GPU alone."""
    dtypes = {"bf16_full_eval=true": "bfloat16", "fp16_full_eval=true": None, "seed=1": None}
    for words, name in dtypes.items():
        chosen = scored_model(_named(tiny_model, words, "use_cpu=true"))
        assert chosen.encoding_dtype == name
        assert chosen.load().encoding_dtype == (getattr(torch, name) if name else None)


def test_a_miner_is_a_model_that_is_named(ours: Path) -> None:
    chosen = miner(_named(ours, "max_seq_length=10"))
    assert (chosen.path, chosen.options, chosen.new_head) == (str(ours), {"max_seq_length": 10}, False)


def test_a_training_starts_where_the_checkpoint_says(ours: Path) -> None:
    """The settings that come back say so too; those that were given do not change."""
    given = load_settings([f"model_name_or_path={ours}", "train_file=rows.jsonl", "data_type=kd", "seed=1"])
    encoder, settings = load_start(given)
    assert (encoder.activation_type, encoder.max_seq_length) == ("l1_relu", 12)
    assert (settings.model.activation_type, settings.model.max_seq_length) == ("l1_relu", 12)
    assert settings is not given and given == load_settings(
        [f"model_name_or_path={ours}", "train_file=rows.jsonl", "data_type=kd", "seed=1"]
    )


def test_a_training_is_refused_a_length_without_positions(tiny_model: Path) -> None:
    words = [f"model_name_or_path={tiny_model}", "train_file=rows.jsonl", "data_type=kd", "eval_max_seq_length=99"]
    with pytest.raises(UserError, match="eval_max_seq_length: 99, .* positions for 64 tokens"):
        load_start(load_settings(words))


def test_a_hash_of_the_models_files_alone(ours: Path, tmp_path: Path) -> None:
    """Neither what a run keeps beside its model nor its checkpoints count; the query weights do."""
    folder = shutil.copytree(ours, tmp_path / "copy")
    chosen = Chosen(str(folder), {}, "cpu")
    before, files = chosen.vector_files(), model_files(str(folder))
    assert {"model.safetensors", "tokenizer.json", "modules.json"} <= {path.name for path in files}
    for name in ("run.json", "failed.json", "error.json", "metrics.jsonl"):
        (folder / name).write_text("{}")
    shutil.copytree(ours, folder / "checkpoint-2")
    (folder / "complete.json").unlink()
    assert chosen.vector_files() == before and model_files(str(folder)) == files
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert chosen.vector_files() != before


def test_a_models_own_code_counts(ours: Path, tmp_path: Path) -> None:
    """The same weights under another modeling.py are another model."""
    folder = shutil.copytree(ours, tmp_path / "copy")
    (folder / "modeling.py").write_text("SCALE = 1\n")
    before = Chosen(str(folder), {}, "cpu").vector_files()
    (folder / "modeling.py").write_text("SCALE = 3\n")
    assert Chosen(str(folder), {}, "cpu").vector_files() != before


def test_what_decides_a_vector(ours: Path) -> None:
    chosen = Chosen(str(ours), {"prune_ratio": 0.1}, "cpu", "bfloat16")
    facts = chosen.vector_facts(chosen.load(), "hash")
    assert json.loads(json.dumps(facts)) == {
        "files": "hash",
        "tokenizer": None,
        "activation": "l1_relu",
        "length": 12,
        "prune": 0.1,
        "precision": ["torch.bfloat16", "None"],
        "overrides": {},
    }


def test_a_runs_checkpoint_keeps_its_query_weights(ours: Path, tmp_path: Path) -> None:
    """How a run was trained is not asked of its evaluation: idf_path=corpus counts in words only."""
    run = tmp_path / "run"
    shutil.copytree(ours, run / "checkpoint-4")
    shutil.copytree(ours, run, dirs_exist_ok=True)
    keys = {"model_name_or_path": "base", "train_file": "rows.jsonl", "data_type": "kd", "idf_path": "corpus"}
    (run / "config.yaml").write_text(json.dumps(keys))
    (run / "run.json").write_text(json.dumps({"given": keys}))
    for folder in (run, run / "checkpoint-4"):
        chosen = scored_model(load_settings([str(folder)], takes_folder=True))
        assert (chosen.path, chosen.idf_from_corpus) == (str(folder), False)
        asked = scored_model(load_settings([str(folder), "idf_path=corpus"], takes_folder=True))
        assert asked.idf_from_corpus


def test_revisions_stand_behind_the_ids() -> None:
    """Of the model and of the query weights; the code's is an argument of its own."""
    words = ["revision=v1", "code_revision=v2", "idf_path=some-org/idf", "idf_revision=v3", "trust_remote_code=true"]
    chosen = miner(load_settings(["model_name_or_path=some-org/model", *words, "use_cpu=true"]))
    assert chosen.path == "some-org/model@v1" and chosen.trust_remote_code
    assert chosen.options == {"code_revision": "v2", "idf_path": "some-org/idf@v3"}


def test_a_folder_has_no_revision(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="^revision: v1, but .* lies on this disk"):
        miner(_named(tiny_model, "revision=v1"))
    with pytest.raises(UserError, match="^idf_revision: v1, but"):
        miner(_named(tiny_model, f"idf_path={tiny_model}", "idf_revision=v1"))


def test_a_trained_model_is_no_revision_of_its_start(trained: tuple[Path, Path]) -> None:
    """`revision` in a config is that of the model that the training starts from."""
    _, config = trained
    config.write_text(config.read_text().replace("model_name_or_path: ", "revision: v1\nmodel_name_or_path: some-org"))
    assert scored_model(load_settings([str(config)])).path == str(trained[0])
