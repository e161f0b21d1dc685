"""The Trainer: transformers' loop around our forward pass, objective, statistics and checkpoints."""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import ConcatDataset
from transformers import TrainerState

from retrieval.distributed import barrier
from sparse_model import SparseEncoder, UserError
from sparse_model.card import write_card
from sparse_model.checkpoint import load_weights
from sparse_model.lexical import LexicalShare
from training import step_checkpoints as checkpoints
from training.bookkeeping import Bookkeeping
from training.collator import Collator
from training.data import EpochSampler, Examples
from training.dial import Dial
from training.frequencies import DocumentFrequencies
from training.gather import gather
from training.guard import Guard
from training.log_lines import LogLines, replace_dicts
from training.logged import StepStatistics
from training.objective import Objective
from training.parameter_groups import parameter_groups, trained_table
from training.teachers import Encode, teacher_scores

STATISTICS = "statistics.pt"  # of a checkpoint: what was to be logged next, document frequencies, the dial

# numpy's random state, which older versions of transformers do not name as safe to load without pickle.
torch.serialization.add_safe_globals(
    [
        np.ndarray,
        np.dtype,
        type(np.dtype(np.uint32)),
        np.core.multiarray._reconstruct if np.__version__ < "2" else np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ]
)


class Trainer(transformers.Trainer):
    """Trains a SparseEncoder on examples by an objective.

    Args:
        parts: the examples, file by file.
        objective: the loss of a gathered batch.
        max_seq_length: tokens documents are cut to while training; the encoder's own length is what it is saved with.
        evaluate_figures: returns figures by name (e.g. "ndcg@10") of the model as it is; called by eval_strategy.
        idf_lr: learning rate of the query weights where they are trained; None: as everything else. idf_decay: how
            strongly each step draws them to where they began, as AdamW's decay draws to 0.
        teachers: what scores each batch instead of the rows' own scores; teacher_scale: see `teacher_scores`.
        share: the lexical share that documents are scored with; weights learn what it does not say.
        dial: sets λ_d in place of the objective's schedule.
        run_id: of the run that its checkpoints belong to.
    """

    def __init__(
        self,
        encoder: SparseEncoder,
        args: transformers.TrainingArguments,
        parts: list[Examples],
        objective: Objective,
        *,
        max_seq_length: int,
        idf_lr: float | None = None,
        idf_decay: float = 0.0,
        evaluate_figures: Callable[[], dict[str, float]] | None = None,
        teachers: Sequence[Encode] = (),
        teacher_scale: float = 30.0,
        share: LexicalShare | None = None,
        dial: Dial | None = None,
        run_id: str | None = None,
    ) -> None:
        self.objective: Objective = objective
        self.teachers, self.teacher_scale = teachers, teacher_scale
        self.idf_lr, self.idf_decay, self.start_V = idf_lr, idf_decay, trained_table(encoder, idf_decay)
        self.evaluate_figures, self.dial, self.run_id = evaluate_figures, dial, run_id
        self.sampler = epoch_sampler(parts, objective, args)
        # Where older versions of transformers read a checkpoint themselves: no pickle there either.
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
        self.statistics, self.guard = StepStatistics(), Guard()
        counted = encoder.tokenizer, encoder.vocabulary_size, encoder.prompt_ids
        share_of = partial(share.of_ids, *counted) if share else None
        self.frequencies = DocumentFrequencies()
        super().__init__(
            model=encoder,
            args=args,
            train_dataset=ConcatDataset(parts),
            eval_dataset=[],  # type: ignore[arg-type]
            data_collator=Collator(  # type: ignore[arg-type]
                encoder.tokenizer, max_seq_length, encoder.inf_free, bool(teachers), share_of, encoder.prompts
            ),
            callbacks=[Bookkeeping(self), *([dial] if dial else [])],
        )
        replace_dicts(
            self, LogLines(objective.loss_types, objective.ranking_loss_weight, objective.elastic_whole_weight)
        )
        # The loss is a mean over the batch: the Trainer divides it by the accumulation steps.
        self.model_accepts_loss_kwargs = False

    @property
    def planned_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return planned_steps(self.args, self.sampler)

    @property
    def encoder(self) -> SparseEncoder:
        """The model without what launchers and compilers wrap around it."""
        return self.accelerator.unwrap_model(self.model)  # type: ignore[return-value]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        """The loss of all processes' batches together, the same value on every process."""
        query_QV, document_NV = model(
            inputs["query_ids"],
            inputs["query_mask"],
            inputs["document_ids"],
            inputs["document_mask"],
            inputs["document_lengths"],
        )
        query_QV, document_NV = gather(query_QV), gather(document_NV)
        keys = gather(inputs["document_keys"]), gather(inputs["query_keys"])
        with torch.autocast(document_NV.device.type, enabled=False):
            teacher_QN, share_NV = self._teacher_scores(inputs), self._share(inputs, document_NV)
            frequency_V = self.frequencies.updated(document_NV) if self.objective.df_alpha else None
            lambda_d = self.dial.lambda_d if self.dial else None
            loss, parts = self.objective(
                query_QV, document_NV, teacher_QN, *keys, self.state.global_step, share_NV, frequency_V, lambda_d
            )
        self.statistics.add({**parts, "loss": loss}, document_NV)
        if self.objective.has_chance and self.objective.ranking_loss_weight:
            ranking = [parts[name] for name in self.objective.loss_types]
            self.guard.add_ranking(torch.stack(ranking).mean(), parts["chance"])  # type: ignore[arg-type]
        return loss

    def _teacher_scores(self, inputs: dict[str, Any]) -> Tensor:
        if not self.teachers:
            return gather(inputs["scores"])
        in_batch = self.objective.use_in_batch_negatives
        return teacher_scores(self.teachers, inputs["queries"], inputs["documents"], in_batch, self.teacher_scale)

    def _share(self, inputs: dict[str, Any], document_NV: Tensor) -> Tensor | None:
        """The lexical share of the gathered batch; None: there is none."""
        if "share_places" not in inputs:
            return None
        own_NV = torch.zeros(len(inputs["document_ids"]), document_NV.shape[1], device=document_NV.device)
        own_NV[tuple(inputs["share_places"])] = inputs["share_weights"]
        return gather(own_NV)

    def _get_train_sampler(self, *_: Any) -> EpochSampler:
        return self.sampler

    def create_optimizer(self, *_: Any) -> torch.optim.Optimizer:
        """See `parameter_groups`."""
        if self.optimizer is not None:
            return self.optimizer
        groups = parameter_groups(
            self.encoder, self.args.weight_decay, self.args.learning_rate, self.idf_lr, self.idf_decay
        )
        kind, options = self.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer = kind(groups, **options)
        return self.optimizer

    def _maybe_log_save_evaluate(self, tr_loss: Tensor, grad_norm: Any, *args: Any, **kwargs: Any) -> None:
        if grad_norm is not None:  # at an epoch's end, the last step's once more
            self.guard.add_step(self.state.global_step, grad_norm)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def check(self) -> None:
        """Stop a run that cannot recover, or learns nothing.

        Raises:
            RunError: with the reason and what may mend it.
        """
        self.statistics.check()
        self.guard.check(has_scaler=getattr(self.accelerator, "scaler", None) is not None)

    def log(self, logs: dict[str, float], *args: Any) -> None:
        """Add the statistics since the last log to a training log; its loss begins anew at a resumption, ours not."""
        if "loss" in logs:
            self.check()
            logs = logs | self.statistics.drain() | (self.dial.figures() if self.dial else {})
        super().log(logs, *args)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The figures of eval_beir_datasets, logged as eval_<figure>."""
        figures = self.evaluate_figures() if self.evaluate_figures else {}
        logs = {f"eval_{name}": value for name, value in figures.items()}
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:  # newer versions of the Trainer call this on every process
            self.encoder.write(Path(output_dir or self.args.output_dir))  # type: ignore[arg-type]

    def _save_checkpoint(self, model: nn.Module, trial: Any, *args: Any, **kwargs: Any) -> None:
        self.check()
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"  # type: ignore[arg-type]
        # The Trainer would delete older checkpoints before this one is marked as whole.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial, *args, **kwargs)
        self.args.save_total_limit = limit
        barrier()
        if self.is_world_process_zero():
            torch.save(self._own_state(), folder / STATISTICS)
            checkpoints.mark_complete(folder, self.state.global_step, self.run_id)
            write_card(folder)
            checkpoints.rotate(folder.parent, limit, self.state.best_model_checkpoint)
        barrier()

    def _own_state(self) -> dict[str, Any]:
        """What a resumed run needs beside the Trainer's own: what was to be logged next, and what it had learnt."""
        function = self.encoder.query_function
        return self.statistics.state_dict() | {
            "frequencies": self.frequencies.state_dict(),
            "query_start": self.start_V,
            "query_function": None if function is None else function.state_dict(),
            "dial": self.dial.state_dict() if self.dial else None,
        }

    def _take_own_state(self, state: dict[str, Any]) -> None:
        self.statistics.load_state_dict(state)
        if "frequencies" in state:  # older checkpoints have none
            self.frequencies.load_state_dict(state["frequencies"])
            self.start_V = state["query_start"]
        if self.encoder.query_function is not None:
            self.encoder.query_function.load_state_dict(state["query_function"])
        if self.dial:
            self.dial.load_state_dict(state["dial"])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and self.args.should_save:
            torch.save(scaler.state_dict(), Path(output_dir) / "scaler.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As saved, on whatever device: older versions cannot place what several CPU processes saved."""
        if checkpoint is None:
            return
        parts: dict[str, Any] = {"optimizer": self.optimizer, "scheduler": self.lr_scheduler}
        if getattr(self.accelerator, "scaler", None) is not None:
            parts["scaler"] = self.accelerator.scaler
        for name, part in parts.items():
            path = Path(checkpoint) / f"{name}.pt"
            part.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        statistics = Path(checkpoint) / STATISTICS
        if statistics.is_file():  # older checkpoints have none
            self._take_own_state(torch.load(statistics, map_location="cpu", weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_weights(self.encoder, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._take_final(Path(str(self.state.best_model_checkpoint)))

    def finish_from(self, checkpoint: Path) -> None:
        """Take the final weights from the checkpoint of the last step (or the best one), without training."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        best = state.best_model_checkpoint if self.args.load_best_model_at_end else None
        self._take_final(Path(best) if best else checkpoint)

    def _take_final(self, checkpoint: Path) -> None:
        self.encoder.end_query_function()  # the checkpoint has the table that it came to
        load_weights(self.encoder, checkpoint)


def epoch_sampler(parts: list[Examples], objective: Objective, args: transformers.TrainingArguments) -> EpochSampler:
    """The order of a training's examples.

    Raises:
        UserError: if they do not fill a step, or a positive is ranked against nothing.
    """
    sampler = EpochSampler(
        [len(part) for part in parts],
        args.per_device_train_batch_size * max(1, args.world_size),
        args.gradient_accumulation_steps,
        args.data_seed if args.data_seed is not None else args.seed,
    )
    if not len(sampler):
        step = sampler.batch * sampler.accumulation
        raise UserError(
            f"train_file: {sum(sampler.sizes)} examples do not fill one optimizer step of {step} "
            "(per_device_train_batch_size × processes × gradient_accumulation_steps); make it smaller."
        )
    if sampler.batch == 1 and any(part.documents_per_example == 1 for part in parts):
        raise UserError(
            "per_device_train_batch_size: a batch of one query and its positive holds no negative, so that nothing is "
            "learnt; give 2 or more (use_in_batch_negatives), or rows with negs."
        )
    if sampler.batch == 1 and objective.unbiased:
        raise UserError(
            "flops_estimator: unbiased is over pairs of queries, and a batch has one; raise "
            "per_device_train_batch_size."
        )
    return sampler


def planned_steps(args: transformers.TrainingArguments, sampler: EpochSampler) -> int:
    """Optimizer steps of a whole run."""
    return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * sampler.steps)
