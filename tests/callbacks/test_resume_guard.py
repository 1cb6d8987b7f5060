"""The comparison of two runs. The guard in a real run is in tests/test_resume.py."""

from callbacks.resume_guard import changed_settings, compare


def test_only_what_differs_is_named_with_both_values() -> None:
    saved = {"lora rank": "16", "seed": "0", "pictures": "abc"}
    now = {"lora rank": "8", "seed": "0"}
    assert compare(saved, now) == [
        "lora rank: the checkpoint has 16, this run 8",
        "pictures: the checkpoint has abc, this run nothing",
    ]
    assert compare(saved, dict(saved)) == []


def test_settings_that_changed_are_named_with_both_values() -> None:
    before = {
        "name": "a",
        "model": {"optimizer": {"init_args": {"lr": 1e-4}}},
        "samples": {"prompts": [{"prompt": "a girl", "seed": 1}]},
        "max_minutes": None,
    }
    now = {
        "name": "b",
        "model": {"optimizer": {"init_args": {"lr": 5e-5}}},
        "samples": {"prompts": [{"prompt": "a girl", "seed": 1}, {"prompt": "hills"}]},
        "max_minutes": 30.0,
    }
    assert changed_settings(before, now) == [
        "max_minutes: null -> 30.0",
        "model.optimizer.init_args.lr: 0.0001 -> 5e-05",
        "samples.prompts.1.prompt: null -> hills",
    ]
    assert changed_settings(now, now) == []
