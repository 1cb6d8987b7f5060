"""Which picture comes at draw p? Groups are sampled by their shares, exactly, and the pictures of a group in turn.

This is what repeats are in kohya's scripts and torch's `WeightedRandomSampler` elsewhere, without luck: draw p = 0, 1,
2 ... is a pure function of (pictures a group, shares, seed), so a run resumes at any draw. `BalancedStream.draw` says
it; batches of draws are dealt by `DrawBatchSampler` (`dataset.py`).

Groups take turns as chairmen do in Tijdeman's problem ("The chairman assignment problem", Discrete
Mathematics 32, 1980): with k groups of shares s_i, after any number t of draws the count of every group
differs from s_i t by at most 1 - 1/(2k - 2). For two groups that is 1/2: rounding. Among the groups with

    s_i t - count_i >= 1/(2k - 2)        (count_i: before draw number t = 1, 2 ...)

that one is drawn whose bound would be broken first, i.e. with the smallest

    (1 - 1/(2k - 2) - s_i t + count_i) / s_i

All of it in integers: with s_i = w_i / W the turns repeat every W draws.

Inside a group visits go through one seeded permutation after another: every picture once before any twice.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch

from foundation.keyed_random import generator


def exact_shares(sizes: Mapping[str, int], shares: Mapping[str, float] | None) -> dict[str, Fraction]:
    """Shares that sum to 1, by sorted name of the group; as found (by size) if none are given.

    Raises:
        ValueError: the names aren't those of the groups, or a share isn't a positive number.
    """
    weights = {name: Fraction(size) for name, size in sizes.items()}
    if shares is not None:
        if set(shares) != set(sizes):
            example = ", ".join(f"{name}: 1" for name in sorted(sizes))
            raise ValueError(
                f"data.shares names the groups {sorted(shares)}, but the pictures have {sorted(sizes)}."
                f" Give each of these a share, such as {{{example}}}, or null to draw as found."
            )
        wrong = {name: share for name, share in shares.items() if not (0 < share < math.inf)}
        if wrong:
            raise ValueError(
                f"data.shares has {wrong}: a share must be a positive number. To leave a group out, take its"
                " pictures out of the folder."
            )
        weights = {name: Fraction(str(share)) for name, share in shares.items()}  # str: 0.1 is a tenth
    total = sum(weights.values())
    return {name: weights[name] / total for name in sorted(weights)}


class Turns:
    """Whose turn each draw is, by Tijdeman's algorithm; worked out in order and kept (9 bytes each)."""

    def __init__(self, shares: Sequence[Fraction]) -> None:
        """Take positive shares that sum to 1."""
        self.period = math.lcm(*(share.denominator for share in shares))
        self.weights = [int(share * self.period) for share in shares]
        self._slack = max(2 * len(shares) - 2, 1)  # 2k - 2; with one group it is always its turn
        common = math.lcm(*self.weights)
        self._per_share = [common // weight for weight in self.weights]  # 1 / s_i, times a constant
        self._counts = [0] * len(shares)
        self._turns = array("B" if len(shares) <= 256 else "L")
        self._visits = array("Q")

    def __call__(self, draw: int) -> tuple[int, int]:
        """The group whose turn it is, and how often it had its turn before."""
        periods, place = divmod(draw, self.period)
        self._work_out(place + 1)
        group = self._turns[place]
        return group, periods * self.weights[group] + self._visits[place]

    def counts(self, draws: int) -> list[int]:
        """How many of the first draws went to each group."""
        periods, places = divmod(draws, self.period)
        self._work_out(places)
        begun = self._turns[:places]
        return [periods * weight + begun.count(group) for group, weight in enumerate(self.weights)]

    def _work_out(self, number: int) -> None:
        while len(self._turns) < number:
            t = len(self._turns) + 1
            # W (s_i t - count_i)
            behind = [
                weight * t - self.period * count
                for weight, count in zip(self.weights, self._counts, strict=True)
            ]
            eligible = [i for i, lag in enumerate(behind) if self._slack * lag >= self.period]
            group = min(eligible, key=lambda i: self._deadline(behind[i], i))
            self._turns.append(group)
            self._visits.append(self._counts[group])
            self._counts[group] += 1

    def _deadline(self, behind: int, group: int) -> int:
        """Draws until the group's bound is broken, times a constant that all groups share."""
        return ((self._slack - 1) * self.period - self._slack * behind) * self._per_share[group]


class BalancedStream:
    """The endless balanced stream of draws."""

    def __init__(self, sizes: Mapping[str, int], shares: Mapping[str, float] | None, seed: int) -> None:
        """Set up the stream.

        Args:
            sizes: pictures of each group.
            shares: any positive numbers, one a group; null draws groups by their sizes.
            seed: decides the order inside groups.

        Raises:
            ValueError: a group has no pictures, or the shares don't fit the groups.
        """
        empty = sorted(name for name, size in sizes.items() if size < 1)
        if empty or not sizes:
            raise ValueError(f"No pictures to train on{f' in the groups {empty}' if empty else ''}.")
        self.shares = exact_shares(sizes, shares)
        self.sizes = {name: sizes[name] for name in self.shares}
        self.seed = seed
        self._names = list(self.shares)
        self._turns = Turns(list(self.shares.values()))
        self._orders: dict[str, tuple[int, list[int]]] = {}  # of the round that each group is in

    def draw(self, number: int) -> tuple[str, int]:
        """Group and picture (its index in the group) of one draw."""
        turn, visit = self._turns(number)
        group = self._names[turn]
        rounds, place = divmod(visit, self.sizes[group])
        return group, self._order(group, rounds)[place]

    def counts(self, draws: int) -> dict[str, int]:
        """How many of the first draws went to each group."""
        return dict(zip(self._names, self._turns.counts(draws), strict=True))

    def visits(self, draws: int) -> dict[str, list[int]]:
        """How often each picture of each group, by its index in the group, comes in the first draws."""
        found = {}
        for group, number in self.counts(draws).items():
            rounds, rest = divmod(number, self.sizes[group])
            found[group] = [rounds] * self.sizes[group]
            for index in self._order(group, rounds)[:rest]:
                found[group][index] += 1
        return found

    def _order(self, group: str, rounds: int) -> list[int]:
        known = self._orders.get(group)
        if known is None or known[0] != rounds:
            dice = generator(self.seed, f"order/{group}", rounds)
            known = self._orders[group] = (rounds, torch.randperm(self.sizes[group], generator=dice).tolist())
        return known[1]
