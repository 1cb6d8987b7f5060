"""CLIP scores against cosines computed by hand, filed where people look for them."""

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

import callbacks.clip_score
from callbacks.clip_score import ClipScore, ClipScores, Scorer
from callbacks.sample_images import SampleImages, SamplePrompt
from callbacks.training_log import TrainingLog
from evaluation.clip import load_clip
from tests.callbacks.tiny_clip import save_tiny_clip
from tests.callbacks.tiny_painter import TinyData, TinyPainter, curve, events_of, tiny_trainer

PROMPTS = [
    SamplePrompt("a portrait of a girl with red hair", group="portrait", seed=10),
    SamplePrompt("landscape with blue sky", group="landscape", seed=90),
    SamplePrompt("a portrait of a boy", group="portrait", seed=50),
]
STYLE = "watercolor style"


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def by_hand(folder: Path, image: Tensor, text: str) -> float:
    """100 x cosine, from CLIP's parts."""
    clip, processor = load_clip(str(folder), "--clip_score.model")
    picture = processor(images=[(image * 255).round().to(torch.uint8)], return_tensors="pt")
    words = processor.tokenizer(text, return_tensors="pt", truncation=True, max_length=77)
    with torch.no_grad():
        v = clip.visual_projection(clip.vision_model(**picture).pooler_output)[0]
        w = clip.text_projection(clip.text_model(**words).pooler_output)[0]
    return float(100 * v @ w / (v.norm() * w.norm()))


def noise(seed: int) -> Tensor:
    return torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(seed))


def trained(run: Path, clip: Path | str, *others: Callback, **options: Any) -> ClipScore:
    score = ClipScore(str(clip), STYLE)
    trainer = tiny_trainer(run, [TrainingLog(), SampleImages(PROMPTS), score, *others], **options)
    trainer.fit(TinyPainter(), TinyData(held_out=options.get("held_out", 2)))
    return score


# ------------------------------------------------------------------ the scorer


def test_score_is_100_times_the_cosine_of_each_picture(tiny_clip: Path) -> None:
    images, texts = [noise(1), noise(2)], ["a girl", "blue sky"]
    wanted = [by_hand(tiny_clip, image, text) for image, text in zip(images, texts, strict=True)]
    assert abs(wanted[0] - wanted[1]) > 0.01
    assert Scorer(str(tiny_clip))(images, texts) == pytest.approx(wanted, abs=1e-3)


def test_negative_scores_stay_negative(tiny_clip: Path) -> None:
    texts = ["a girl", "sea", "blue", "red hills", "style", "of the", "painting", "hair"]
    wanted = [by_hand(tiny_clip, noise(1), text) for text in texts]
    assert min(wanted) < 0
    assert Scorer(str(tiny_clip))([noise(1)] * 8, texts) == pytest.approx(wanted, abs=1e-3)


def test_a_long_text_keeps_its_end_token(tiny_clip: Path) -> None:
    text = "a girl with red hair " * 40
    assert Scorer(str(tiny_clip))([noise(1)], [text]) == pytest.approx(
        [by_hand(tiny_clip, noise(1), text)], abs=1e-3
    )


# ------------------------------------------------------------------ the arithmetic


def test_means_are_per_question_side_and_group() -> None:
    scores = ClipScores(
        7,
        ["portrait", "landscape", "portrait"],
        {"prompt": {"base": [10.0, 20.0, 30.0], "lora": [16.0, 20.0, 30.0]}},
    )
    assert scores.means() == {
        "clip_score/prompt/base": 20.0,
        "clip_score/prompt/base/portrait": 20.0,
        "clip_score/prompt/base/landscape": 20.0,
        "clip_score/prompt/lora": 22.0,
        "clip_score/prompt/lora/portrait": 23.0,
        "clip_score/prompt/lora/landscape": 20.0,
        "clip_score/prompt/delta": 2.0,
        "clip_score/prompt/delta/portrait": 3.0,
        "clip_score/prompt/delta/landscape": 0.0,
    }
    assert scores.curves() == {
        "reference/clip_score/prompt/base": 20.0,
        "reference/clip_score/prompt/base/portrait": 20.0,
        "reference/clip_score/prompt/base/landscape": 20.0,
        "clip_score/prompt/lora": 22.0,
        "clip_score/prompt/lora/portrait": 23.0,
        "clip_score/prompt/lora/landscape": 20.0,
        "clip_score/prompt/delta": 2.0,
    }
    assert scores.deltas("prompt", "portrait") == [6.0, 0.0]


# ------------------------------------------------------------------ in a run


def test_scores_are_those_of_the_samples(tmp_path: Path, tiny_clip: Path) -> None:
    class Keep(Callback):
        pictures: list[Tensor]

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            latest = next(c for c in trainer.callbacks if isinstance(c, SampleImages)).latest
            assert latest is not None
            self.pictures = [*latest.lora]

    keep = Keep()
    trained(tmp_path, tiny_clip, keep)
    events = events_of(tmp_path)
    own = [by_hand(tiny_clip, p, prompt.prompt) for p, prompt in zip(keep.pictures, PROMPTS, strict=True)]
    style = [by_hand(tiny_clip, picture, STYLE) for picture in keep.pictures]
    assert curve(events, "clip_score/prompt/lora")[4] == pytest.approx(statistics.fmean(own), abs=1e-3)
    assert curve(events, "clip_score/style/lora")[4] == pytest.approx(statistics.fmean(style), abs=1e-3)
    assert curve(events, "clip_score/style/lora/landscape")[4] == pytest.approx(style[1], abs=1e-3)


