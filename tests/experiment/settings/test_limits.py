"""Every key with extreme values: a mistake that names the key, or a value that can be used; never an exception."""

import time
from pathlib import Path
from typing import Any

import pytest

from experiment.run.folder import yaml_text
from experiment.run.train import trainer_fields
from experiment.settings.keys import GROUP_OF
from experiment.settings.limits import LARGEST, faults
from experiment.settings.mistakes import Mistakes, without_credentials
from experiment.settings.old_keys import OLD
from experiment.settings.settings import Settings, load_settings
from experiment.settings.trainer_keys import fields
from sparse_model import UserError
from training.arguments import build_arguments

KEYS = [*GROUP_OF, *(name for name in fields() if name not in GROUP_OF), *OLD]
NUMBERS = ["0", "-1", "-5", "1e30", "-1e30", ".inf", "-.inf", ".nan", "inf", "nan", "4294967296", "9223372036854775808"]
OTHERS = [
    "",
    "null",
    "true",
    "[]",
    "{}",
    "[.inf]",
    "{a: .nan}",
    "[[1]]",
    "{1: 2}",
    '"\\0"',
    "2020-01-01",
    "!!binary aGk=",
    "~nobody/x",
]
OTHERS += ["x" * 5000, "a,b", "../..", "é" * 200, "0x10", "1_000", "!!set {a}", "-", "{a: {b: [1e40]}}", "[null]"]


def _usable(words: list[str], for_training: bool) -> Settings | None:
    """The settings, as far as a run takes them before it loads anything; None if they were refused by key."""
    try:
        settings = load_settings(words, for_training=for_training)
    except Mistakes as mistakes:
        assert all(mistake.key for mistake in mistakes.found), mistakes
        return None
    except UserError:
        return None
    assert not list(faults(settings.resolved()))
    yaml_text(settings.resolved())
    return settings


@pytest.mark.parametrize("text", ["0", "-5", ".nan", "[]", "", "~nobody/x"])
def test_each_key_alone(text: str) -> None:
    for key in KEYS:
        _usable([f"{key}={text}"], for_training=True)


@pytest.mark.parametrize("text", [*NUMBERS, *OTHERS], ids=lambda text: text[:20])
def test_all_keys_at_once(text: str) -> None:
    """With the mistakes of all of them."""
    _usable([f"{key}={text}" for key in KEYS], for_training=True)
    for group in (KEYS[::2], KEYS[1::2]):
        _usable([f"{key}={text}" for key in group], for_training=False)


@pytest.mark.parametrize("text", ["0", "-1", "1", "inf", "x"])
def test_the_trainer_takes_what_the_limits_let_through(text: str, tmp_path: Path) -> None:
    """Its own checks may refuse more, by name; nothing else than a UserError."""
    for key in fields():
        if settings := _usable([f"{key}={text}"], for_training=False):
            try:
                build_arguments(tmp_path, trainer_fields(settings.training, settings.evaluation))
            except UserError as error:
                assert key in str(error), error


def test_an_unknown_reporter_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="report_to: wand is not supported, only"):
        build_arguments(tmp_path, {"report_to": "wand"})


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=4294967296", "seed: 4.295e.09 is too large"),
        ("seeds=[1, 4294967296]", "seeds: 4.295e.09 is too large"),
        ("top_k=9223372036854775808", "top_k: 9.223e.18 is too large"),
        ("dataloader_num_workers=-1", "dataloader_num_workers: -1 is too small; 0 or more"),
        ("dataloader_num_workers=1000", "1000 is too large; 256 or less"),
        ("max_steps=-5", "max_steps: -5 is too small; -1 or more"),
        ("flops_d_lambda=1e30", "flops_d_lambda: 1e.30 is too large"),
        ("score_scale=.nan", "score_scale: is not finite"),
        ("flops_threshold=inf", "flops_threshold: is not finite"),
        ("model_overrides={hidden_dropout_prob: .nan}", "model_overrides: is not finite"),
        ("lr_scheduler_kwargs={a: [{b: .inf}]}", "lr_scheduler_kwargs: is not finite"),
        ("teachers=[{type: dense, model_name_or_path: a, weight: .inf}]", "teachers: "),
        ("swap_times=1000000000", "swap_times: "),
        ("lr_scheduler_type=linar", "lr_scheduler_type: Input should be 'linear', 'cosine'"),
        ("optim=adam", "optim: Input should be 'adamw_torch'"),
        (f"train_file={'x' * 300}", "train_file: xxxxxxxxxxxxxxxxxxxx… is too long"),
    ],
)
def test_limits_that_no_type_says(word: str, message: str) -> None:
    """With another mistake: all at once."""
    with pytest.raises(Mistakes, match=message) as caught:
        load_settings([word, "temperature=0"])
    assert len(caught.value.found) == 2


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, 0.1, True, None, "a b", {"a": [1, {"b": 2.0}]}, [], ("x",)])
def test_usual_values_pass(value: Any) -> None:
    assert list(faults(value)) == []


def test_a_mistake_is_written_as_fast_as_it_is_long() -> None:
    """Every letter of a long value could begin an address."""
    started = time.process_time()
    assert without_credentials("x" * 200_000 + " http://u:geheim@h") == "x" * 200_000 + " http://h"
    assert time.process_time() - started < 1


BOMB = "model_overrides:\n  k0: &a0 [x]\n" + "".join(
    f"  k{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    "text",
    [BOMB, "metrics: &a [*a]\n", "model_overrides: &a {x: *a}\n", "seed: 1\n" + "#" * 2**20, f"base: {'a' * 5000}\n"],
    ids=["aliases", "a list in itself", "a mapping in itself", "size", "base"],
)
def test_a_config_without_end(tmp_path: Path, text: str) -> None:
    """A few lines that stand for 9 to the 8th values, values within themselves, a file of megabytes, a long name."""
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match="aliases|no config|cannot be read") as error:
        load_settings([str(tmp_path / "c.yaml")])
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("number", ["1" + "0" * 400, "0x" + "f" * 5000, "-1" + "0" * 400])
def test_a_whole_number_without_end(number: str) -> None:
    with pytest.raises(Mistakes, match="seed") as error:
        load_settings([f"seed={number}"])
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "word",
    [
        "opensearch_url={a: 'http://u:ge heim@h'}",
        "opensearch_url=[['http://u:geheim@h:9200']]",
        "engine=http://u:geheim@h",
        "opensearch_url=[http://u:geheim@h:99999]",
    ],
)
def test_a_mistake_repeats_no_password(word: str) -> None:
    with pytest.raises(Mistakes, match=word.partition("=")[0]) as error:
        load_settings([word, "engine=opensearch"] if word.startswith("open") else [word])
    assert "heim" not in str(error.value)
