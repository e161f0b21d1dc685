"""Keys, types, overrides, bases, and one message for every mistake."""

import pickle
from pathlib import Path

import pytest

from experiment.run.locks import FolderInUse
from experiment.settings.engine_rules import keeps_index
from experiment.settings.help import help_text
from experiment.settings.keys import GROUP_OF
from experiment.settings.mistakes import Mistake, Mistakes
from experiment.settings.settings import load_settings
from sparse_model import UserError

GOOD = "model_name_or_path: m\ntrain_file: t.jsonl\ndata_type: kd\n"


def _write(folder: Path, text: str, name: str = "config.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_types_are_taken_as_people_write_them(tmp_path: Path) -> None:
    config = _write(tmp_path, "learning_rate: 2e-5\nflops_d_lambda: 4e-2\nloss_types: [kldiv]\nmax_grad_norm: null\n")
    settings = load_settings(
        [config, "--max_steps", "100", "beir_datasets=scifact,nfcorpus", "--fp16=true", "flops_threshold=200"]
    )
    assert settings.training["learning_rate"] == 2e-5 and settings.loss.flops_d_lambda == 0.04
    assert settings.training["max_grad_norm"] == 0.0 and settings.training["max_steps"] == 100
    assert settings.evaluation.beir_datasets == ["scifact", "nfcorpus"]
    assert settings.training["fp16"] is True and settings.loss.flops_threshold == 200.0


def test_one_number_is_a_list_of_it() -> None:
    assert load_settings(["ladder_shares=0.5"]).data.ladder_shares == [0.5]
    with pytest.raises(Mistakes, match="beir_datasets"):
        load_settings(["beir_datasets=5"])


def test_bases_are_overridden_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    _write(tmp_path, "seed: 1\nlearning_rate: 1e-3\nflops_d_T: 5\n", "base.yaml")
    config = _write(tmp_path / "sub", "base: ../base.yaml\nlearning_rate: 5e-4\n")
    settings = load_settings([config, "flops_d_T=7"])
    assert (settings.value("seed"), settings.value("learning_rate"), settings.loss.flops_d_T) == (1, 5e-4, 7)


def test_all_mistakes_come_at_once_with_file_key_and_remedy(tmp_path: Path) -> None:
    config = _write(
        tmp_path,
        "flops_d_lamda: 1\nactivation_type: gelu\nmax_seq_length: many\ntemperature: 0\nlearning_rat: 1\n"
        "fsdp: full_shard\nloss_types: [kldiv, hinge]\n",
    )
    with pytest.raises(UserError) as caught:
        load_settings([config, "prune_ratio=2"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 8 and all(line.startswith((config, "command line: prune_ratio")) for line in lines)
    for expected in (
        "did you mean flops_d_lambda?",
        "did you mean learning_rate?",
        "'relu', 'l1_relu', 'l2_relu' or 'l3_relu'",
        "max_seq_length: Input should be a valid integer",
        "temperature: Input should be greater than 0",
        "fsdp: not supported",
        "'kldiv', 'marginmse' or 'infonce'",
        "less than 1",
    ):
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("data_type: kd", "train_file, train_file_dir or documents"),
        ("train_file: a\ntrain_file_dir: b\ndata_type: kd", "one of them"),
        ("train_file: a", "data_type: missing"),
        ("train_file: a\ndata_type: posnegs", "needs a teacher's score"),
        ("train_file: a\ndata_type: kd\nuse_in_batch_negatives: true", "needs a teacher's score"),
        ("train_file: a\ndata_type: kd\ninf_free: false", "flops_q_lambda and flops_q_T"),
        ("train_file: a\ndata_type: kd\nlearning_rate: 0", "0 trains nothing"),
        ("train_file: a\ndata_type: kd\nranking_loss_weight: 0\nflops_d_lambda: 0", "the loss is 0"),
        ("train_file: a\ndata_type: kd\nsave_steps: 0", "save_steps: 0.0 is too small; above 0"),
        ("train_file: a\ndata_type: kd\nmetric_for_best_model: eval_nDCG@10", "none of the figures, ndcg@10, "),
        ("train_file: a\ndata_type: kd\nmetric_for_best_model: loss", "loss is none of the figures"),
        ("train_file: a\ndata_type: kd\nsample_num_one_query: 1", "nothing to rank"),
        ("train_file: a\ndata_type: kd\nmax_steps: 0", "nothing would be trained"),
        ("train_file: a\ndata_type: kd\nlearning_rate: -1", "learning_rate: -1.0 is too small"),
        ("train_file: a\ndata_type: kd\nlearning_rate: .inf", "learning_rate: is not finite"),
        ("train_file: a\ndata_type: kd\nadam_beta2: 2", "not in [0, 1)"),
        ("train_file: a\ndata_type: kd\neval_strategy: steps\neval_steps: 5", "name eval_beir_datasets"),
    ],
)
def test_what_cannot_be_trained_says_why(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(Mistakes) as caught:
        load_settings([_write(tmp_path, f"model_name_or_path: m\n{lines}\n")], for_training=True)
    assert any(message in str(mistake) for mistake in caught.value.found)


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("flops_threshhold", "did you mean flops_threshold?"),
        ("threshold", "did you mean flops_threshold?"),
        ("lambda", "did you mean flops_d_lambda or flops_q_lambda?"),
        ("lr", "did you mean learning_rate?"),
        ("xyz", "--help all lists every key."),
    ],
)
def test_unknown_keys_name_those_that_may_be_meant(key: str, remedy: str) -> None:
    """Nearly spelt so; else those that it is a part of."""
    with pytest.raises(Mistakes) as caught:
        load_settings([f"{key}=1"], for_training=True)
    assert f"command line: {key}: unknown key; {remedy}" in list(map(str, caught.value.found))


