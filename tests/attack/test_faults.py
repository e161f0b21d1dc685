"""Kills, full disks and broken ones at file operations: the next start ends with the same result.

make test-attack                       where each place of the code is reached first; else at one operation of each job
SPARSE_ATTACK=every make test-attack   at every operation
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.attack import jobs
from tests.attack.faults import Ended, Fault, faulted, is_clear
from tests.attack.jobs import JOBS, Inputs
from tests.conftest import make_model

ATTACK = os.environ.get("SPARSE_ATTACK")
LIMITS = (0, 200, 2_000, 20_000, 60_000)

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def inputs(
    tiny_model: Path, posnegs_file: Path, kd_file: Path, beir_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    train, newer, prepare = folder / "train.yaml", folder / "newer.yaml", folder / "prepare.yaml"
    train.write_text(
        f"model_name_or_path: {tiny_model}\ntrain_file: {posnegs_file}\ndata_type: posnegs\nloss_types: [infonce]\n"
        "use_in_batch_negatives: true\nidf_path: corpus\nmax_seq_length: 16\nper_device_train_batch_size: 4\n"
        "max_steps: 4\nlearning_rate: 1e-3\nflops_d_lambda: 0.01\nflops_d_T: 2\nlogging_steps: 1\nsave_steps: 2\n"
        f"beir_datasets: [{beir_folder}]\n"
    )
    newer.write_text(
        f"base: train.yaml\ntrain_file: {kd_file}\ndata_type: kd\nloss_types: [kldiv]\nuse_in_batch_negatives: false\n"
        "score_scale: auto\nelastic_lengths: [8, 12]\nstart_share: 0.4\naverage_last: 2\nmicro_batch_documents: 3\n"
        "train_lexical_share: 0.5\nmax_steps: 6\nlogging_steps: 4\n"
    )
    teacher = make_model(folder / "teacher", seed=1)
    prepare.write_text(
        f"dataset: {beir_folder}\nsplit: test\nmodel_name_or_path: {tiny_model}\nnum_candidates: 4\n"
        f"max_seq_length: 16\nteachers:\n  - {{type: sparse, model_name_or_path: {teacher}, max_length: 16}}\n"
    )
    return Inputs(tiny_model, train, newer, prepare)


class Undisturbed(NamedTuple):
    """A job as it was run without a fault: where, what lay there before, how it ended and with what result."""

    place: Path
    initial: Path
    ended: Ended
    expected: jobs.Result


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Undisturbed]:
    """Runs a job of this name, its readings counted or not, once for all faults; each begins with `initial` anew."""

    @cache
    def of(name: str, reads: bool) -> Undisturbed:
        folder = tmp_path_factory.mktemp("job")
        job, place = JOBS[name], folder / "place"
        jobs.start(name, inputs, place)
        initial = jobs.copy(place, folder / "initial")
        fault = Fault("EIO" if reads else "none")
        ended = faulted(job.script, *job.words(inputs, place), *job.more, folder=place, fault=fault)
        assert ended.code == 0, ended.output
        return Undisturbed(place, initial, ended, job.result(place))

    return of


def _points(kind: str, undisturbed: Ended, most: int | None) -> list[int]:
    """Where the fault strikes."""
    if ATTACK == "every" and kind != "limit":
        return list(range(undisturbed.operations))
    if not ATTACK:
        return [LIMITS[3] if kind == "limit" else undisturbed.operations // 2]
    points = list(LIMITS) if kind == "limit" else undisturbed.places
    most = min(most or len(points), len(points))
    return [points[number * len(points) // most] for number in range(most)]


@pytest.mark.parametrize("kind", ["kill", "ENOSPC", "EIO", "limit"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in JOBS])
def test_the_next_start_ends_with_the_same_result(
    name: str, kind: str, inputs: Inputs, undisturbed: Callable[[str, bool], Undisturbed]
) -> None:
    """After a fault the same command gives what an undisturbed one gives, or says clearly why not; nothing is lost."""
    job = JOBS[name]
    if job.needs and not os.environ.get(job.needs):
        pytest.skip(f"{job.needs} is not set")
    place, initial, ended, expected = undisturbed(name, kind == "EIO")

    def run(fault: Fault, *more: str) -> Ended:
        return faulted(job.script, *job.words(inputs, place), *more, folder=place, fault=fault)

    refusals, problems = 0, []
    points = _points(kind, ended, job.most)
    for point in points:
        jobs.copy(initial, place)
        fault = Fault(kind, point)
        struck = run(fault, *job.more)
        if kind != "kill" and struck.code != 0 and not is_clear(struck.output):
            problems.append(f"{fault}: {struck.output[-400:]}")
        again = run(Fault("none"))
        if missing := jobs.lost(place):
            problems.append(f"{fault}: lost the user's files in {missing}")
        if again.code == 0:
            found = job.result(place)
            problems += [f"{fault}: other {key}" for key in expected if found[key] != expected[key]]
        elif is_clear(again.output):
            refusals += 1
            print(f"{name}, {fault}: refused: {again.output[again.output.rfind('error:') :].strip()}")
        else:
            problems.append(f"{fault}: the next start: {again.output[-400:]}")
    print(
        f"{name}, {kind}: {len(points)} points of {ended.operations} operations, {refusals} refusals, "
        f"{len(problems)} problems"
    )
    assert not problems, "\n".join(problems)
