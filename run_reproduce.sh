#!/usr/bin/env bash
# Train and evaluate configs one after the other, then write one report over them.
#
#   bash run_reproduce.sh                                   the paper's seven folders under config/
#   bash run_reproduce.sh config/quickstart/flops.yaml …    these configs; a folder stands for its *.yaml files
#   bash run_reproduce.sh --dry-run config/baseline         check keys and values, show each run's state
#   bash run_reproduce.sh --name trial config/baseline -- max_steps=100     overrides for every config, and
#                                                           another place: output/trial/, output/report/trial/
#
# Started again, it does only what is missing. A failed run is noted and the rest goes on; the exit code is then 1.
# PYTHON names the interpreter (else the active environment's, else .venv's), NPROC the processes a run gets
# (else one for each GPU).
set -uo pipefail
cd "$(dirname "$0")" || exit 1

if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=.venv/bin/python
    [[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" || ! -x "$PYTHON" ]] && PYTHON=python3
fi

# One line a command, tab-separated: its step (train, evaluate, report), its folder, the command's words.
plan="$("$PYTHON" -m experiment.plan "$@")" || exit $?
if [[ " $* " == *" --dry-run "* || " $* " == *" --help "* ]]; then
    echo "$plan"
    exit 0
fi

failed=()
succeeded=()
while IFS=$'\t' read -r -u 3 -a line; do
    step=${line[0]} folder=${line[1]} command=("${line[@]:2}")
    echo "=== $folder: $step" >&2
    if [[ "$step" == evaluate && " ${failed[*]-} " == *" $folder:train "* ]]; then
        echo "skipped, since its training failed" >&2
    elif [[ "$step" == report ]]; then
        ((${#succeeded[@]})) || continue
        "${command[@]}" "${succeeded[@]}" || failed+=("$folder:$step")
    elif "${command[@]}"; then
        [[ "$step" == evaluate ]] && succeeded+=("$folder")
    else
        failed+=("$folder:$step")
    fi
done 3<<<"$plan"

if ((${#failed[@]})); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
