"""The balanced stream: its promises, on any groups and shares."""

import math
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.stream.balanced_sampling import BalancedStream, exact_shares

counts_of_groups = st.lists(st.integers(1, 7), min_size=1, max_size=6)
shares_of_groups = st.lists(
    st.one_of(st.integers(1, 50).map(float), st.floats(0.01, 100)), min_size=6, max_size=6
)


def stream_of(sizes: list[int], shares: list[float] | None, seed: int = 0) -> BalancedStream:
    names = [f"g{number}" for number in range(len(sizes))]
    named = None if shares is None else dict(zip(names, shares, strict=False))
    return BalancedStream(dict(zip(names, sizes, strict=True)), named, seed)


@given(counts_of_groups, st.none() | shares_of_groups)
def test_every_group_is_within_one_of_its_share_after_any_number_of_draws(
    sizes: list[int], shares: list[float] | None
) -> None:
    stream = stream_of(sizes, shares)
    bound = 1 - Fraction(1, max(2 * len(sizes) - 2, 1))  # Tijdeman 1980
    seen = dict.fromkeys(stream.sizes, 0)
    for draws in range(1, 150):
        seen[stream.draw(draws - 1)[0]] += 1
        assert all(abs(seen[name] - stream.shares[name] * draws) <= bound for name in seen)
    assert stream.counts(149) == seen


@given(counts_of_groups, shares_of_groups, st.integers(0, 5))
def test_every_picture_is_seen_once_before_any_is_seen_twice(
    sizes: list[int], shares: list[float], seed: int
) -> None:
    stream = stream_of(sizes, shares, seed)
    visits: dict[str, list[int]] = {name: [] for name in stream.sizes}
    for draw in range(200):
        group, index = stream.draw(draw)
        visits[group].append(index)
    for name, size in stream.sizes.items():
        for start in range(0, len(visits[name]) - size, size):
            assert sorted(visits[name][start : start + size]) == list(range(size))


@given(counts_of_groups, st.none() | shares_of_groups, st.integers(0, 120), st.integers(1, 80))
def test_every_window_is_within_two_of_its_share_and_of_two_groups_within_one(
    sizes: list[int], shares: list[float] | None, start: int, length: int
) -> None:
    """A window is the difference of two beginnings, each within 1 - 1/(2k - 2): 1/2 for two groups."""
    stream = stream_of(sizes, shares)
    window = [stream.draw(draw)[0] for draw in range(start, start + length)]
    bound = 1 if len(sizes) <= 2 else 2
    for name, share in stream.shares.items():
        assert abs(window.count(name) - share * length) <= bound


@given(counts_of_groups, st.none() | shares_of_groups, st.integers(0, 300))
def test_visits_are_what_the_draws_add_up_to(
    sizes: list[int], shares: list[float] | None, draws: int
) -> None:
    stream = stream_of(sizes, shares)
    seen = [stream.draw(draw) for draw in range(draws)]
    expected = {
        name: [seen.count((name, index)) for index in range(size)] for name, size in stream.sizes.items()
    }
    assert stream_of(sizes, shares).visits(draws) == expected


@given(counts_of_groups, st.none() | shares_of_groups, st.integers(0, 5), st.integers(0, 200))
def test_inside_a_group_visits_never_differ_by_more_than_one(
    sizes: list[int], shares: list[float] | None, seed: int, draws: int
) -> None:
    for visits in stream_of(sizes, shares, seed).visits(draws).values():
        assert max(visits) - min(visits) <= 1


@given(counts_of_groups, st.none() | shares_of_groups, st.lists(st.integers(0, 400), max_size=20))
def test_any_draw_can_be_asked_for_in_any_order(
    sizes: list[int], shares: list[float] | None, draws: list[int]
) -> None:
    in_order = stream_of(sizes, shares)
    expected = [in_order.draw(draw) for draw in range(401)]
    at_random = stream_of(sizes, shares)
    assert [at_random.draw(draw) for draw in draws] == [expected[draw] for draw in draws]


@given(st.integers(1, 30), st.integers(1, 30))
def test_two_groups_take_turns_by_rounding(first: int, second: int) -> None:
    stream = stream_of([3, 4], [first, second])
    for draws in range(100):
        rounded = math.floor(Fraction(first, first + second) * draws + Fraction(1, 2))
        assert stream.counts(draws)["g0"] == rounded


def test_two_to_one_by_hand() -> None:
    stream = BalancedStream({"portrait": 4, "landscape": 2}, {"portrait": 2, "landscape": 1}, seed=0)
    groups = "".join(stream.draw(draw)[0][0] for draw in range(9))
    assert groups == "plpplpplp"  # landscape's count is draws / 3, rounded


def test_as_found_shows_every_picture_equally_often() -> None:
    stream = BalancedStream({"a": 5, "b": 3, "c": 1}, None, seed=3)
    pictures = [stream.draw(draw) for draw in range(9 * 4)]
    assert len(set(pictures)) == 9
    assert {pictures.count(picture) for picture in pictures} == {4}


def test_the_order_depends_on_seed_group_and_round() -> None:
    def order(seed: int, group: str, rounds: int) -> list[int]:
        stream = BalancedStream({"a": 20, "b": 20}, None, seed)
        draws = [stream.draw(draw) for draw in range(40 * rounds, 40 * rounds + 40)]
        return [index for name, index in draws if name == group]

    orders = [order(0, "a", 0), order(1, "a", 0), order(0, "b", 0), order(0, "a", 1)]
    assert len({tuple(found) for found in orders}) == 4
    assert order(0, "a", 1) == order(0, "a", 1)


def test_the_order_of_the_groups_does_not_matter() -> None:
    forth = BalancedStream({"a": 3, "b": 2}, {"b": 1, "a": 2}, seed=0)
    back = BalancedStream({"b": 2, "a": 3}, {"a": 2, "b": 1}, seed=0)
    assert [forth.draw(draw) for draw in range(50)] == [back.draw(draw) for draw in range(50)]


def test_shares_are_exact_decimals() -> None:
    assert exact_shares({"a": 1, "b": 1}, {"a": 0.1, "b": 0.2}) == {"a": Fraction(1, 3), "b": Fraction(2, 3)}


def test_shares_of_other_groups_are_refused() -> None:
    message = (
        "data.shares names the groups ['landscape', 'potrait'], but the pictures have"
        " ['landscape', 'portrait']. Give each of these a share, such as {landscape: 1, portrait: 1},"
        " or null to draw as found."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        BalancedStream({"portrait": 2, "landscape": 1}, {"potrait": 2, "landscape": 1}, seed=0)


@pytest.mark.parametrize("share", [0, -1.5, math.inf, math.nan])
def test_shares_that_are_no_positive_numbers_are_refused(share: float) -> None:
    message = f"data.shares has {{'a': {share}}}: a share must be a positive number."
    with pytest.raises(ValueError, match=re.escape(message)):
        BalancedStream({"a": 1, "b": 1}, {"a": share, "b": 1}, seed=0)


@pytest.mark.parametrize(
    ("sizes", "text"), [({}, "No pictures to train on."), ({"a": 0}, r"in the groups \['a'\]")]
)
def test_a_stream_needs_pictures(sizes: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BalancedStream(sizes, None, seed=0)
