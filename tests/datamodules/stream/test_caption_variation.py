"""Words as functions of (seed, draw)."""

from collections import Counter

import pytest
import torch

from datamodules.stream.caption_variation import CaptionOptions, Wording, with_trigger


def test_in_full() -> None:
    options = CaptionOptions(prefix=" best, a watercolor of ", suffix="at noon ")
    assert Wording(options).in_full("a girl") == "best, a watercolor of a girl at noon"
    assert Wording(options, "sty").in_full("a girl") == "sty, best, a watercolor of a girl at noon"
    assert Wording(CaptionOptions(prefix="sty:"), "sty").in_full("a girl") == "sty: a girl"
    assert Wording(options, "sty").in_full("") == ""


@pytest.mark.parametrize(
    ("prefix", "caption", "suffix", "expected"),
    [
        ("", "c", ", oil", "c, oil"),
        ("", "c,", ", oil", "c, oil"),
        ("", "c ,", ". Oil.", "c. Oil."),
        ("", "c,", "oil", "c, oil"),
        ("best,", ", c", "", "best, c"),
        ("", "c,", "", "c,"),
    ],
)
def test_parts_are_joined_with_one_comma(prefix: str, caption: str, suffix: str, expected: str) -> None:
    wording = Wording(CaptionOptions(prefix, suffix, shuffle_tags=True))
    full = wording.in_full(caption)
    assert full == expected
    assert wording.at_draw([full], 1) == expected.removesuffix(
        ","
    )  # tags lose a last comma with nothing behind


@pytest.mark.parametrize(
    ("suffix", "caption", "ends"),
    [
        (", oil", "a, b, c", ", oil"),
        (", oil", "a, b, c,", ", oil"),
        ("in oil", "a, b, c,", ", in oil"),
        ("in oil", "a, b, c", " in oil"),
    ],
)
def test_the_suffix_follows_shuffled_tags_as_it_follows_the_caption(
    suffix: str, caption: str, ends: str
) -> None:
    wording = Wording(CaptionOptions(suffix=suffix, shuffle_tags=True))
    full = wording.in_full(caption)
    assert full == f"a, b, c{ends}"
    seen = {wording.at_draw([full], draw) for draw in range(100)}
    orders = ("a, b, c", "a, c, b", "b, a, c", "b, c, a", "c, a, b", "c, b, a")
    assert seen == {order + ends for order in orders}


@pytest.mark.parametrize(
    ("prefix", "caption", "begins"),
    [
        ("a painting of", "ghibli, girl, sea", "a painting of ghibli, "),
        ("a painting of", "girl, Ghibli look, sea", "a painting of Ghibli look, "),
        ("a painting of", "girl, sea", "ghibli, a painting of "),
        ("", "ghibli, girl, sea", "ghibli, "),
        ("", "Ghibli, girl, sea", "Ghibli, "),
        ("ghibli,", "girl, sea", "ghibli, "),
        ("ghibli, a painting of", "girl, sea", "ghibli, a painting of "),
    ],
)
def test_the_trigger_stays_in_front_of_shuffled_tags(prefix: str, caption: str, begins: str) -> None:
    wording = Wording(CaptionOptions(prefix, shuffle_tags=True), "ghibli")
    full = wording.in_full(caption)
    seen = {wording.at_draw([full], draw) for draw in range(50)}
    assert seen == {f"{begins}girl, sea", f"{begins}sea, girl"}


def test_the_trigger_comes_behind_the_tags_that_are_kept() -> None:
    wording = Wording(CaptionOptions(shuffle_tags=True, keep_tags=1), "sty")
    seen = {wording.at_draw(["a, b, sty, c"], draw) for draw in range(50)}
    assert seen == {"a, sty, b, c", "a, sty, c, b"}


def test_without_options_the_caption_stays_as_it_is() -> None:
    assert (
        Wording(CaptionOptions()).at_draw(["a girl ,with  odd,, commas"], 3) == "a girl ,with  odd,, commas"
    )


def test_tags_are_put_into_another_order_behind_those_that_are_kept() -> None:
    wording = Wording(CaptionOptions("pre,", "suf", shuffle_tags=True, keep_tags=1), "sty", seed=5)
    caption = wording.in_full("a, b, c, d")
    assert caption == "sty, pre, a, b, c, d suf"
    seen = {wording.at_draw([caption], draw) for draw in range(100)}
    assert {text[:12] for text in seen} == {"sty, pre, a,"}
    assert {text[-4:] for text in seen} == {" suf"}
    orders = {text[12:].removesuffix(" suf").strip() for text in seen}
    assert orders == {"b, c, d", "b, d, c", "c, b, d", "c, d, b", "d, b, c", "d, c, b"}


def test_tags_are_left_out_at_their_rate_but_never_all_nor_the_trigger() -> None:
    wording = Wording(CaptionOptions(tag_dropout=0.25), "sty")
    texts = [wording.at_draw(["a, b, sty, c"], draw).split(", ") for draw in range(1000)]
    counts = Counter(tag for tags in texts for tag in tags)
    assert counts["sty"] == 1000
    for tag in "abc":
        assert 700 < counts[tag] < 800  # 750 expected, standard deviation 14
    assert all(tags == sorted(tags, key=["a", "b", "sty", "c"].index) for tags in texts)
    alone = Wording(CaptionOptions(tag_dropout=0.9))
    assert {alone.at_draw(["a whole sentence"], draw) for draw in range(20)} == {"a whole sentence"}
    assert {len(alone.at_draw(["a, b"], draw).split(", ")) for draw in range(200)} == {1, 2}


def test_each_draw_chooses_among_the_captions() -> None:
    wording = Wording(CaptionOptions(), seed=1)
    chosen = Counter(wording.at_draw(["one", "two", "three"], draw) for draw in range(900))
    assert chosen.keys() == {"one", "two", "three"}
    assert min(chosen.values()) > 240  # 300 expected, standard deviation 14


def test_draws_depend_on_seed_and_number_alone() -> None:
    before = torch.get_rng_state()
    options = CaptionOptions(shuffle_tags=True, tag_dropout=0.3)

    def texts(seed: int) -> list[str]:
        return [Wording(options, seed=seed).at_draw(["a, b, c, d", "e, f, g"], draw) for draw in range(50)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert Wording(options, seed=1).at_draw(["a, b, c, d", "e, f, g"], 40) == texts(1)[40]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a girl", "ghibli_style, a girl"),
        ("ghibli_style, a girl", "ghibli_style, a girl"),
        ("a girl, Ghibli_Style", "a girl, Ghibli_Style"),
        ("ghibli_styles, a girl", "ghibli_style, ghibli_styles, a girl"),
        ("my_ghibli_style", "ghibli_style, my_ghibli_style"),
    ],
)
def test_it_is_put_before_captions_that_lack_it(caption: str, expected: str) -> None:
    assert with_trigger(caption, "ghibli_style") == expected


def test_no_trigger() -> None:
    assert with_trigger("a girl", "") == "a girl"


def test_signs_in_the_trigger_are_plain_text() -> None:
    assert with_trigger("a girl", "s.y+e") == "s.y+e, a girl"
    assert with_trigger("s.y+e, a girl", "s.y+e") == "s.y+e, a girl"
    assert with_trigger("sxyye, a girl", "s.y+e") == "s.y+e, sxyye, a girl"