def test_curves_start_at_step_0_where_lora_is_base(tmp_path: Path, tiny_clip: Path) -> None:
    trained(tmp_path, tiny_clip)
    events = events_of(tmp_path)
    for question in ("prompt", "style"):
        base, lora, delta = (
            curve(events, tag)
            for tag in (
                f"reference/clip_score/{question}/base",
                f"clip_score/{question}/lora",
                f"clip_score/{question}/delta",
            )
        )
        assert list(base) == list(lora) == list(delta) == [0, 2, 4]
        assert base[0] == base[2] == base[4] == lora[0]
        assert delta[0] == 0
        assert delta[4] == pytest.approx(lora[4] - base[4], abs=1e-4)
        assert delta[4] != 0


def test_prompt_weights_are_not_words(tmp_path: Path, tiny_clip: Path) -> None:
    results = []
    for name, prompt in (("weighted", "(watercolor:1.2), a girl"), ("plain", "watercolor, a girl")):
        score = ClipScore(str(tiny_clip), STYLE)
        samples = SampleImages([SamplePrompt(prompt)])
        painter = TinyPainter()
        painter.learning_rate = 0.0  # black pictures but for the length of the prompt, which is levelled here
        painter.generate = _grey  # type: ignore[method-assign]
        tiny_trainer(tmp_path / name, [samples, score], max_steps=2).fit(painter, TinyData())
        assert score.latest is not None
        results.append(score.latest.scores)
    assert results[0] == results[1]


def _grey(prompts: Any, **_: Any) -> Tensor:
    return torch.full((len(prompts), 3, 16, 16), 0.5)


def test_a_checkpoint_callback_can_watch_a_score(tmp_path: Path, tiny_clip: Path) -> None:
    best = ModelCheckpoint(tmp_path / "best", monitor="clip_score/style/lora", mode="max")
    score = trained(tmp_path, tiny_clip, best, enable_checkpointing=True)
    assert best.best_model_score is not None
    assert score.latest is not None
    assert float(best.best_model_score) >= score.latest.means()["clip_score/style/lora"] - 1e-4


def test_without_held_out_pictures_scores_keep_their_rhythm(tmp_path: Path, tiny_clip: Path) -> None:
    score = ClipScore(str(tiny_clip), STYLE)
    trainer = tiny_trainer(tmp_path, [TrainingLog(), SampleImages(PROMPTS), score])
    trainer.fit(TinyPainter(), TinyData(held_out=0))
    assert list(curve(events_of(tmp_path), "clip_score/style/lora")) == [0, 2, 4]


def test_missing_clip_warns_once_and_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text("{}")  # and none of the rest
    with pytest.warns(
        UserWarning, match="could not be scored by CLIP .*clip_score.model is .*it needs"
    ) as caught:
        score = trained(tmp_path, tmp_path / "clip")
    assert len([w for w in caught if "could not be scored" in str(w.message)]) == 1
    assert score.latest is None
    assert score.failures.line() == "Samples could not be scored by CLIP 3 times."
    assert list(curve(events_of(tmp_path), "train/loss")) == [1, 2, 3, 4]


def test_a_clip_that_cannot_be_loaded_is_asked_for_once_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub that can't be reached is waited for long, and there are many validations."""
    asked: list[str] = []

    def unreachable(model: str, option: str) -> None:
        asked.append(model)
        raise ValueError(f"{option} {model}: the hub can't be reached.")

    monkeypatch.setattr(callbacks.clip_score, "load_clip", unreachable)
    with pytest.warns(
        UserWarning, match=r"could not be scored by CLIP \(ValueError: --clip_score.model openai/clip: "
    ):
        score = trained(tmp_path, "openai/clip")
    assert asked == ["openai/clip"]
    assert score.failures.line() == "Samples could not be scored by CLIP 3 times."


def test_clip_is_no_part_of_the_module(tmp_path: Path, tiny_clip: Path) -> None:
    painter = TinyPainter()
    names = set(painter.state_dict())
    callbacks = [SampleImages(PROMPTS), ClipScore(str(tiny_clip), STYLE)]
    tiny_trainer(tmp_path, callbacks, max_steps=2).fit(painter, TinyData())
    assert set(painter.state_dict()) == names


def test_scoring_leaves_the_random_state_alone(tmp_path: Path, tiny_clip: Path) -> None:
    class Random(Callback):
        def __init__(self) -> None:
            self.seen: list[list[int]] = []

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen.append(torch.get_rng_state().tolist())

    before, after = Random(), Random()
    callbacks = [SampleImages(PROMPTS), before, ClipScore(str(tiny_clip), STYLE), after]
    tiny_trainer(tmp_path, callbacks).fit(TinyPainter(), TinyData())
    assert len(before.seen) == 2
    assert before.seen == after.seen
