"""Score a sparse encoder (or BM25) on BEIR data sets.

    python evaluate_beir.py config/quickstart/l0_mask.yaml
    python evaluate_beir.py output/quickstart/l0_mask         a run's folder, or a checkpoint-N in it
    python evaluate_beir.py --model_name_or_path opensearch-project/opensearch-neural-sparse-encoding-doc-v3-distill

`--help` shows the keys that matter, `--help all` every key. A rerun does only what is missing or changed.
"""

import sys

from experiment.run.command import run_command


def main() -> int:
    """The exit code: 0 done, 2 a mistake in the input, 1 anything else."""
    return run_command("evaluate_beir.py", sys.argv[1:], "experiment.run.evaluate:run_evaluation", takes_folder=True)


if __name__ == "__main__":
    sys.exit(main())
