"""Findings about captions that are there."""

from datamodules.audit.caption_checks import (
    escaped_signs,
    fewest_tokens,
    missing_trigger,
    shared_captions,
    statistics_of,
    style_words,
    surely_lost,
    tag_frequency,
    too_long,
    without_commas,
)
from datamodules.problems import ESCAPED


def test_shared_captions_name_their_pictures() -> None:
    found = shared_captions({"a.png": "a girl", "b.png": "A girl", "c.png": "a boy"})
    assert [(problem.where, problem.files) for problem in found] == [("a.png = b.png", ("a.png", "b.png"))]


def test_escapes_of_prompts_are_said() -> None:
    captions = {
        "a.png": r"saber \(fate\), \[x\], \(y\)",
        "b.png": "saber (fate)",
        "c.png": r"C:\sky",
        "d.png": r"hatsune\_miku",
    }
    assert [(problem.kind, str(problem)) for problem in escaped_signs(captions)] == [
        (ESCAPED, r"a.png (\( \) \[ \])"),
        (ESCAPED, r"d.png (\_)"),
    ]


def test_tags_that_no_comma_parts_are_said() -> None:
    captions = {
        "a.png": "1girl, solo, red eyes",
        "b.png": "1girl solo red_eyes",
        "c.png": "1girl，solo",
        "d.png": "少女、一人",
        "e.png": "1girl，solo, red eyes",
        "f.png": "1girl",
    }
    assert [problem.where for problem in without_commas(captions)] == ["b.png", "c.png", "d.png", "e.png"]


def test_a_trigger_word_that_some_lack_is_missed() -> None:
    captions = {"a.png": "Ghibli_Style, a girl", "b.png": "a boy"}
    assert [str(problem) for problem in missing_trigger(captions, "ghibli_style")] == [
        "b.png ('ghibli_style' is missing)"
    ]


def test_a_trigger_word_that_none_has_is_the_options_alone() -> None:
    assert missing_trigger({"a.png": "a girl", "b.png": "a boy"}, "ghibli_style") == []


def test_a_made_up_first_word_of_most_captions_is_taken_for_the_trigger() -> None:
    captions = {f"{i}.png": f"my_style, picture {i}" for i in range(9)} | {"x.png": "a boy"}
    assert [problem.where for problem in missing_trigger(captions, "")] == ["x.png"]
    plain = {f"{i}.png": f"1girl, picture {i}" for i in range(9)} | {"x.png": "a boy"}
    assert missing_trigger(plain, "") == []


def test_style_words_are_found_but_not_in_the_trigger() -> None:
    captions = {
        "a.png": "a girl, watercolor, Studio Ghibli",
        "b.png": "a girl with blue hair",
        "c.png": "ghibli style, a boy",
        "d.png": "a house in the style of Monet, night",
    }
    assert {problem.where: problem.detail for problem in style_words(captions, "ghibli style")} == {
        "a.png": "watercolor, studio ghibli",
        "d.png": "in the style of monet",
    }


def test_too_long_names_what_is_lost() -> None:
    captions = {"a.png": "one two three", "b.png": "word " * 80}
    found = too_long(captions, fewest_tokens, lambda caption: "the end")
    assert [str(problem) for problem in found] == ["b.png (82 tokens, 77 are read; lost: 'the end')"]


def test_without_a_tokenizer_words_and_signs_are_a_lower_bound() -> None:
    assert fewest_tokens("a girl's hat, 12 birds!") == 9 + 2  # a girl 's hat , 1 2 birds !
    assert surely_lost("one two") == ""
    assert surely_lost(" ".join(f"w{'x' * i}" for i in range(1, 78))) == f"w{'x' * 76} w{'x' * 77}"


def test_statistics() -> None:
    written = {"a.png": "x, a b", "b.png": "tr, x, c"}
    trained = {"a.png": "tr, x, a b", "b.png": "tr, x, c"}
    found = statistics_of(written, trained, count_tokens=len, token_note="letters", trigger="tr")
    assert found.tokens == (8, 9, 10)
    assert (found.captions, found.with_trigger, found.tags) == (2, 1, (("x", 2),))
    nothing = statistics_of({}, {}, count_tokens=len, token_note="letters", trigger="")
    assert (nothing.tokens, nothing.with_trigger) == (None, 0)


def test_tags_are_counted_once_a_caption() -> None:
    assert tag_frequency(["a, b, a", "A, c", "d"]) == [("a", 2)]


def test_tags_of_one_frequency_stand_in_the_order_in_which_they_come() -> None:
    """A set would give another one in each process."""
    tags = [f"tag {number}" for number in range(9)]
    assert tag_frequency([", ".join(tags)] * 2) == [(tag, 2) for tag in tags]