TEACHERS = "types: [dense, sparse], model_ids: [a, b]"


@pytest.mark.parametrize(
    ("teachers", "more", "message"),
    [
        ("", "", "model_ids: missing"),
        ("types: dense, model_ids: [a]", "", "types: Input should be a valid list"),
        ("types: [dense], model_ids: [a, b]", "", "types has 1, model_ids has 2"),
        (f"{TEACHERS}, teacher_tokenizer_ids: [a]", "", "teacher_tokenizer_ids has 1"),
        ("types: [dens], model_ids: [a]", "", "Input should be 'dense' or 'sparse' (found 'dens')"),
        ("types: [cross_encoder], model_ids: [a]", "", "takes too long for the pairs of every batch"),
        (f"{TEACHERS}, score_scal: 1", "", "score_scal: unknown key; did you mean score_scale?"),
        (f"{TEACHERS}, score_scale: 0", "", "score_scale: Input should be greater than 0 (found 0)"),
        (f"{TEACHERS}, score_scale: true", "", "score_scale: Input should be a valid number (found True)"),
        (f"{TEACHERS}, trust_remote_code: maybe", "", "trust_remote_code: Input should be a valid boolean"),
        (TEACHERS, "loss_types: infonce", "infonce needs no teacher"),
        (TEACHERS, "data_type: kd\nuse_in_batch_negatives: false", "kd rows bring their scores"),
    ],
)
def test_mistaken_teachers_say_why(tmp_path: Path, teachers: str, more: str, message: str) -> None:
    values = {"model_name_or_path": "m", "train_file": "t", "data_type": "posnegs", "use_in_batch_negatives": "true"}
    values |= dict(line.split(": ") for line in more.splitlines())
    lines = [f"{key}: {value}" for key, value in values.items()] + [f"kd_ensemble_teacher_kwargs: {{{teachers}}}"]
    with pytest.raises(Mistakes) as caught:
        load_settings([_write(tmp_path, "\n".join(lines))], for_training=True)
    found = list(map(str, caught.value.found))
    assert any(message in mistake for mistake in found) and len(found) == 1 + (teachers == "")


