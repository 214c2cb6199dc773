"""What is measured over the length of histories is what the names say; no times are asserted."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

MODELS = ("RecBLR", "LRU", "SASRec", "SASRec, fused attention")


@pytest.fixture(scope="module")
def history_length(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("history_length")


def task(history_length: ModuleType, model: str) -> Any:
    return history_length.Task(model, length=6, n_items=50, tokens=18, repeats=1, threads=1, device="cpu", clock="wall")


def test_all_histories_are_of_one_length_and_targets_follow(history_length: ModuleType) -> None:
    items, targets, offsets = history_length.histories(3, 6, 50)
    assert offsets.tolist() == [0, 6, 12, 18]
    assert items.shape == targets.shape == (18,)
    for start in offsets[:-1]:
        torch.testing.assert_close(items[start + 1 : start + 6], targets[start : start + 5])
    assert 1 <= items.min() <= items.max() <= 50


def test_the_models_are_those_of_the_figure(history_length: ModuleType) -> None:
    assert tuple(history_length.MODELS) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_training_learns_and_ranking_is_of_the_catalogue(history_length: ModuleType, model: str) -> None:
    subject = history_length.Subject(task(history_length, model))
    before = subject.model.embedding.weight.clone()
    subject.train()
    assert not torch.equal(subject.model.embedding.weight, before)
    subject.model.eval()
    best = subject.recommend()
    assert best.shape == (1, 10)
    assert 1 <= best.min() <= best.max() <= 50


@pytest.mark.parametrize("model", MODELS)
def test_an_event_costs_a_step_only_where_there_is_a_state(history_length: ModuleType, model: str) -> None:
    subject = history_length.Subject(task(history_length, model))
    subject.model.eval()
    subject.remember()
    if model.startswith("SASRec"):
        torch.testing.assert_close(subject.event(), subject.query())
        return
    longer = torch.cat([subject.items[:6], subject.items[:1]])
    with torch.no_grad():
        expected, _ = subject.model.query(longer, torch.tensor([0, 7]))
    torch.testing.assert_close(subject.event(), expected)


def test_the_numbers_of_a_measurement(history_length: ModuleType) -> None:
    times = history_length.measure_time(task(history_length, "RecBLR"))
    assert times.keys() == {"train_ms", "query_ms", "event_ms", "inference_ms"}
    assert all(ms > 0 for ms in times.values())
    assert history_length.measure_memory(task(history_length, "LRU"))["train_memory_mib"] >= 0
    assert history_length.medians([{"a": 1.0}, {"a": 5.0}, {"a": 2.0}]) == {"a": 2.0}


def test_the_allocators_setting_ends_with_its_block(history_length: ModuleType) -> None:
    with history_length.memory_handed_back():
        assert "MALLOC_MMAP_THRESHOLD_" in os.environ
    assert "MALLOC_MMAP_THRESHOLD_" not in os.environ


def test_steps_of_different_sizes_are_refused(history_length: ModuleType) -> None:
    refused = CliRunner().invoke(history_length.main, ["--lengths", "4,5", "--tokens", "12"])
    assert refused.exit_code == 2
    assert "12 is no multiple of 5" in refused.output


def test_the_clock_of_the_cpu_is_for_one_thread(quality_module: Callable[[str], ModuleType]) -> None:
    measure = quality_module("measure")
    measure.check_clock("cpu", 1, "cpu")
    measure.check_clock("wall", 8, "cuda")
    with pytest.raises(click.UsageError, match="not of 2 on cpu"):
        measure.check_clock("cpu", 2, "cpu")
    with pytest.raises(click.UsageError, match="not of 1 on cuda"):
        measure.check_clock("cpu", 1, "cuda")


def test_functions_are_measured_in_turn(quality_module: Callable[[str], ModuleType]) -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = quality_module("measure").interleaved(functions, repeats=2, device="cpu", warm_up=1)
    assert calls == ["a", "b"] * 3
    assert times.keys() == {"a", "b"}
    assert times["a"]["min"] <= times["a"]["median"]
