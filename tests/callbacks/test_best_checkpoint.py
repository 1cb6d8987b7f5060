"""Which checkpoint is the best, by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks import checkpoints
from callbacks.best_checkpoint import LOSS, PROMPT, STYLE, in_words, merit
from callbacks.checkpoints import Checkpoints
from callbacks.sample_images import SampleImages, SamplePrompt
from tests.callbacks.test_validation_line import Scores, scores
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


def test_a_point_of_style_is_worth_a_point_of_prompt() -> None:
    found = {STYLE: 24.0, PROMPT: -3.5, LOSS: 0.4}
    assert merit(found, "style") == 20.5
    assert merit(found, "loss") == -0.4
    assert in_words(found) == "style +24.0, own prompts -3.5, held-out loss 0.4000"


BETTER_BEFORE = {2: scores(2, [40, 40], [48, 48]), 4: scores(4, [45, 45], [42, 42])}
"""By style gained at prompt kept, 8 and 7; the held-out loss falls."""


def fit(run: Path, best_by: Any, **options: Any) -> Checkpoints:
    ckpt_path = options.pop("ckpt_path", None)
    kept = Checkpoints(best_by=best_by)
    callbacks = [SampleImages([SamplePrompt("a")]), Scores(options.pop("by_step", BETTER_BEFORE)), kept]
    tiny_trainer(run, callbacks, enable_checkpointing=True, **options).fit(
        TinyPainter(), TinyData(), ckpt_path=ckpt_path
    )
    return kept


@pytest.mark.parametrize(("best_by", "step"), [(None, 2), ("loss", 4)])
def test_the_best_is_by_style_where_it_is_scored_or_as_declared(
    best_by: Any, step: int, tmp_path: Path
) -> None:
    kept = fit(tmp_path, best_by)
    assert (kept.best_step, kept.measure) == (step, best_by or "style")
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == step


def test_without_scores_it_is_by_loss(tmp_path: Path) -> None:
    assert fit(tmp_path, None, by_step={}).measure == "loss"


def test_a_resume_knows_the_best_so_far(tmp_path: Path) -> None:
    fit(tmp_path, None, max_steps=2)
    kept = fit(tmp_path, None, ckpt_path=tmp_path / "checkpoints" / "step_000002.ckpt")
    assert (kept.best_step, kept.best) == (2, {STYLE: 10.0, PROMPT: -2.0, LOSS: pytest.approx(0.98)})


@pytest.mark.parametrize("how", ["declared", "no longer scored"])
def test_a_resume_by_another_measure_begins_a_new_best_and_says_so(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path, None, max_steps=2)
    said: list[str] = []
    monkeypatch.setattr(checkpoints, "rank_zero_info", said.append)
    other: dict[str, Any] = {"best_by": "loss"} if how == "declared" else {"best_by": None, "by_step": {}}
    kept = fit(tmp_path, ckpt_path=tmp_path / "checkpoints" / "step_000002.ckpt", **other)
    assert (kept.best_step, kept.measure) == (4, "loss")
    assert "The best checkpoint was by style and is by loss from here on" in said[0]


def test_where_scoring_fails_it_is_by_loss(tmp_path: Path) -> None:
    kept = fit(tmp_path, None, by_step={99: scores(99, [40], [50])})  # scores that never come
    assert (kept.best_step, kept.measure) == (4, "loss")


def test_a_run_that_fell_back_to_loss_stays_with_it(tmp_path: Path) -> None:
    fit(tmp_path, None, by_step={99: scores(99, [40], [50])}, max_steps=2)
    last = tmp_path / "checkpoints" / "step_000002.ckpt"
    kept = fit(tmp_path, None, by_step={4: scores(4, [40], [50])}, ckpt_path=last)
    assert (kept.best_step, kept.measure) == (4, "loss")
    assert kept.best[LOSS] == pytest.approx(0.96)


def test_a_loss_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    class Infinite(TinyPainter):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            """An infinite loss."""
            self.log("val/loss", torch.tensor(float("inf")), on_epoch=True, batch_size=1)

    kept = Checkpoints()
    tiny_trainer(tmp_path, [kept], enable_checkpointing=True).fit(Infinite(), TinyData())
    assert kept.best_step is None
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_what_is_not_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"best_by is style, and no samples are scored. Set --clip_score"):
        fit(tmp_path, "style", by_step={})
    with pytest.raises(ValueError, match="best_by is loss, and no pictures are held out to measure it"):
        tiny_trainer(tmp_path, [Checkpoints(best_by="loss")], enable_checkpointing=True).fit(
            TinyPainter(), TinyData(held_out=0)
        )
