"""The comparison of two runs. The guard in a real run is in tests/test_resume.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import resume_guard
from callbacks.resume_guard import ResumeGuard, changed_settings, compare, count_batches


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


def test_a_steps_draws_may_be_dealt_otherwise() -> None:
    """Two processes with batches of 2 are one that accumulates two batches of 2; three steps were six batches then."""
    saved = {"draws an optimizer step": "4", "accumulated batches": "1"}
    assert compare(saved, {"draws an optimizer step": "4", "accumulated batches": "2"}) == []
    assert compare(saved, {"draws an optimizer step": "2", "accumulated batches": "1"}) == [
        "draws an optimizer step: the checkpoint has 4, this run 2"
    ]
    counts = {"ready": 3, "started": 3, "processed": 3, "completed": 2}  # saved at the end of batch 3
    progress = {"current": dict(counts), "total": dict(counts), "is_last_batch": False}
    count_batches(progress, ready=6)
    wanted = {"ready": 6, "started": 6, "processed": 6, "completed": 5}
    assert progress == {"current": wanted, "total": wanted, "is_last_batch": False}
    count_batches(progress, ready=6)
    assert progress["total"] == wanted


def test_machines_without_a_shared_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process looks for the checkpoint in its own file system: one may find an older one, or none."""
    told: list[str] = []

    def tell(own: str) -> list[str]:
        told.append(own)
        return list(told)

    monkeypatch.setattr(resume_guard, "of_all_processes", tell)
    monkeypatch.setattr(resume_guard, "run_fingerprint", lambda *_: {"seed": "0"})
    trainer: Any = SimpleNamespace()

    def start(step: int | None) -> None:
        path = tmp_path / "best.ckpt"
        torch.save({"fingerprint": {"seed": "0"}, "global_step": step}, path)
        ResumeGuard(path if step is not None else None).setup(trainer, trainer, "fit")

    start(4)
    start(4)
    with pytest.raises(
        ValueError, match=r"starts from best\.ckpt of step 4, process 2 from best\.ckpt of step 2\."
    ):
        start(2)
    told.pop()
    with pytest.raises(ValueError, match=r"process 2 from no checkpoint\..*--runs must be one shared folder"):
        start(None)
