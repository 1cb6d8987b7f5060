"""Randomness as a function of (seed, purpose, draw)."""

import torch

from foundation.keyed_random import generator, seed_of


def test_the_same_key_gives_the_same_numbers() -> None:
    assert torch.equal(
        torch.randn(5, generator=generator(3, "noise", 7)), torch.randn(5, generator=generator(3, "noise", 7))
    )


def test_each_part_of_the_key_matters_and_parts_do_not_run_together() -> None:
    seeds = {
        seed_of(1, "a", 23),
        seed_of(12, "a", 3),
        seed_of(1, "b", 23),
        seed_of(1, "a", 24),
        seed_of(1, "a/2", 3),
    }
    assert len(seeds) == 5


def test_a_value_that_must_never_change() -> None:
    """Runs of older versions resume exactly only while this holds."""
    assert seed_of(0, "noise", 0) == 9144587515262914129
