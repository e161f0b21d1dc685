"""The length that a training is to end with: measured on held-out documents every few steps; λ follows."""

import logging
import math
from collections.abc import Mapping
from typing import Any, Literal

from transformers import TrainerCallback

from retrieval.distributed import rank, world_size
from retrieval.engine import frequencies, over_processes
from retrieval.score_dataset import vector_figures
from sparse_model import SparseEncoder
from training.controller import State, advance, begin
from training.held_out import HeldOut

logger = logging.getLogger(__name__)

TOLERANCE = 0.05
"""share of the target that the end may be off without a warning"""


class Dial(TrainerCallback):
    """Holds λ_d, and moves it at the beginning of every `every`-th step.

    Args:
        figure: what the target is one of; target: its value.
        start: see `flops_d_lambda`.
        encoder: the model, at the length and with the cut that it encodes with when it is trained.
    """

    def __init__(
        self,
        figure: Literal["d_length", "flops"],
        target: float,
        start: float,
        every: int,
        held_out: HeldOut,
        encoder: SparseEncoder,
    ) -> None:
        self.figure, self.target, self.every = figure, target, every
        self.held_out, self.encoder = held_out, encoder
        self.state, self.step, self.measured = begin(start), -1, math.nan

    @property
    def lambda_d(self) -> float:
        """λ_d of this step."""
        return math.exp(self.state.log_lambda)

    def on_step_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **_: Any) -> None:
        """Measure and move λ, once for a step."""
        if state.global_step % self.every == 0 and state.global_step > self.step:
            self.step = state.global_step
            self.measured = self.measure()
            pace = min(1.0, lr_scheduler.get_last_lr()[0] / args.learning_rate) if args.learning_rate else 1.0
            self.state = advance(self.state, self.measured, self.target, pace)

    def measure(self) -> float:
        """The figure of the model as it is; to be called in every process.

        Each encodes its part, at the length of the checkpoint, without dropout and without a random number.
        """
        documents, queries = self.held_out.documents, self.held_out.queries
        document_df_V = over_processes(frequencies(self.encoder.encode_documents(documents[rank() :: world_size()])))
        query_QV = self.encoder.encode_queries(queries)
        query_QV.eliminate_zeros()
        return vector_figures(document_df_V, len(documents), frequencies(query_QV), len(queries))[self.figure]

    def at_end(self) -> dict[str, float]:
        """The figures of the trained model, and a warning if they are not the target."""
        self.measured = self.measure()
        if abs(self.measured / self.target - 1) > TOLERANCE:
            logger.warning(
                "the held-out documents end with a %s of %.4g, not %.4g. λ_d is %.3g now: begin nearer to it "
                "(flops_d_lambda), train for more steps, or choose a target that the model can have.",
                *(self.figure, self.measured, self.target, self.lambda_d),
            )
        return self.figures()

    def figures(self) -> dict[str, float]:
        """For the log: the target and what was measured last."""
        if math.isnan(self.measured):
            return {}
        return {f"target_{self.figure}": self.target, f"measured_{self.figure}": self.measured}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"state": tuple(self.state), "step": self.step, "measured": self.measured}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.state, self.step, self.measured = State(*state["state"]), state["step"], state["measured"]
