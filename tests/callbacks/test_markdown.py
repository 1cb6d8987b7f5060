"""Nothing in a prompt, a group's name or a config becomes a mark of Markdown or HTML."""

from callbacks.exposure_ledger import table
from callbacks.markdown import block, cell


def test_marks_and_tags_are_shown_letter_for_letter() -> None:
    assert cell("a | b\n<script> [x](y) *z*") == r"a \| b &lt;script&gt; \[x\](y) \*z\*"


def test_no_fence_in_a_text_ends_its_block() -> None:
    text = "prompt: '```\n<b>'"
    assert block(text, "yaml") == f"````yaml\n{text}\n````"
    assert block("a: 1", "yaml") == "```yaml\na: 1\n```"


def test_a_groups_name_stays_in_its_cell() -> None:
    numbers = {"pictures": 1, "planned": 1, "seen": 1, "least": 1, "most": 1, "times_each": 1.0}
    row = table({"<img src=x> | 9": numbers}).splitlines()[2]
    assert row.startswith(r"| &lt;img src=x&gt; \| 9 | 1 |")
