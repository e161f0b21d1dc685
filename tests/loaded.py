"""What the commands import, all at once: the server of `processes.ranks` loads it once and forks from there."""

import accelerate  # noqa: F401
import datasets  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401

import data_preparation  # noqa: F401
import evaluate_beir  # noqa: F401
import experiment.run.evaluate  # noqa: F401
import experiment.run.prepare  # noqa: F401
import experiment.run.train  # noqa: F401
import train_ir  # noqa: F401
