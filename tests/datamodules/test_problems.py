"""How problems are put into one message."""

from datamodules.problems import ABSENT, BROKEN, NAMES_SHOWN, Problem, describe


def test_one_line_a_kind_with_count_names_and_remedy() -> None:
    problems = [Problem(BROKEN, "a.png", "cut"), Problem(ABSENT, "b.png"), Problem(BROKEN, "c.png", "bent")]
    assert describe(problems) == (
        "- broken or cut short (2): a.png (cut), c.png (bent)."
        " Copy or save them again from their source, or take them out.\n"
        "- listed but absent (1): b.png. Put the pictures there, or mend their lines."
    )


def test_the_count_is_full_where_names_are_many() -> None:
    text = describe([Problem(ABSENT, f"{number}.png") for number in range(NAMES_SHOWN + 3)])
    assert "(23): 0.png, " in text
    assert "19.png and 3 more." in text
    assert "20.png" not in text
