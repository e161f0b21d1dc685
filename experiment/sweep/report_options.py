"""report.yaml in a folder of configs: what their report compares with, and how it divides the data sets."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from experiment.report.grouping import without_seed
from experiment.settings.files import merged
from experiment.settings.keys import Keys
from experiment.sweep.runs import REPORT, PlannedRun
from retrieval.dataset_names import counted, dataset_name
from sparse_model.errors import UserError

Title = Annotated[str, Field(pattern="^[^-]|^$")]
GroupName = Annotated[str, Field(pattern=r"^[^=\s-][^=]*$")]
# As results are filed, whether or not their splits are named.
DataSets = Annotated[list[Annotated[str, AfterValidator(dataset_name)]], Field(min_length=1)]


class ReportKeys(Keys):
    """The options of experiment.report of the same names"""

    title: Title = ""
    """heading of the page"""
    baseline: str | None = None
    """config that the others are compared with, by its name without .yaml"""
    groups: dict[GroupName, DataSets] = {}
    """data sets with an average, pictures, areas and tests of their own"""


def report_options(runs: Sequence[PlannedRun]) -> list[str]:
    """The words for experiment.report that the report.yaml beside the configs stands for.

    Where runs come from several folders none counts. Groups that some of the runs' data sets are not in, and a
    baseline that is none of the runs, are left out with a line on stderr.

    Raises:
        UserError: naming every mistake in the file.
    """
    folders = {run.config.parent for run in runs}
    path = folders.pop() / REPORT
    if folders or not path.is_file():
        return []
    scored = {dataset_name(name) for run in runs for name in run.scored.evaluation.beir_datasets}
    scored |= counted(scored).keys()
    keys = _read(path, scored)
    words = ["--title", keys.title] if keys.title else []
    left_out = []
    if keys.baseline in {without_seed(run.config.stem) for run in runs}:
        words += ["--baseline", str(keys.baseline)]
    elif keys.baseline:
        left_out.append(f"baseline: {keys.baseline} is none of the runs")
    for name, datasets in keys.groups.items():
        if unscored := sorted({*datasets} - scored):
            left_out.append(f"groups.{name}: no run is scored on {', '.join(unscored)}")
        else:
            words += ["--group", f"{name}={','.join(datasets)}"]
    print("".join(f"{path}: {what}; left out of the report\n" for what in left_out), end="", file=sys.stderr)
    return words


def _read(path: Path, scored: set[str]) -> ReportKeys:
    try:
        keys = ReportKeys.model_validate(merged(path))
    except ValidationError as error:
        found = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError("\n".join([*found, f"The keys of a {REPORT}: {', '.join(ReportKeys.model_fields)}."])) from None
    names = {without_seed(config.stem) for config in path.parent.glob("*.yaml")}
    mistakes = []
    if keys.baseline and keys.baseline not in names:
        near = difflib.get_close_matches(keys.baseline, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        mistakes.append(f"{path}: baseline: {keys.baseline} is no config of this folder.{hint}")
    taken = sorted(scored & keys.groups.keys())
    mistakes += [f"{path}: groups.{name}: is a data set's name; give the group another." for name in taken]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return keys
