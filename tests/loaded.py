"""What the commands import, all at once: the server of `processes.ranks` loads it once and forks from there."""

import gc

import accelerate  # noqa: F401
import datasets  # noqa: F401
import pytrec_eval  # noqa: F401
import torch  # noqa: F401
import transformers  # noqa: F401
from numba.core.registry import cpu_target
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import data_preparation  # noqa: F401
import evaluate_beir  # noqa: F401
import experiment.report.__main__
import experiment.report.page
import experiment.run.evaluate
import experiment.run.prepare
import experiment.run.train  # noqa: F401
import train_ir  # noqa: F401

# What the first kernel and the first model would load; and what is here is no garbage of any process.
cpu_target.target_context.refresh()
get_checkpoint_conversion_mapping("bert")
gc.freeze()