@pytest.mark.parametrize("more", ["data_type: posnegs", "data_type: kd\nuse_in_batch_negatives: true"])
def test_good_teachers_pass(tmp_path: Path, more: str) -> None:
    text = f"model_name_or_path: m\ntrain_file: t\n{more}\nkd_ensemble_teacher_kwargs: {{{TEACHERS}}}\n"
    assert load_settings([_write(tmp_path, text)]).unfit_for_training() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("use_two_phase: true\n", "needs engine: opensearch"),
        ("do_search: false\n", "needs engine: opensearch"),
        ("index_method: seismic\n", "needs engine: opensearch"),
        ("engine: opensearch\nseismic_search: {top_n: 3}\n", "needs index_method: seismic"),
        ("engine: opensearch\nindex_method: seismic\nseismic_search: {k: 3}\n", "k is none of top_n, heap_factor"),
        ("engine: opensearch\nindex_method: seismic\nuse_two_phase: true\n", "give one of them"),
        ("engine: opensearch\nindex_method: seismic\nkeep_vectors: false\n", "reads the vectors several times"),
        ("engine: opensearch\nbaseline: bm25\n", "use engine: exact"),
        ("engine: opensearch\nround_weights: true\n", "always rounds"),
        ("engine: opensearch\nopensearch_home: h\nopensearch_url: http://h\n", "give one of them"),
        ("engine: opensearch\nopensearch_url: host:9200\n", "not an address"),
        ("engine: opensearch\nopensearch_home: h\ndo_search: false\n", "give keep_index"),
        ("engine: opensearch\nskip_ingest: true\ndo_search: false\n", "nothing is left to do"),
        ("engine: opensearch\nopensearch_ca: nowhere.pem\n", "there is no file nowhere.pem"),
        ("opensearch_heap: lots\n", "opensearch_heap"),
        ("engine: opensearch\nopensearch_home: h\nopensearch_heap: 64m\n", "too little for a node; 256m or more"),
        ("use_l0: true\nactivation_type: relu\n", "use_l0"),
        ("overwrite: true\n", "command line"),
        ("seed: 1\nseed: 2\n", "stands twice"),
        ("- a\n- b\n", "key: value"),
        ("a: [1\n", "not valid YAML"),
        ("base: config.yaml\n", "circle"),
        ("base: nowhere.yaml\n", "cannot be read"),
        ("preprocess_func: lower\n", "preprocess_func"),
        ("metrics: [recall@x]\n", r"recall@x is no metric. Did you mean R@10\?"),
        ("output_dir: ''\n", "output_dir: is empty; null for none"),
        ("beir_datasets: []\n", "name at least one"),
        ("beir_datasets: [a/x, b/x]\n", "x stands twice"),
        *((f"beir_datasets: ['x:{splits}']\n", "each split once") for splits in ("", "dev+", "+dev", "dev+dev")),
        ("beir_datasets: [':dev']\n", ":dev: after a data set's name"),
        ("eval_beir_datasets: ['x:dev', 'x:test']\n", "eval_beir_datasets: x stands twice"),
        ("split: dev+\n", "split: dev. is no split"),
        ("beir_datasets: [summary]\n", "cannot be called summary"),
        ("evaluation_name: ../out\n", "plain folder name"),
        ("1: 2\n", "each key a word"),
        ("base: [a, b]\n", "there is no file"),
        ("neftune_noise_alpha: 5\n", "not supported"),
    ],
)
def test_other_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_settings([_write(tmp_path, text)])


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    for argv, message in (
        (["a.yaml", "b.yaml"], "neither key=value"),
        (["--seed"], "--seed needs a value: --seed VALUE"),
        (["--dry-run"], "--dry-run needs a value: dry_run=true"),
        (["a.yaml", "dry-run"], "Write dry_run=true"),
        (["=3"], "command line: =3: unknown key"),
        (["output_dir="], "output_dir: is empty; null for none"),
        (["output_dir=", "idf_path="], "idf_path: is empty"),
        (["model_overrides=" + "[" * 3000], "model_overrides: "),
        ([str(tmp_path / "absent.yaml")], "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            load_settings(argv)


def test_a_config_that_cannot_be_read_says_what_may_be_meant(tmp_path: Path) -> None:
    """The nearest name of its folder, if one is near; a folder's configs; a circle of links is an ordinary mistake."""
    (tmp_path / "round.yaml").symlink_to("trip.yaml")
    (tmp_path / "trip.yaml").symlink_to("round.yaml")
    (tmp_path / "empty").mkdir()
    _write(tmp_path, GOOD, "plain.yaml")
    for name, message in (
        ("plan.yaml", r"No such file or directory\). Did you mean .*/plain.yaml"),
        ("other.yaml", r"No such file or directory\)\.$"),
        ("round.yaml", "Too many levels of symbolic links"),
        (".", r"Is a directory\). Name one of its configs: plain.yaml"),
        ("empty", r"Is a directory\). Name a config, a YAML file"),
    ):
        with pytest.raises(UserError, match=message):
            load_settings([str(tmp_path / name)], for_training=True)


def test_a_mistake_in_yaml_names_its_file(tmp_path: Path) -> None:
    for text in ("seed: 1\nseed: 2\n", "a: [1\n", "a: " + "[" * 3000):
        with pytest.raises(UserError, match="is not valid YAML") as caught:
            load_settings([_write(tmp_path, text)])
        assert "<unicode string>" not in str(caught.value) and str(tmp_path / "config.yaml") in str(caught.value)


def test_renamed_fields_of_older_versions_are_mapped() -> None:
    settings = load_settings(["evaluation_strategy=no", "warmup_ratio=0.1"])
    assert settings.value("eval_strategy") == "no"
    assert 0.1 in (settings.training.get("warmup_steps"), settings.training.get("warmup_ratio"))


def test_a_later_layer_counts_under_either_name(tmp_path: Path) -> None:
    _write(tmp_path, "warmup_steps: 100\n", "base.yaml")
    config = _write(tmp_path, "base: base.yaml\nwarmup_ratio: 0.1\n")
    assert load_settings([config]).value("warmup_steps") in (0.1, 0)
    assert load_settings([config, "warmup_steps=7"]).value("warmup_steps") == 7
    assert load_settings([config, "use_cpu=true", "no_cuda=false"]).value("use_cpu") is False


def test_a_recorded_config_can_be_read(tmp_path: Path) -> None:
    """Fields of other versions without a value say nothing."""
    config = _write(tmp_path, "warmup_ratio: null\nadafactor: null\nfp16_backend: null\nseed: 3\n")
    settings = load_settings([config])
    assert settings.value("seed") == 3 and settings.value("warmup_steps") is not None


def test_dates_that_do_not_exist(tmp_path: Path) -> None:
    assert load_settings(["evaluation_name=2024-13-45"]).evaluation.evaluation_name == "2024-13-45"
    with pytest.raises(UserError, match="not valid YAML"):
        load_settings([_write(tmp_path, "evaluation_name: 2024-13-45\n")])


def test_mistakes_reach_other_processes() -> None:
    """Rank 0 sends what it raised: the same text comes out."""
    for error in (Mistakes([Mistake("a", "b", "f.yaml"), Mistake("c", "d")]), FolderInUse(Path("x"), "process 1")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_output_dir_follows_the_config_path() -> None:
    config = Path(__file__).parents[3] / "config" / "quickstart" / "flops.yaml"
    assert load_settings([str(config)]).output_dir == Path("output/quickstart/flops")
    assert load_settings(["model_name_or_path=org/some-model"]).output_dir == Path("output/some-model")
    assert load_settings([str(config), "output_dir=x"]).output_dir == Path("x")


def test_help_lists_every_key_with_its_meaning() -> None:
    text = help_text("train_ir.py", "all")
    for key in [*GROUP_OF, "learning_rate", "gradient_accumulation_steps"]:
        assert f"\n  {key} (" in text
    assert "None)  None" not in text and 'activation_type (Literal["' not in text


def test_an_index_stays_on_a_server_and_where_it_was_there_before() -> None:
    def kept(*words: str) -> bool:
        settings = load_settings(["engine=opensearch", *words])
        return keeps_index(settings.evaluation, settings.opensearch)

    assert kept() and not kept("keep_index=false")
    assert not kept("opensearch_home=h") and kept("opensearch_home=h", "keep_index=true")
    assert kept("opensearch_home=h", "skip_ingest=true")
    assert not kept("opensearch_home=h", "skip_ingest=true", "keep_index=false")
