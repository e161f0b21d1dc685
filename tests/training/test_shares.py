"""Training under a lexical share: scores hold it, gradients and FLOPS do not; what knows of it afterwards."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sparse_model
from experiment.run.evaluate import run_evaluation
from experiment.run.train import train
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from sparse_model import UserError
from sparse_model.card import card
from sparse_model.export import __main__ as export
from sparse_model.lexical import FILE, LexicalStatistics, TrainedShare
from tests.conftest import SENTENCES
from tests.processes import ranks
from tests.training.runs import NO_DROPOUT, lines, stop_before, weights, words_for
from training.objective import Objective
from training.shares import training_share

SHARE = ["train_lexical_share=0.5", "train_lexical_idf=true"]


def test_scores_hold_the_share_and_gradients_do_not() -> None:
    """Query {0: 1, 1: 1}; documents (1, 0) and (0, 0.2), shares (0, 0) and (2, 0).

    Cut to one token: scores 1 and 2, so that infonce = ln(e + e²) − 1 = 1.3133. The second document keeps token 0,
    which only the share gave it; no gradient reaches the token that was cut: d/dw = (−p, 0), (p, 0), p = e/(1 + e).
    FLOPS, over the model's own weights: (1/2)² + (0.2/2)² = 0.26.
    """
    objective = Objective(("infonce",), flops_d_lambda=0.0, elastic_lengths=(1,), elastic_whole_weight=0.0, pooled=True)
    document_NV = torch.tensor([[1.0, 0.0], [0.0, 0.2]], requires_grad=True)
    share_NV = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    keys = torch.tensor([1, 2]), torch.tensor([3])
    loss, parts = objective(torch.ones(1, 2), document_NV, torch.zeros(1, 0), *keys, 0, share_NV)
    loss.backward()
    assert float(parts["infonce"].detach()) == pytest.approx(np.log(np.e + np.e**2) - 1)
    p = np.e / (1 + np.e)
    np.testing.assert_allclose(document_NV.grad, [[-p, 0], [p, 0]], rtol=1e-6)
    assert float(parts["flops_d"].detach()) == pytest.approx(0.26)


def test_statistics_are_the_training_documents(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model, max_seq_length=8)
    assert training_share(encoder, SENTENCES) is None
    encoder.trained_share = TrainedShare(0.5, True)
    made = training_share(encoder, iter(SENTENCES))
    expected = LexicalStatistics.of(encoder.count_tokens(SENTENCES)).share(0.5, True)
    assert made is not None and made.average_length == expected.average_length <= 6
    np.testing.assert_array_equal(made.idf_V, expected.idf_V)


def test_a_step_is_the_plain_computation(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """All examples in one batch, against encoded vectors with their share."""
    more = [NO_DROPOUT, "use_in_batch_negatives=false", "per_device_train_batch_size=24", "max_steps=1", *SHARE]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", *more)))
    rows = [json.loads(line) for line in posnegs_file.read_text().splitlines()]
    encoder = sparse_model.load(tiny_model, max_seq_length=16)
    counts = encoder.count_tokens(SENTENCES)
    vectors = LexicalStatistics.of(counts).share(0.5, True).add(encoder.encode_documents(SENTENCES), counts)
    losses = []
    for row in rows:
        of_row = vectors[[SENTENCES.index(text) for text in (row["pos"], *row["negs"])]]
        scores = (of_row @ encoder.encode_queries([row["query"]]).T).toarray().ravel().astype(np.float64)
        losses.append(np.log(np.exp(scores - scores[0]).sum()))
    assert lines(tmp_path / "run")[0]["infonce"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, posnegs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("share") / "run"
    train(load_settings(words_for(tiny_model, posnegs_file, folder, *SHARE)))
    return folder


def test_the_checkpoint_says_it_and_evaluation_goes_by_it(trained: Path, beir_folder: Path) -> None:
    assert json.loads((trained / FILE).read_text()) == {"lexical_share": 0.5, "lexical_idf": True}
    assert "train_lexical_share: 0.5" in (trained / "config.yaml").read_text()
    log = (trained / "train.log").read_text()
    assert "under       a lexical share of 0.5 times" in log and "lack the lexical share of 0.5 times the IDF" in log
    results = trained / "evaluation"
    for more in ([], ["lexical_share=0.5", "lexical_idf=true"], ["lexical_share=0"], [f"output_dir={results}/other"]):
        run_evaluation(load_settings([str(trained), f"beir_datasets={beir_folder}", *more], takes_folder=True))
    folders = [results, results / "lexical_share-0.5_lexical_idf-true", results / "other" / "evaluation"]
    as_trained, same, elsewhere = (json.loads((folder / "tiny.json").read_text())["ndcg@10"] for folder in folders)
    without = json.loads((results / "lexical_share-0.0" / "tiny.json").read_text())["ndcg@10"]
    assert as_trained == same == elsewhere > without
    assert "lexical_share: 0.5" in (results / "config.yaml").read_text()
    run_evaluation(load_settings([str(trained), f"beir_datasets={beir_folder}"], takes_folder=True))
    assert "lexical_share: 0.5" in (results / "config.yaml").read_text()


def test_the_card_says_it(trained: Path, tiny_model: Path) -> None:
    assert "- Note: the model's vectors lack the lexical share of 0.5" in card(trained, "x", {})
    assert "share" not in card(tiny_model, "x", {})


def test_an_export_says_what_it_leaves_out(
    trained: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    form = SimpleNamespace(require=lambda **options: None, export=lambda encoder, folder, **options: None)
    monkeypatch.setattr(export, "import_module", lambda name: form)
    assert export.main(["onnx", str(trained), str(tmp_path / "with")]) == 0
    assert f"lexical share of 0.5 times the IDF that it was trained under: evaluation here adds it, as {FILE}" in (
        capsys.readouterr().err
    )
    assert export.main(["onnx", str(tiny_model), str(tmp_path / "without")]) == 0
    assert "share" not in capsys.readouterr().err


def test_training_goes_on_under_the_share_unless_told(trained: Path, posnegs_file: Path, tmp_path: Path) -> None:
    for name, more, share in (("told", [], 0.5), ("other", ["train_lexical_share=0"], 0.0)):
        train(load_settings(words_for(trained, posnegs_file, tmp_path / name, "max_steps=1", *more)))
        assert sparse_model.load(tmp_path / name).trained_share.lexical_share == share
        assert (tmp_path / name / FILE).is_file() == bool(share)


def test_a_stopped_run_goes_on(trained: Path, tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    more = ["save_strategy=steps", "save_steps=2", *SHARE]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "stopped", *more)))
    stop_before(tmp_path / "stopped", 4)
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "stopped", *more)))
    again = weights(tmp_path / "stopped")
    assert all(torch.equal(weight, again[name]) for name, weight in weights(trained).items())
    with pytest.raises(UserError, match="train_lexical_share: 0.5 before, 0.25 now"):
        words = words_for(tiny_model, posnegs_file, tmp_path / "stopped", *more, "train_lexical_share=0.25")
        train(load_settings(words))


@pytest.mark.distributed
def test_two_processes_learn_like_one(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    more = [NO_DROPOUT, "optim=sgd", "learning_rate=1e-2", "max_grad_norm=null", "max_steps=2", *SHARE]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "one", *more)))
    words = words_for(tiny_model, posnegs_file, tmp_path / "two", *more, "per_device_train_batch_size=2")
    done = ranks("train_ir.py", *words)
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert lines(tmp_path / "two")[0]["infonce"] == pytest.approx(lines(tmp_path / "one")[0]["infonce"], rel=1e-4)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "text", ['{"lexical_share": -1}', '{"lexical_share": true}', "[1]", "{", '{"share": 1}', '{"lexical_idf": 1}']
)
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=FILE):
        TrainedShare.read(tmp_path)


def test_idf_of_no_share_is_refused(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    words = words_for(tiny_model, posnegs_file, tmp_path / "run", "train_lexical_idf=true")
    with pytest.raises(Mistakes, match="train_lexical_idf: true weighs nothing"):
        load_settings(words, for_training=True)
