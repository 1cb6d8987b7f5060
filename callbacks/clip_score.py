"""CLIP score of the samples, base and LoRA: 100 x cosine of picture and text (Hessel et al. 2021).

Two questions of the same pictures: do they still show what their prompts say, and do they look like the
style prompt? Both sides have the same prompts and the same noise, so the difference is the adapter's doing.
The scorer is torchmetrics' `CLIPScore`, which has to be helped in three places: it reads the output of an
older transformers, it cuts the end token off long texts, and its `compute` knows only a mean (here each
picture is a batch of its own).

CLIP is kept off the LightningModule (it would enter checkpoints and optimizers) and on the CPU, where it
takes nothing from training's memory.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from callbacks.failures import Failures, in_words
from callbacks.progress import announce
from callbacks.sample_images import SampleImages, SampleSet
from callbacks.time_shares import spent
from evaluation.clip import as_tensor, check_clip_folder, load_clip
from evaluation.foreign_syntax import foreign_syntax
from evaluation.prompts import strip_weights
from foundation.processes import of_all_processes, undealt

QUESTIONS = ("prompt", "style")


@dataclass(frozen=True)
class ClipScores:
    """Scores of one step, by question ("prompt", "style") and side ("base", "lora"): one number a picture."""

    step: int
    groups: Sequence[str]
    scores: dict[str, dict[str, list[float]]]

    def deltas(self, question: str, group: str | None = None) -> list[float]:
        """LoRA minus base, a number a picture; of one group, or of all."""
        sides = self.scores[question]
        pairs = zip(self.groups, sides["base"], sides["lora"], strict=True)
        return [lora - base for of, base, lora in pairs if group in (None, of)]

    def means(self) -> dict[str, float]:
        """`clip_score/{prompt,style}/{base,lora,delta}` and the same with `/<group>`."""
        values: dict[str, float] = {}
        for question, sides in self.scores.items():
            columns = {**sides, "delta": self.deltas(question)}
            for side, scores in columns.items():
                name = f"clip_score/{question}/{side}"
                values[name] = statistics.fmean(scores)
                for group in dict.fromkeys(self.groups):
                    of_group = [score for of, score in zip(self.groups, scores, strict=True) if of == group]
                    values[f"{name}/{group}"] = statistics.fmean(of_group)
        return values

    def curves(self) -> dict[str, float]:
        """The means as TensorBoard has them: those of the base, which never change, stand apart as `reference/...`.

        A group's delta isn't among them: it is its LoRA's curve, moved by a constant.
        """
        curves: dict[str, float] = {}
        for name, value in self.means().items():
            _, _, side, *group = name.split("/", 3)
            if side == "base":
                curves[f"reference/{name}"] = value
            elif side == "lora" or not group:
                curves[name] = value
        return curves


class ClipScore(Callback):
    """Scores what SampleImages painted, at every validation and before step 1.

    It stands behind SampleImages in the list of callbacks.

    Args:
        model: a folder with a `CLIPModel` and its `CLIPProcessor`, or a hub id such as
            `openai/clip-vit-base-patch32`; null scores nothing.
        style_prompt: what the style looks like, in words.

    Raises:
        ValueError: the style prompt holds other programs' syntax.

    Attributes:
        latest: the scores of the last step that was scored; None before it.
        failures: validations that could not be scored.
    """

    def __init__(
        self,
        model: str | None = None,
        style_prompt: str = "anime style screenshot from a Studio Ghibli movie, watercolor style",
    ) -> None:
        self.model = model
        self.style_prompt = style_prompt
        for said in foreign_syntax(style_prompt):
            raise ValueError(f"--clip_score.style_prompt: {said}.")
        self.latest: ClipScores | None = None
        self._scorer: Scorer | None = None
        self._not_loaded = ""  # why: asking a hub that can't be reached takes half a minute, so once a start
        self._base: dict[str, list[float]] | None = None
        self.failures = Failures(
            "Samples could not be scored by CLIP", "See --clip_score.model; null scores nothing."
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a folder without a CLIP; a hub that can't be reached is no reason not to train."""
        if self.model is not None and stage == "fit":
            check_clip_folder(self.model, "--clip_score.model")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base; on a fresh run this is the score of step 0."""
        self._base = None
        scores = self._score(trainer)
        if scores is not None and trainer.global_step == 0:  # resumed, it is the base's alone
            self.latest = scores
            _log_directly(trainer, scores)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log through the module, so that a checkpoint callback can watch a score."""
        if trainer.sanity_checking:
            return
        scores = self._score(trainer)
        if scores is not None:
            self.latest = scores
            pl_module.log_dict(scores.curves(), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def _score(self, trainer: Trainer) -> ClipScores | None:
        """Score each process's own pictures, and tell all; None if there is nothing to score, or CLIP fails."""
        if self.model is None:
            return None
        announce(trainer, "scoring samples")
        own, error = None, ""
        with spent(trainer, "scoring"):
            try:
                own = self._own_scores(trainer)
            except Exception as raised:  # any kind: the others wait to hear of it
                error = in_words(raised)
            parts = of_all_processes((own, error))
        announce(trainer, "")
        if errors := [error for _, error in parts if error]:
            self.failures.happened(errors[0])
        found = [scores for scores, _ in parts if scores is not None]
        return gathered(found) if len(found) == len(parts) else None

    def _own_scores(self, trainer: Trainer) -> ClipScores | None:
        samples = _own_samples(trainer)
        if samples is None:
            return None
        with isolate_rng(), torch.no_grad():
            return self._scores_of(samples)

    def _scores_of(self, samples: SampleSet) -> ClipScores:
        if not samples.prompts:  # fewer prompts than processes
            return ClipScores(samples.step, [], {of: {"base": [], "lora": []} for of in QUESTIONS})
        scorer = self._loaded()
        texts = {
            "prompt": [strip_weights(prompt.prompt) for prompt in samples.prompts],
            "style": [strip_weights(self.style_prompt)] * len(samples.prompts),
        }
        if self._base is None:
            self._base = {question: scorer(samples.base, of) for question, of in texts.items()}
        lora = self._base
        if samples.lora is not samples.base:
            lora = {question: scorer(samples.lora, of) for question, of in texts.items()}
        scores = {question: {"base": self._base[question], "lora": lora[question]} for question in texts}
        return ClipScores(samples.step, [prompt.group for prompt in samples.prompts], scores)

    def _loaded(self) -> "Scorer":
        """The scorer; one that couldn't be loaded isn't tried again."""
        assert self.model is not None
        if self._not_loaded:
            raise ValueError(self._not_loaded)
        try:
            self._scorer = self._scorer or Scorer(self.model)
        except Exception as error:  # the libraries raise many kinds
            self._not_loaded = str(error)
            raise
        return self._scorer


class Scorer:
    """100 x cosine of each picture and its text, by torchmetrics.

    Args:
        model: a CLIP folder or a hub id.

    Raises:
        ValueError: if the model can't be loaded.
    """

    def __init__(self, model: str) -> None:
        from torchmetrics.multimodal.clip_score import CLIPScore  # takes seconds to import

        clip, processor = load_clip(model, "--clip_score.model")
        self._metric = CLIPScore(model_name_or_path=lambda: (_Encoders(clip), _Cutting(processor)))

    def __call__(self, images: Sequence[Tensor], texts: Sequence[str]) -> list[float]:
        """One score a picture, in [-100, 100].

        Args:
            images: float [3, H, W] in [0, 1] each.
            texts: as many texts; past the model's length they are cut, the end token stays.
        """
        scores = []
        for image, text in zip(images, texts, strict=True):
            self._metric.reset()
            # 8 bits: from floats in [0, 1] the processor would divide by 255 a second time.
            self._metric.update((image.clamp(0, 1) * 255).round().to(torch.uint8), text)
            scores.append(float(self._metric.score))  # `compute` would clip a negative one to 0
        return scores


class _Encoders:
    """CLIP as torchmetrics expects it: features as a tensor (transformers 5 wraps them)."""

    def __init__(self, clip: Any) -> None:
        self._clip = clip
        self.config = clip.config

    def to(self, device: torch.device) -> "_Encoders":
        """Move to `device`; torchmetrics does at each update."""
        self._clip.to(device)
        return self

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Features [N, D]."""
        return as_tensor(self._clip.get_image_features(pixel_values=pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Features [N, D]."""
        return as_tensor(self._clip.get_text_features(input_ids=input_ids, attention_mask=attention_mask))


class _Cutting:
    """A CLIPProcessor that cuts long texts before their end token: that one stands for the whole text."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, **inputs: Any) -> Any:
        if "text" in inputs:
            inputs |= {"truncation": True, "max_length": self._processor.tokenizer.model_max_length}
        return self._processor(**inputs)


def gathered(parts: Sequence[ClipScores]) -> ClipScores:
    """The scores of all processes as one process would have them."""
    scores = {
        question: {
            side: undealt([part.scores[question][side] for part in parts]) for side in ("base", "lora")
        }
        for question in QUESTIONS
    }
    return ClipScores(parts[0].step, undealt([part.groups for part in parts]), scores)


def _own_samples(trainer: Trainer) -> SampleSet | None:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    painters = (callback for callback in callbacks if isinstance(callback, SampleImages))
    return next((painter.own for painter in painters), None)


def _log_directly(trainer: Trainer, scores: ClipScores) -> None:
    """Where `self.log` has no value of its own: before step 1, and outside of validation."""
    for logger in trainer.loggers:
        logger.log_metrics(scores.curves(), step=scores.step)
