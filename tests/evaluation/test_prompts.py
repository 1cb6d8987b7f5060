r"""A1111 weights. The first cases and their values are those of the web UI's own `parse_prompt_attention`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.prompts import BREAK, as_characters, parse, strip_weights


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.573),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641),
                (".", 1.1),
            ],
        ),
        ("(watercolor:1.2), sky", [("watercolor", 1.2), (", sky", 1.0)]),
        ("[grey]", [("grey", 1 / 1.1)]),
        ("(a : 1.5 )", [("a ", 1.5)]),
        ("(a:-0.5)(b:.5)(c:+2)", [("a", -0.5), ("b", 0.5), ("c", 2.0)]),
        ("ratio 3:1.5) stays", [("ratio 3:1.5) stays", 1.0)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        (r"(\(a\):1.2)", [("(a)", 1.2)]),
        (r"C:\sky \\ end", [("C:\\sky \\ end", 1.0)]),
        (r"\__init__, 16\::9, f\(x\)2.5", [("__init__, 16::9, f(x)2.5", 1.0)]),
        (r"(C\+\+:1.2), \{a\|b\}, \<b\>, \--n", [("C++", 1.2), (", {a|b}, <b>, --n", 1.0)]),
        ("]) odd ([", [("]) odd ", 1.0)]),
        ("a BREAK b", [("a", 1.0), (BREAK, 1.0), ("b", 1.0)]),
        ("BREAKING a", [("BREAKING a", 1.0)]),
        ("TIEBREAK, BREAK_DANCE", [("TIEBREAK, BREAK_DANCE", 1.0)]),
        ("", [("", 1.0)]),
        ("()", [("", 1.0)]),
    ],
)
def test_parse(prompt: str, expected: list[tuple[str, float]]) -> None:
    pieces = parse(prompt)

    assert [text for text, _ in pieces] == [text for text, _ in expected]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in expected])


@given(st.text(alphabet=r"ab :.129-+()[]\BREAK ", max_size=40) | st.text(max_size=40))
def test_no_prompt_is_an_error_and_no_letter_is_lost(prompt: str) -> None:
    text = "".join(text for text, _ in parse(prompt))

    kept = [letter for letter in text if letter.isalpha()]
    assert kept == [letter for letter in prompt if letter.isalpha()]
    strip_weights(prompt)


@given(st.text(alphabet=st.characters(exclude_characters="()[]\\"), max_size=40))
def test_text_without_syntax_is_one_piece_as_it_is(prompt: str) -> None:
    if BREAK not in prompt:
        assert parse(prompt) == [(prompt, 1.0)]


@pytest.mark.parametrize(
    ("prompt", "plain"),
    [
        (
            "ghibli_style, (watercolor:1.2), Luffy from One Piece, smiling, blue sky background",
            "ghibli_style, watercolor, Luffy from One Piece, smiling, blue sky background",
        ),
        ("((masterpiece)), [blurry]  girl", "masterpiece, blurry girl"),
        (r"a smile \(happy\)", "a smile (happy)"),
        ("a hill BREAK a lake", "a hill a lake"),
        ("", ""),
    ],
)
def test_clip_reads_plain_words(prompt: str, plain: str) -> None:
    assert strip_weights(prompt) == plain


@pytest.mark.parametrize(
    ("caption", "prompt"),
    [
        ("saber (fate), [armour]", r"saber \(fate\), \[armour\]"),
        (r"saber \(fate\)", r"saber \\\(fate\\\)"),
        ("(a:1.2)", r"\(a:1.2\)"),
        ("a BREAK b", "a B()REAK b"),
        ("1girl, smiling", "1girl, smiling"),
    ],
)
def test_a_caption_as_a_prompt(caption: str, prompt: str) -> None:
    assert as_characters(caption) == prompt
    assert parse(prompt) == [(caption, 1.0)]
    assert strip_weights(prompt) == caption


@given(st.text(alphabet=r"ab :.129-+()[]\BREAK ", max_size=40) | st.text(max_size=40))
def test_any_caption_is_painted_as_its_characters(caption: str) -> None:
    if caption.strip() != BREAK:
        assert parse(as_characters(caption)) == [(caption, 1.0)]
