#!/usr/bin/env bash
# Train and evaluate configs one after the other, then write one report over them.
#
#   bash run_reproduce.sh                                   the paper's 56 runs: seven folders under config/
#   bash run_reproduce.sh config/small                      these configs; a folder stands for its *.yaml files but
#                                                           base.yaml, data_preparation.yaml and report.yaml
#   bash run_reproduce.sh --dry-run                         check keys and values; how each run stands, hours left
#   bash run_reproduce.sh --only 'mask_vary_*/200_*'        runs whose <family>/<name> fits
#   bash run_reproduce.sh --name trial config/baseline -- max_steps=100     overrides for every config, and
#                                                           another place: output/trial/, output/report/trial/
#   bash run_reproduce.sh config/small/plain_0.yaml -- seeds=1,2,3          three runs (or `seeds: [1, 2, 3]` in the
#                                                           config): plain_0_seed1, …; the report puts them together
#
# Started again, it does only what is missing; started twice at once, the two share the runs. A failed run leaves
# failed.json and sweep.log in its folder and the rest goes on; the exit code is then 1.
# PYTHON names the interpreter (else the active environment's, else .venv's), NPROC the processes a run gets
# (else one for each GPU).
set -euo pipefail
cd "$(dirname "$0")"

if [[ -z "${PYTHON:-}" ]]; then
    PYTHON=.venv/bin/python
    [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "$PYTHON" ]] || PYTHON=python3
fi
exec "$PYTHON" -m experiment.sweep "$@"
