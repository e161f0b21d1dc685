"""Mine candidates, score them with teachers, and write training rows (data_type: kd).

    python data_preparation.py config/data_preparation.yaml
    torchrun --nproc_per_node=8 data_preparation.py --model_name_or_path ENCODER --dataset FOLDER

`--help` shows the keys that matter, `--help all` every key. The same command again continues; `dry_run=true` estimates
pairs, bytes and hours.
"""

import sys

from experiment.run.command import run_command


def main() -> int:
    """The exit code: 0 done, 2 a mistake in the input, 1 anything else."""
    return run_command("data_preparation.py", sys.argv[1:], "experiment.run.prepare:prepare")


if __name__ == "__main__":
    sys.exit(main())
