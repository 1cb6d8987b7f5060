"""Which checkpoint is the best, by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.best_checkpoint import LOSS, PROMPT, STYLE, default_for, in_words, merit
from callbacks.checkpoints import Checkpoints
from tests.callbacks.test_validation_line import Scores, scores
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


def test_a_point_of_style_is_worth_a_point_of_prompt() -> None:
    found = {STYLE: 24.0, PROMPT: -3.5, LOSS: 0.4}
    assert merit(found, "style") == 20.5
    assert merit(found, "loss") == -0.4
    assert default_for(found) == "style"
    assert default_for({LOSS: 0.4}) == "loss"
    assert in_words(found) == "style +24.0, own prompts -3.5, held-out loss 0.4000"


BETTER_BEFORE = {2: scores(2, [40, 40], [48, 48]), 4: scores(4, [45, 45], [42, 42])}
"""By style gained at prompt kept, 8 and 7; the held-out loss falls."""


def fit(run: Path, best_by: Any, **options: Any) -> Checkpoints:
    ckpt_path = options.pop("ckpt_path", None)
    kept = Checkpoints(best_by=best_by)
    callbacks = [Scores(options.pop("by_step", BETTER_BEFORE)), kept]
    tiny_trainer(run, callbacks, enable_checkpointing=True, **options).fit(
        TinyPainter(), TinyData(), ckpt_path=ckpt_path
    )
    return kept


@pytest.mark.parametrize(("best_by", "step"), [(None, 2), ("loss", 4)])
def test_the_best_is_by_style_where_it_is_scored_or_as_declared(
    best_by: Any, step: int, tmp_path: Path
) -> None:
    kept = fit(tmp_path, best_by)
    assert (kept.best_step, kept.best_by) == (step, best_by or "style")
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == step


def test_without_scores_it_is_by_loss(tmp_path: Path) -> None:
    assert fit(tmp_path, None, by_step={}).best_by == "loss"


def test_a_resume_knows_the_best_so_far(tmp_path: Path) -> None:
    fit(tmp_path, None, max_steps=2)
    kept = fit(tmp_path, None, ckpt_path=tmp_path / "checkpoints" / "step_000002.ckpt")
    assert (kept.best_step, kept.best) == (2, {STYLE: 10.0, PROMPT: -2.0, LOSS: pytest.approx(0.98)})


def test_a_resume_by_another_measure_begins_a_new_best_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path, None, max_steps=2)
    with caplog.at_level("INFO"):
        kept = fit(tmp_path, "loss", ckpt_path=tmp_path / "checkpoints" / "step_000002.ckpt")
    assert (kept.best_step, kept.best_by) == (4, "loss")
    assert "The best checkpoint was by style and is by loss from here on" in caplog.text


def test_what_is_not_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"best_by is style, and no samples are scored. Set --clip_score"):
        fit(tmp_path, "style")
    with pytest.raises(ValueError, match="best_by is loss, and no pictures are held out to measure it"):
        tiny_trainer(tmp_path, [Checkpoints(best_by="loss")], enable_checkpointing=True).fit(
            TinyPainter(), TinyData(held_out=0)
        )
