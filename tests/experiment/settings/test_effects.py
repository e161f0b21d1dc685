"""Every key says what it changes; the questions that commands ask of keys."""

import dataclasses
import subprocess
import sys

import pytest
from pydantic import BaseModel
from transformers import TrainingArguments

from experiment.run.command import run_command
from experiment.settings import trainer_keys
from experiment.settings.effects import Changes, Effect, key
from experiment.settings.help import groups, help_text
from experiment.settings.keys import GROUPS, OURS, effect, keys_that_change
from experiment.settings.settings import load_settings
from sparse_model.errors import UserError


def test_every_key_says() -> None:
    """Ours in the line that defines them, the Trainer's in the table: none is left out."""
    for group in GROUPS.values():
        for name, field in group.model_fields.items():
            assert isinstance(field.json_schema_extra["effect"], Effect), name  # type: ignore[index, call-overload]
    installed = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    assert installed - trainer_keys.EFFECTS.keys() - OURS.keys() == set()


def test_a_key_that_does_not_say_is_refused() -> None:
    with pytest.raises(TypeError):
        key(3)  # type: ignore[call-arg]
    assert trainer_keys.effect_of("a_field_of_tomorrow").changes == Changes.WEIGHTS


def test_the_questions() -> None:
    """The lists that versions before the questions kept by hand, as recorded then."""
    decide = set(keys_that_change(Changes.WEIGHTS | Changes.LENGTH))
    assert {"load_best_model_at_end", "learning_rate", "seed", "loss_types", "train_file", "idf_path"} <= decide
    assert decide.isdisjoint({"eval_max_seq_length", "prune_ratio", "logging_steps", "beir_dir", "output_dir"})
    told = ["activation_type", "idf_path", "max_seq_length", "inf_free", "query_prompt", "document_prompt"]
    told += ["train_lexical_share", "train_lexical_idf", "lexical_share", "lexical_idf"]
    assert [name for name in OURS if effect(name).told] == told
    always = {name for name in [*OURS, *trainer_keys.EFFECTS] if effect(name).by_default}
    assert always == set(
        "split engine top_k baseline query_prune use_two_phase round_weights bf16_full_eval fp16_full_eval".split()
    )


def test_fields_are_those_of_the_class() -> None:
    """What is read from the source equals what the class says: names, defaults, and what values become."""
    by_name = {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}
    assert set(trainer_keys.fields()) == set(by_name)
    for name, field in by_name.items():
        if name not in trainer_keys.OUR_DEFAULTS:
            default = None if field.default is dataclasses.MISSING else field.default
            assert trainer_keys.default_of(name) == default, name
    assert trainer_keys.checked("learning_rate", "1e-3") == ("learning_rate", 1e-3)
    with pytest.raises(ValueError, match="valid integer"):
        trainer_keys.checked("max_steps", "many")


def test_settings_are_frozen() -> None:
    settings = load_settings(["use_l0=true", "split_batch=4"])
    assert settings.model.activation_type == "l1_relu" and "split_batch" not in settings.resolved()
    for change in (
        lambda: setattr(settings.model, "activation_type", "relu"),
        lambda: setattr(settings, "model", None),
        lambda: settings.training.update(seed=1),  # type: ignore[attr-defined]
    ):
        with pytest.raises((ValueError, AttributeError)):
            change()
    other = settings.with_values(activation_type="relu", output_dir="x")
    assert (other.model.activation_type, str(other.output_dir)) == ("relu", "x")
    assert settings.model.activation_type == "l1_relu" and isinstance(settings.model, BaseModel)


def test_help_is_short_unless_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, everything = help_text("train_ir.py"), help_text("train_ir.py", "all")
    assert "flops_threshold" in short and "adam_beta1" not in short and "adam_beta1" in everything
    assert max(map(len, everything.splitlines())) <= 80 and len(short.splitlines()) < 70
    assert "a change makes anew: weights, vectors; a checkpoint tells it" in help_text("train_ir.py", "activation_type")
    assert "activation_type: l1_relu" in help_text("train_ir.py", "use_l0"), "an older name says what it stands for"
    with pytest.raises(UserError, match="did you mean learning_rate"):
        help_text("train_ir.py", "learning_rat")
    assert run_command("train_ir.py", ["--help", "seed", "use_l0"], "") == 0
    shown = capsys.readouterr().out
    assert "  seed (int, 42)" in shown and "activation_type: l1_relu" in shown, "each key that is asked for"
    assert {key.name for _, keys in groups() for key in keys} >= {*OURS, "seed", "score_scale", "query_prefix"}


HEAVY = ("torch", "transformers", "datasets", "scipy", "matplotlib", "beir", "numba", "opensearchpy", "accelerate")
LOADED = """
import sys
sys.argv = {argv!r}
import runpy
try:
    runpy.run_path("{script}", run_name="__main__")
except SystemExit as end:
    print(end.code, *sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("argv", "code"), [(["x", "--help"], "0"), (["x", "config/quickstart/flops.yaml", "flops_treshold=3"], "2")]
)
@pytest.mark.process
@pytest.mark.parametrize("script", ["train_ir.py", "evaluate_beir.py", "data_preparation.py"])
def test_nothing_heavy_is_imported_for_a_word(script: str, argv: list[str], code: str) -> None:
    """Help and mistakes in keys are told before anything slow is loaded."""
    program = LOADED.format(argv=argv, script=script)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    ended, *modules = done.stderr.splitlines()[-1].split()
    assert ended == code and set(HEAVY).isdisjoint(modules) and len(modules) < 600
