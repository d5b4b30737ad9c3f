"""Generators go on where they stopped, or it is said why they can not."""

from __future__ import annotations

import warnings

import pytest
import torch

from lightning_mtl._random_state import random_state, resume_random_state, set_random_state


def test_generators_go_on() -> None:
    state = random_state()
    drawn = torch.rand(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume_random_state([state], 0, 1)
    assert torch.equal(torch.rand(3), drawn)


def test_generators_of_other_gpus_are_named() -> None:
    state = random_state()
    drawn = torch.rand(3)
    with pytest.warns(UserWarning, match=r"generators of 9 visible GPUs, and \d are visible. Make 9 visible"):
        set_random_state({**state, "cuda": [torch.get_rng_state()] * 9})
    assert torch.equal(torch.rand(3), drawn)


def test_generators_of_other_processes_are_named_once() -> None:
    states = [random_state(), random_state()]
    with pytest.warns(UserWarning, match="generators of 2 processes, and there are 3. Resume on 2"):
        resume_random_state(states, 0, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rank in (1, 2):
            resume_random_state(states, rank, 3)
