"""One line a validation, with values by hand."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer

from callbacks.checkpoints import Checkpoints
from callbacks.clip_score import ClipScore, ClipScores
from callbacks.progress import RunProgress
from callbacks.sample_images import SampleImages, SamplePrompt
from callbacks.validation_line import LEGEND, ValidationLine, score_parts
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


def scores(step: int, style: list[float], prompt: list[float]) -> ClipScores:
    """Of a base that has 30 for the style and 50 for each prompt."""
    base = {"style": [30.0] * len(style), "prompt": [50.0] * len(prompt)}
    lora = {"style": style, "prompt": prompt}
    sides = {question: {"base": base[question], "lora": lora[question]} for question in lora}
    return ClipScores(step, ["portrait"] * len(style), sides)


class Scores(ClipScore):
    """Scores that are known by step."""

    def __init__(self, by_step: dict[int, ClipScores]) -> None:
        super().__init__("known" if by_step else None)
        self.by_step = by_step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing is loaded."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is scored before."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take those of this step."""
        if found := self.by_step.get(trainer.global_step):
            self.latest = found
            pl_module.log_dict(found.curves(), batch_size=1)


def lines(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("step ")]


def validate(run: Path, by_step: dict[int, ClipScores], **options: Any) -> None:
    callbacks = [SampleImages([SamplePrompt("a")]), Scores(by_step), Checkpoints(), ValidationLine()]
    data = options.pop("data", None) or TinyData()
    tiny_trainer(run, callbacks, enable_checkpointing=True, **options).fit(TinyPainter(), data)


def test_what_changed_and_whether_it_still_rises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, {2: scores(2, [40, 40], [48, 48]), 4: scores(4, [45, 45], [47, 47])})
    out = capsys.readouterr().out
    # held-out loss is 1 - 0.01 a step
    assert lines(out) == [
        "step 2 | style +10.0 ± 0.0 | prompts -2.0 ± 0.0 | loss 0.9800 | best",
        "step 4 | style +15.0 ± 0.0 (last +5.0 ± 0.0, rising) | prompts -3.0 ± 0.0 | loss 0.9600 (-0.0200) | best",
    ]
    assert out.count(LEGEND) == 1
    assert max(map(len, out.splitlines())) <= 120


def test_a_step_that_is_not_the_best_is_not_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five points of style for six of the prompts: by style gained at prompt kept, the first is better."""
    validate(tmp_path, {2: scores(2, [40, 40], [48, 48]), 4: scores(4, [45, 45], [42, 42])})
    first, second = lines(capsys.readouterr().out)
    assert first.endswith("| best")
    assert second.endswith("loss 0.9600 (-0.0200)")


def test_without_scores_or_without_a_hold_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path / "loss", {})
    assert lines(capsys.readouterr().out) == [
        "step 2 | loss 0.9800 | best",
        "step 4 | loss 0.9600 (-0.0200) | best",
    ]
    validate(tmp_path / "style", {4: scores(4, [41], [50])}, data=TinyData(held_out=0))
    assert lines(capsys.readouterr().out) == ["step 4 | style +11.0 | prompts +0.0 | best"]


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ([45.0, 43.0, 46.0], "(last +4.7 ± 1.5, rising)"),
        ([35.0, 37.0, 36.0], "(last -4.0 ± 1.0, falling)"),
        ([41.0, 39.0, 40.0], "(last +0.0 ± 1.0, not shown to rise)"),
    ],
)
def test_the_trend_is_by_the_interval_of_the_change(now: list[float], says: str) -> None:
    # of three prompts one in 27 resamples holds one alone, more than the 2.5 % of an end: so the ends are theirs
    style, _ = score_parts(scores(4, now, [50] * 3), scores(2, [40.0] * 3, [50] * 3))
    assert style.endswith(says)


def test_one_prompt_tells_nothing_of_others() -> None:
    assert score_parts(scores(4, [41.0], [50.0]), scores(2, [40.0], [50.0])) == [
        "style +11.0 (last +1.0)",
        "prompts +0.0",
    ]


def test_the_line_stands_above_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(RunProgress, "print", lambda _, *words: said.extend(words))
    callbacks = [RunProgress(), Scores({}), Checkpoints(), ValidationLine()]
    tiny_trainer(tmp_path, callbacks, enable_checkpointing=True, enable_progress_bar=True).fit(
        TinyPainter(), TinyData()
    )
    assert [line.split(" | ")[0] for line in said] == ["step 2", "step 4"]
