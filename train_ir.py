"""Train an inference-free sparse document encoder.

    python train_ir.py config/quickstart/l0_mask.yaml
    python train_ir.py config/own_documents.yaml documents=FOLDER
    torchrun --nproc_per_node=8 train_ir.py config/quickstart/l0_mask.yaml learning_rate=1e-4

`--help` shows the keys that matter, `--help all` every key. The same command again continues.
"""

import sys

from experiment.run.command import run_command


def main() -> int:
    """The exit code: 0 done, 2 a mistake in the input, 1 anything else."""
    work, is_done = "experiment.ladder.command:train_or_climb", "experiment.run.done:is_known_to_be_trained"
    return run_command("train_ir.py", sys.argv[1:], work, is_done, for_training=True)


if __name__ == "__main__":
    sys.exit(main())
