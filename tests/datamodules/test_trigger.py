"""The trigger word goes before each caption once."""

import pytest

from datamodules.trigger import with_trigger


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
