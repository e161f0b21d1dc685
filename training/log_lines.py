"""What training shows: the bar of transformers, and a compact line for every log instead of its dict."""

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback


def log_line(
    logs: dict[str, float],
    step: int,
    steps: int,
    ranking: Sequence[str],
    ranking_weight: float = 1.0,
    whole_weight: float = 1.0,
) -> str:
    """The line of one log: of a training step, of an evaluation while training, or of the end.

    Args:
        logs: as `StepStatistics.drain` and the Trainer name them; the loss's parts are means since the last log.
        step: optimizer steps done, of `steps`.
        ranking: names of the ranking losses; ranking_weight: what their sum is multiplied by; whole_weight:
            what those of whole documents are, where the others are of documents that are cut.
    """
    place = f"step {step}/{steps}"
    if "train_runtime" in logs:
        return f"{place}  done in {logs['train_runtime']:.0f} s, mean loss {logs.get('train_loss', float('nan')):.4f}"
    if "loss" not in logs and _held_out(logs):
        return f"{place}  {_held_out(logs)}"
    if "loss" not in logs:
        figures = (f"{_name(key)} {value:.4f}" for key, value in logs.items() if _is_figure(key, value))
        return f"{place}  evaluation: {'  '.join(figures)}"
    parts = [place, _loss(logs, ranking, ranking_weight, whole_weight), _length(logs), _held_out(logs)]
    parts += [f"lr {logs['learning_rate']:.1e}"] if "learning_rate" in logs else []
    parts += [f"grad {logs['grad_norm']:.2f}"] if "grad_norm" in logs else []
    return "  ".join(part for part in parts if part)


def _loss(logs: dict[str, float], ranking: Sequence[str], weight: float, whole_weight: float) -> str:
    """The loss: what it is made of."""
    parts = [f"{name} {logs[name]:.4f}" for name in ranking if name in logs]
    whole = [f"whole_{name}" for name in ranking]
    terms = " + ".join([*parts, *(f"{whole_weight:g} × {name} {logs[name]:.4f}" for name in whole if name in logs)])
    if weight != 1.0:
        terms = f"{weight:g} × ({terms})"
    for side in ("d", "q"):
        if f"flops_{side}" in logs:
            terms += f" + {logs[f'lambda_{side}']:.3g} × flops_{side} {logs[f'flops_{side}']:.4g}"
    return f"loss {logs['loss']:.4f}: {terms}" if terms else f"loss {logs['loss']:.4f}"


def _length(logs: dict[str, float]) -> str:
    """Tokens of a document: the mean, and from the 5th to the 95th percentile."""
    if "d_length" not in logs:
        return ""
    tokens = f"{logs['d_length']:.1f} tokens ({logs['d_length_p5']:.0f}–{logs['d_length_p95']:.0f})"
    empty = logs.get("empty_documents", 0.0)
    return f"{tokens}, {empty:.1%} empty" if empty else tokens


def _held_out(logs: dict[str, float]) -> str:
    """What the held-out documents have, where training has a target."""
    for figure, unit in (("d_length", "tokens"), ("flops", "FLOPS")):
        if f"measured_{figure}" in logs:
            return f"held out {logs[f'measured_{figure}']:.4g} {unit} for {logs[f'target_{figure}']:g}"
    return ""


def _name(key: str) -> str:
    return key.removeprefix("eval_")


def _is_figure(key: str, value: Any) -> bool:
    return key.startswith("eval_") and isinstance(value, float)


class SilentBar(ProgressCallback):
    """The bar without the dict that transformers writes above it."""

    def on_log(self, *_: Any, **__: Any) -> None:
        """Nothing: see `LogLines`."""


class LogLines(TrainerCallback):
    """Writes `log_line` above the bar, or alone where there is none. The last step is logged in any case.

    Args:
        ranking, ranking_weight, whole_weight: see `log_line`.
    """

    def __init__(self, ranking: Sequence[str], ranking_weight: float, whole_weight: float) -> None:
        self.what = ranking, ranking_weight, whole_weight

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A run that is shorter than logging_steps would end without a loss."""
        if state.global_step == state.max_steps and args.logging_strategy == "steps":
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            tqdm.write(log_line(logs, state.global_step, state.max_steps, *self.what))


def replace_dicts(trainer: Any, lines: LogLines) -> None:
    """Take the callbacks that transformers' Trainer prints with, its bar excepted, for these lines."""
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(SilentBar)
    trainer.add_callback(lines)
