"""The comparison of two runs. The guard in a real run is in tests/test_resume.py."""

from callbacks.resume_guard import compare


def test_only_what_differs_is_named_with_both_values() -> None:
    saved = {"lora rank": "16", "seed": "0", "pictures": "abc"}
    now = {"lora rank": "8", "seed": "0"}
    assert compare(saved, now) == [
        "lora rank: the checkpoint has 16, this run 8",
        "pictures: the checkpoint has abc, this run nothing",
    ]
    assert compare(saved, dict(saved)) == []
