"""The report over a made-up sweep with seeds: comparisons, the paper's figures, pictures, what is missing."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiment.report import training_curves
from experiment.report.__main__ import main
from experiment.report.comparisons import area_section, significance_section
from experiment.report.curves import heat_map
from experiment.report.grouping import make_systems
from experiment.report.paper_figures import published_section
from experiment.report.quality import Point, quality_picture
from experiment.report.query_scores import query_scores
from experiment.report.runs import load_runs
from experiment.report.systems import find_baseline
from experiment.report.training_curves import training_picture
from retrieval.dataset_names import BEIR_13
from retrieval.drawing import new_figure
from retrieval.significance import compare, holm
from tests.experiment.report.made_runs import DATASETS, PAPER, make_runs, write_json
from tests.experiment.report.small_runs import PNG_START, Page

SWEEP = {
    "mask_vary_threshold": PAPER["mask_vary_threshold"][:3],
    "mask+activation_vary_threshold": PAPER["mask+activation_vary_threshold"][:3],
    "baseline": PAPER["baseline"][:3],
}
SETS = DATASETS[:2]
pytestmark = pytest.mark.xdist_group("sweep")  # its report takes seconds, so one process makes it


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """9 configurations × 2 seeds on 2 data sets, one run failed, one not evaluated; and the report over them."""
    folder = tmp_path_factory.mktemp("sweep")
    runs = make_runs(folder / "output", SWEEP, (42, 43), SETS, 60)
    failed = folder / "output" / "baseline" / "0.4"
    failed.mkdir()
    write_json(failed / "failed.json", {"step": "train", "last lines": ["…", "RunError: loss is NaN <at step 7>"]})
    shutil.rmtree(Path(runs[-1]) / "evaluation")
    output = folder / "report"
    words = [*runs, str(failed), "--output", str(output), "--group", "out of domain=scifact"]
    assert main(words) == 0
    return [*runs, str(failed)], output


def test_the_page_says_what_failed_and_what_is_missing(sweep):
    text = (sweep[1] / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "19 runs, 11 systems" in text and "RunError: loss is NaN &lt;at step 7&gt;" in text
    assert "baseline/0.0001_seed43: not evaluated" in text and "baseline/0.4: failed: RunError" in text
    assert all(page.values("img", "alt")) and all(page.values("svg", "aria-label"))
    wide, on_a_phone = page.split("svg", "aria-label")
    assert len(on_a_phone) == len(wide) - 1 and "on nfcorpus, scifact" in (set(wide) - set(on_a_phone)).pop()
    assert len(wide) == 2 * (1 + len(SETS) + 1) + 4  # quality; t, λ, activations, data sets
    hidden = re.findall(r"Not shown: ([^<]*)\.</figcaption>", text)
    assert hidden and all("baseline/0.0001_seed43: not evaluated" in note for note in hidden[:2])


def test_each_run_links_to_its_folder_config_and_command(sweep):
    runs, output = sweep
    text = (output / "index.html").read_text(encoding="utf-8")
    addresses = [word for word in Page(text).values("a", "href") if not word.startswith("#")]
    assert all((output / word.replace("%2B", "+")).exists() for word in addresses)
    for run in runs[:-1]:
        assert sum(word.endswith(f"{Path(run).name}/config.yaml") for word in addresses) >= 1
    assert "python train_ir.py config/baseline/0.0001.yaml seed=43" in text


def test_the_csv_has_a_row_for_each_run_and_data_set(sweep):
    with (sweep[1] / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    evaluated = 17
    assert len([row for row in rows if row["dataset"] in SETS]) == evaluated * len(SETS)
    means = [row for row in rows if row["run"] == "baseline/0.01" and row["dataset"] == "macro average"]
    parts = [row for row in rows if row["run"] == "baseline/0.01" and row["dataset"] in SETS]
    assert float(means[0]["ndcg@10"]) == pytest.approx(np.mean([float(row["ndcg@10"]) for row in parts]))
    assert sum(row["dataset"] == "out of domain" for row in rows) == evaluated


def test_pictures_in_markdown_are_there_and_described(sweep):
    markdown = (sweep[1] / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[(.+)\]\((.+\.png)\)$", markdown, re.M)
    assert {file for _, file in pictures} == {path.name for path in sweep[1].glob("*.png")}
    assert {"quality_flops_scifact.png", "quality_length_out-of-domain.png", "datasets.png"} < {f for _, f in pictures}
    assert all((sweep[1] / file).read_bytes().startswith(PNG_START) for _, file in pictures)
    areas = [part for part in markdown.split("\n## ") if part.startswith("Quality at equal cost, ")]
    assert [part.splitlines()[0].split(", ", 1)[1] for part in areas] == [", ".join(SETS), "out of domain"]
    assert areas[1].count("At equal FLOPS, ") == 2 and "The area between" in areas[0].split("At equal")[0]


def test_the_table_of_differences_is_the_paired_test_on_stored_queries(sweep):
    systems = make_systems(load_runs(sweep[0]))
    baseline = find_baseline(systems, SETS, None)
    assert baseline is not None and baseline.family == "baseline"
    section = significance_section(systems, baseline, SETS, {"out of domain": SETS[:1]})
    scores, _ = query_scores(systems, SETS)
    others = [s for s in systems if s is not baseline and s.name in scores[SETS[0]]]
    found = [compare([scores[d][s.name] - scores[d][baseline.name] for d in SETS]) for s in others]
    table = section.tables[0]
    assert [line[0].text for line in table.lines] == [system.name for system in others] and len(others) == 8
    assert [float(line[2].exact) for line in table.lines] == pytest.approx([one.mean for one in found if one])
    assert [float(line[6].exact) for line in table.lines] == pytest.approx(holm([one.p for one in found if one]))
    assert {line[7].text for line in table.lines} == {"120"}
    clear = [(float(line[6].exact) < 0.05) * ("best" if float(line[2].exact) > 0 else "worse") for line in table.lines]
    assert [line[2].mark for line in table.lines] == clear and "worse" in clear
    assert [part.title.split(".")[0] for part in section.tables[1:]] == ["out of domain", *SETS]


def test_areas_need_two_curves_and_say_so(sweep):
    systems = make_systems(load_runs(sweep[0]))
    baseline = find_baseline(systems, SETS, None)
    section = area_section(systems, baseline, SETS)
    assert [line[0].text for line in section.tables[0].lines] == [
        "mask_vary_threshold",
        "mask+activation_vary_threshold",
    ]
    assert area_section(systems, baseline, SETS[:1], "far").title == "Quality at equal cost, far"
    alone = area_section([s for s in systems if s.family == "baseline"], baseline, SETS)
    assert not alone.tables and alone.text[0].startswith("Areas need two families")
    assert significance_section(systems, None, SETS, {}).text[0].startswith("No baseline")


def test_an_area_has_an_interval_around_it(tmp_path):
    systems = make_systems(load_runs(make_runs(tmp_path, {k: PAPER[k] for k in ("baseline", "just_activation")}, (1,))))
    table = area_section(systems, find_baseline(systems, DATASETS, None), DATASETS).tables[1]
    (line,) = table.lines
    low, high = map(float, line[2].text.split(" to "))
    assert low < float(line[1].exact) < high and high - low < 0.05


def test_every_family_against_every_other(tmp_path):
    families = ("baseline", "just_activation", "mask_vary_lambda")
    systems = make_systems(load_runs(make_runs(tmp_path, {name: PAPER[name] for name in families}, (1,))))
    first, _, pairs = area_section(systems, find_baseline(systems, DATASETS, None), DATASETS).tables
    assert pairs.heads == ["family", *families] and [line[0].text for line in pairs.lines] == [*families]
    values = np.array([[float(cell.exact or 0) for cell in line[1:]] for line in pairs.lines])
    assert values == pytest.approx(-values.T), "turned round, it is the same with the other sign"
    assert (values != 0).sum() == 6
    assert [line[1] for line in pairs.lines[1:]] == [line[1] for line in first.lines]


def test_the_papers_figures_stand_beside_runs_on_the_same_data_sets_only(tmp_path):
    runs = make_runs(tmp_path, {"mask": PAPER["mask_vary_threshold"][:1]}, (1,), BEIR_13, 2)
    systems = make_systems(load_runs(runs))
    ours, reported = published_section(systems).tables
    percent = 100 * float(systems[0].figure("ndcg@10", BEIR_13) or 0)
    (line,) = ours.lines
    assert [cell.text for cell in line[1:5]] == ["ℓ0 mask", f"{percent:.2f}", "50.43", f"{percent - 50.43:+.2f}"]
    assert ["50.43", "50.28", "45.02"] == [reported.lines[i][1].text for i in (1, 2, 0)]
    path = Path(runs[0]) / "evaluation" / "summary.json"
    write_json(path, {"datasets": list(BEIR_13[:-1])})
    section = published_section(make_systems(load_runs(runs)))
    assert len(section.tables) == 1 and "none is comparable" in section.text[1]


def test_a_released_model_is_compared_to_its_own_figures(tmp_path):
    (run,) = make_runs(tmp_path, {"mask": PAPER["mask_vary_threshold"][:1]}, (1,), BEIR_13, 2)
    name = "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill"
    (Path(run) / "config.yaml").write_text(f"model_name_or_path: {name}\n")
    ours, _ = published_section(make_systems(load_runs([run]))).tables
    assert ours.lines[0][3].text == "50.40" and ours.lines[0][6].text == "1.8"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "x"], "--group x: NAME=DATASET,DATASET is needed"),
        (["--group", "x=nowhere"], "--group x (nowhere): not evaluated; there are "),
        (["--group", "scifact=scifact"], "names must differ from each other and from data sets; mend scifact"),
        (["--baseline", "nobody"], "--baseline nobody: no such system"),
    ],
)
def test_options_that_fit_nothing_exit_2(sweep, tmp_path, capsys, words, message):
    assert main([*sweep[0], "--output", str(tmp_path / "report"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "report").exists()


def test_crowded_pictures_and_odd_values_can_be_drawn():
    points = [Point(f"sweep/{i}_0.04", f"family {i % 15}", 0.01 * 1.5**i, 0.4 + 0.001 * i) for i in range(20)]
    assert quality_picture("a", points, {"BM25": 0.43}, "FLOPS", "NDCG@10").png.startswith(PNG_START)
    zero = [Point("x", "f", 0.0, 0.4, on_curve=True), Point("y", "f", 0.0, 0.5, 0.1, 0.1, True)]
    assert "<title>y: 0.5000 at 0</title>" in quality_picture("b", zero, {}, "FLOPS", "NDCG@10").svg
    assert heat_map("c", "NDCG@10", ["r", "s"], ["d"], np.array([[0.5], [np.nan]])).png.startswith(PNG_START)
    odd = [{"step": 1, "loss": float("nan"), "d_length": 0}, {"loss": 3}, {"step": 2, "loss": 0.0}]
    picture = training_picture({"f": {"odd": odd, "silent": [{"step": 3, "grad_norm": 1.0}]}})
    assert picture is not None and picture.png.startswith(PNG_START)
    assert training_picture({"f": {"silent": [{"step": 3, "grad_norm": 1.0}]}}) is None


def test_hover_notes_belong_to_their_markers_and_ids_to_their_picture():
    points = [Point(str(i), "f", i + 1.0, 0.1 * i, note=f"note {i} <&>") for i in range(3)]
    first, second = (quality_picture(name, points, {}, "x", "y").svg for name in ("one", "two"))
    assert re.findall(r"<title>(note \d) &lt;&amp;&gt;</title>", first) == ["note 0", "note 1", "note 2"]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1] and "http" not in first
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', first)) == ids[0]


def test_failed_json_without_lines_is_read(tmp_path):
    write_json(tmp_path / "run" / "failed.json", {"step": "evaluate"})
    (run,) = load_runs([tmp_path / "run"])
    assert run.failure == ["step: evaluate"] and json.dumps(run.notes).count("failed") == 1


def test_a_target_is_drawn_behind_what_was_measured():
    """A panel for the held-out documents, the target as dots in it, and λ over its powers of ten."""
    steps = [(10, 2e-6, 96.0), (20, 3e-4, 70.0), (30, 2e-2, 49.0)]
    held_out = {"target_d_length": 48.0}
    lines = [{"step": s, "lambda_d": w, "measured_d_length": m, **held_out} for s, w, m in steps]
    figure = new_figure(4, 4)
    length, weight = figure.subplots(2)
    for axes, key in ((length, "measured_d_length"), (weight, "lambda_d")):
        training_curves._draw_runs(axes, {"run": lines}, key)
        training_curves._name_axis(axes, key, [lines])
    measured, target = (list(line.get_ydata()) for line in length.get_lines())
    assert measured == [96.0, 70.0, 49.0] and target == [48.0] * 3
    assert weight.get_yscale() == "log"
    picture = training_picture({"f": {"run": lines}})
    assert picture.alt.startswith("tokens, held-out documents, λ, step by step")
