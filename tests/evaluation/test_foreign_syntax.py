r"""What A1111, ComfyUI, compel, Midjourney and NovelAI read in prompts is found; text that looks like it isn't."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.foreign_syntax import foreign_syntax
from evaluation.prompts import parse

SIGNS = r"[()\[\]{}<>|:+_\\-]"

FOREIGN = [
    ("a <lora:x:1>", "<lora:x:1>", "take it out"),
    ("<lyco:a b:0.5:1>", "<lyco:a b:0.5:1>", "--lora_scale"),
    ("<hypernet:y:0.4>, hills", "<hypernet:y:0.4>", "take it out"),
    ("a [cat:dog:0.5] sits", "[cat:dog:0.5]", "write one of the two"),
    ("[cat::10]", "[cat::10]", "write one of the two"),
    ("[dog: .5 ]", "[dog: .5 ]", r"\[ and \]"),
    ("[[cat]:(dog:1.2):0.5] [grey]", "[[cat]:(dog:1.2):0.5]", "write one of the two"),
    ("[cow|horse|] in a field", "[cow|horse|]", "takes turns"),
    ("hills AND sea :1.2", "AND", "write `and`"),
    ("a {red|green} dress", "{red|green}", "a prompt of its own"),
    ("{2$$red}", "{2$$red}", "a prompt of its own"),
    ("__hair/colour__ hair", "__hair/colour__", "a prompt of its own"),
    ("(embedding:easynegative:1.2)", "embedding:easynegative:1.2", "textual inversion"),
    ("(hills)1.3", ")1.3", "(x:1.3)"),
    ("hills++ sea", "hills++", "(x:1.3)"),
    ('("a", "b").blend(0.7, 0.3)', ".blend(", "aren't blended"),
    ("cat::2 dog", "cat::2", "(x:1.3)"),
    ("1.2::cat::", "1.2::", "(x:1.3)"),
    ("{{cat}}", "{{cat}}", "((x))"),
    ("hills --ar 16:9", "--ar", "as a setting beside"),
    ("--n blurry", "--n", "as a setting beside"),
    ("__init__", "__init__", r"As text it has a \ before the first _"),
    ("16::9", "16::9", r"As text it has a \ before each :"),
    ("f(x)2.5", ")2.5", r"have a \ before each"),
    (r"\AND b AND c", "AND", "write `and`"),
]
DASHED = [
    "a girl \u2014n blurry",
    "a girl \u2013w 512",
    "\u2014prompt hills",
    "hills \u2014\u2014N",
    "a \u2212-seed 3",
]


@pytest.mark.parametrize(("prompt", "found", "advice"), FOREIGN)
def test_what_would_be_painted_as_words_is_named(prompt: str, found: str, advice: str) -> None:
    (said,) = foreign_syntax(prompt)
    assert said.startswith(f"{found} ")
    assert advice in said


@pytest.mark.parametrize("prompt", DASHED)
def test_a_flag_with_the_dash_of_a_phone_is_named(prompt: str) -> None:
    (said,) = foreign_syntax(prompt)
    assert "two hyphens became a dash" in said
    assert "write it with --" in said


@pytest.mark.parametrize("prompt", [prompt for prompt, found, _ in FOREIGN if found != "AND"])
def test_all_of_it_can_be_written_as_text(prompt: str) -> None:
    escaped = re.sub(SIGNS, r"\\\g<0>", prompt)
    assert foreign_syntax(escaped) == []
    assert parse(escaped) == [(prompt, 1.0)]


@given(st.text(alphabet=r"ab1:.-+()[]{}|<>_\ $", max_size=60))
def test_any_text_without_letters_of_its_own_can_be_written(text: str) -> None:
    escaped = re.sub(SIGNS, r"\\\g<0>", text)
    assert foreign_syntax(escaped) == []
    assert parse(escaped) == [(text, 1.0)]


@pytest.mark.parametrize(
    "prompt",
    [
        "a girl, (smile:1.2), [grey], ((sky)) BREAK sea",
        r"\[cat:dog:0.5\], \[a\|b\], saber \(fate\)",
        "16:9, 10:30, ratio 3:1.5) stays, :3, >:[, |_|, +_+, ^_^, 18+, c--, a book on C++",
        "{sea: 1}, my__x__y, _ _, ANDROID, sand AND_sea, hand and hand",
        "a girl -- smiling, well--known, a - b",
        "a girl \u2014 smiling \u2014smiling, n\u2014n, \u2013 s, \u2014l'\u00e9t\u00e9, 3\u20135, -n",
        r"\__init__, 16\::9, 16:\:9, f\(x\)2.5, C\+\+, hills\++, \{a|b}, \[a|b], \{\{x}}, embedding\:x, \--n",
        "BREAKING news, TIEBREAK",
        "x < y > z, <3, 50% off, a#b, a@b",
    ],
)
def test_text_is_left_alone(prompt: str) -> None:
    assert foreign_syntax(prompt) == []


def test_each_is_named_once_in_its_order() -> None:
    said = foreign_syntax("<lora:b:1> AND <lora:a:1> AND <lora:b:1>")
    assert [one.split()[0] for one in said] == ["<lora:b:1>", "<lora:a:1>", "AND"]


@given(st.text(alphabet=r"ab1:.-+()[]{}|<>_\ $AND", max_size=60))
def test_no_text_is_an_error_or_names_a_thing_twice(prompt: str) -> None:
    said = foreign_syntax(prompt)
    assert len(said) == len(set(said))
