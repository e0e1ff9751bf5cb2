"""`speed:` on its way to swift's process, what it is no part of, and what a model draws at random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pytest
from torch import nn

from skinflow_plugins.bridge.reuse.randomness import random_parts
from skinflow_plugins.bridge.settings import (
    OPTIONS_VARIABLE,
    current_speed,
    from_json,
    settings_of,
    speed_from,
)
from skinflow_plugins.bridge.workspace import trained
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.plan import STAGE_VARIABLE, plan
from skinflow_plugins.recipe.schema import Speed


def test_speed_reaches_the_stages_that_learn_from_rewards(read: Callable[..., Any]) -> None:
    loaded, known = read("speed={pixel_cache: 64, old_logprobs: false}")
    planned = plan(loaded.recipe, known, root=PurePath("/RUN"), plugin="plugin.py")
    found = [settings_of(planned, stage) for stage in planned.stages]
    assert [each.speed.pixel_cache for each in found] == [256, 64, 64]
    for each in found:
        assert from_json(each.to_json()) == each
    assert "speed" not in json.loads(found[0].to_json())


def test_a_run_may_go_on_at_another_speed(read: Callable[..., Any]) -> None:
    slow, fast = (read(f"speed.pixel_cache={size}")[0].mapping for size in (0, 64))
    assert slow != fast
    assert trained(slow) == trained(fast)
    assert "speed" not in trained(fast)


def test_without_a_recipe_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    monkeypatch.delenv(OPTIONS_VARIABLE, raising=False)
    assert current_speed() == Speed()
    monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps({"speed": {"distinct_images": False}}))
    assert current_speed() == Speed(distinct_images=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixel_cach": 1}, r"SKINFLOW_OPTIONS: speed\.pixel_cach: .*did you mean 'pixel_cache'"),
        ({"pixel_cache": -1}, r"speed\.pixel_cache: found -1, expected 0 \(no cache\) or more MiB"),
        ({"pixel_cache": "1"}, r"speed\.pixel_cache: '1' does not fit"),
        ({"old_logprobs": "never"}, r"speed\.old_logprobs: 'never' does not fit"),
        ({"attention": "sdpa"}, r"speed\.attention: .*--attn_impl"),
        ({"liger": True}, r"speed\.liger: .*--use_liger_kernel"),
        (["auto"], "speed must be a mapping"),
    ],
)
def test_wrong_speed_without_a_recipe(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        speed_from(given)


def test_every_wrong_key_is_named() -> None:
    with pytest.raises(InputError) as caught:
        speed_from({"pixels": 1, "images": True, "pixel_cache": 0})
    assert len(caught.value.problems) == 2


@pytest.mark.slow  # imports swift
def test_a_misspelt_key_stops_before_a_model_is_loaded(swift: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from swift.rewards import orms

    from skinflow_plugins.bridge.register import register

    before = dict(orms)
    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    try:
        for given, name in ({"speed": {"pixel_cach": 0}}, "pixel_cache"), ({"sped": {}}, "speed"):
            monkeypatch.setenv(OPTIONS_VARIABLE, json.dumps(given))
            with pytest.raises(InputError, match=f"did you mean '{name}'"):
                register()
    finally:
        orms.clear()
        orms.update(before)


# --- what a model draws -----------------------------------------------------------------------------------


class Attention(nn.Module):
    """As transformers writes them: a number on the module, and no module for it."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention_dropout = dropout
        self.heads = 4


class Config:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def to_dict(self) -> dict[str, Any]:
        return self.settings


def model(*parts: nn.Module, **config: Any) -> nn.Module:
    whole = nn.Sequential(nn.Linear(2, 2), *parts)
    whole.config = Config(**config)  # type: ignore[assignment]
    return whole


@pytest.mark.parametrize(
    "quiet",
    [
        model(nn.Dropout(0.0), nn.Identity(), Attention(0.0), nn.LayerNorm(2)),
        model(nn.BatchNorm1d(2, track_running_stats=False)),
        model(attention_dropout=0.0, vision={"drop_path_rate": 0, "layers": 2}, dropout=None),
    ],
)
def test_nothing_random(quiet: nn.Module) -> None:
    assert list(random_parts(quiet)) == []


@pytest.mark.parametrize(
    ("loud", "told"),
    [
        (model(nn.Dropout(0.1)), "dropout of 0.1 in 1"),
        (model(nn.Sequential(nn.Dropout2d(0.5))), "dropout of 0.5 in 1.0"),
        (model(nn.AlphaDropout(0.2)), "dropout of 0.2"),
        (model(Attention(0.1)), "attention_dropout of 0.1 in 1"),
        (model(nn.MultiheadAttention(2, 1, dropout=0.3)), "dropout of 0.3"),
        (model(nn.LSTM(2, 2, 2, dropout=0.4)), "dropout of 0.4"),
        (model(nn.RReLU()), "random slope"),
        (model(nn.BatchNorm1d(2)), "running statistics"),
        (model(vision={"drop_path_rate": 0.1}), "drop_path_rate of 0.1 in the model's config"),
        (model(router_jitter_noise=0.01), "router_jitter_noise of 0.01"),
    ],
)
def test_what_is_random_is_named(loud: nn.Module, told: str) -> None:
    assert told in next(random_parts(loud))


def test_loras_dropout_is_found_where_peft_puts_it() -> None:
    from peft import LoraConfig, get_peft_model

    for dropout in (0.0, 0.05):
        peft = get_peft_model(
            nn.Sequential(nn.Linear(2, 2)),
            LoraConfig(target_modules=["0"], lora_dropout=dropout),
        )
        found = [each for each in random_parts(peft) if "dropout of" in each]
        assert bool(found) == bool(dropout)
