"""Randomness that is a function of (seed, purpose, draw), not of what was drawn before.

Noise, timesteps, flips, caption dropout and the order of pictures all come from here. A run that is killed and resumed,
a run on two processes, and a run with validation switched off therefore draw the same numbers, and no generator state
has to be saved. The generators live on the CPU so that every machine draws alike.
"""

import hashlib

import torch


def seed_of(seed: int, purpose: str, draw: int) -> int:
    """A 63-bit number that depends on all three arguments (BLAKE2b of their text).

    Args:
        seed: the run's seed.
        purpose: what the number is for ("noise", "timestep", "flip" ...); different purposes are independent.
        draw: the sample's number in the training stream, or any other index.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{draw}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, draw: int) -> torch.Generator:
    """A fresh CPU generator for one (seed, purpose, draw)."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, draw))
