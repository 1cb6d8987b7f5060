"""Samples: the right pictures at the right steps, and no trace of them in training."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback
from PIL import Image

from callbacks.sample_images import (
    SampleImages,
    SamplePrompt,
    SampleSet,
    grids,
    paint,
    prompt_table,
)
from callbacks.training_log import TrainingLog
from tests.callbacks.tiny_painter import TinyData, TinyPainter, curve, events_of, tiny_trainer

PROMPTS = [
    SamplePrompt("red hair", group="portrait", seed=10),
    SamplePrompt("green hills", group="landscape", seed=20, negative_prompt="night"),
    SamplePrompt("blue eyes!", group="portrait", seed=30),
]


def colour(picture: torch.Tensor) -> list[float]:
    """The one colour of a plain picture."""
    return [round(value, 4) for value in picture[:, 0, 0].tolist()]


def trained(run: Path, painter: TinyPainter, *callbacks: Callback, **options: Any) -> SampleImages:
    samples = SampleImages(PROMPTS)
    tiny_trainer(run, [TrainingLog(), samples, *callbacks], **options).fit(painter, TinyData())
    return samples


def test_a_picture_is_told_to_other_processes_without_those_of_its_batch() -> None:
    """Pickled, four pictures are four times as large as one, and not sixteen times."""
    one, *_ = four = paint(
        TinyPainter(), [SamplePrompt("a girl", seed=seed) for seed in range(4)], lora_scale=1
    )
    assert len(pickle.dumps(one)) < 1.5 * one.numel() * 4
    assert len(pickle.dumps(four)) < 4 * 1.5 * one.numel() * 4


def test_a_prompt_is_a_config_entry() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SampleImages, "samples")
    given = parser.parse_object({"samples": {"prompts": [{"prompt": "a girl", "seed": 3}]}})
    built = parser.instantiate(given).samples
    assert built.prompts == [SamplePrompt("a girl", seed=3)]


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("steps", 0), ("sampler", "magic"), ("height", 0)])
def test_a_wrong_setting_is_refused(name: str, value: object) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SampleImages, "samples")
    with pytest.raises(Exception, match=name):
        parser.parse_object({"samples": {"prompts": [{"prompt": "a girl", name: value}]}})


def test_paint_keeps_the_order_of_the_prompts() -> None:
    prompts = [PROMPTS[0], SamplePrompt("x", seed=1, steps=3), PROMPTS[1]]
    pictures = paint(TinyPainter(), prompts, lora_scale=0.0)
    assert [colour(p)[2] for p in pictures] == [0.1, 0.01, 0.2]


def test_prompts_of_equal_settings_are_painted_in_one_call() -> None:
    painter = TinyPainter()
    wide = SamplePrompt("wide", height=8, width=24, seed=5)
    paint(painter, [PROMPTS[0], wide, PROMPTS[1]], lora_scale=1.0)
    assert [call["prompts"] for call in painter.calls] == [["red hair", "green hills"], ["wide"]]
    assert painter.calls[0]["negative_prompts"] == ["", "night"]
    assert painter.calls[0]["seeds"] == [10, 20]
    assert painter.calls[1]["height"] == 8


def test_base_is_painted_once_and_lora_at_every_validation(tmp_path: Path) -> None:
    painter = TinyPainter()
    trained(tmp_path, painter)
    assert [call["lora_scale"] for call in painter.calls] == [0.0, 1.0, 1.0]


def test_latest_holds_the_pictures_of_the_last_validation(tmp_path: Path) -> None:
    latest = trained(tmp_path, TinyPainter()).latest
    assert latest is not None
    assert latest.step == 4
    assert [colour(p) for p in latest.base] == [[0, 0.08, 0.1], [0, 0.11, 0.2], [0, 0.1, 0.3]]
    assert [colour(p) for p in latest.lora] == [[0.04, 0.08, 0.1], [0.04, 0.11, 0.2], [0.04, 0.1, 0.3]]


def test_tensorboard_has_a_grid_a_group_at_every_step(tmp_path: Path) -> None:
    trained(tmp_path, TinyPainter())
    events = events_of(tmp_path)
    assert events.Tags()["images"] == ["samples/portrait", "samples/landscape"]
    for tag in events.Tags()["images"]:
        assert [image.step for image in events.Images(tag)] == [0, 2, 4]
    portrait, landscape = (events.Images(tag)[-1] for tag in events.Tags()["images"])
    assert portrait.height > landscape.height
    assert {image.width for image in events.Images("samples/portrait")} == {portrait.width}


def test_files_have_the_step_in_their_names_and_all_groups(tmp_path: Path) -> None:
    trained(tmp_path, TinyPainter())
    names = [path.name for path in sorted((tmp_path / "samples").iterdir())]
    assert names == ["base", "step_000000.png", "step_000002.png", "step_000004.png"]
    one_group = grids(SampleSet(0, PROMPTS[:1], *([[torch.zeros(3, 8, 8)]] * 2)))["portrait"]
    with Image.open(tmp_path / "samples" / "step_000004.png") as sheet:
        assert sheet.width == 2 * one_group.width


def test_grid_shows_base_left_and_lora_right() -> None:
    base, lora = torch.zeros(3, 8, 8), torch.ones(3, 8, 8) * torch.tensor([1.0, 0, 0])[:, None, None]
    grid = grids(SampleSet(7, PROMPTS[:1], [base], [lora]))["portrait"]
    row = [grid.getpixel((x, grid.height // 2)) for x in range(grid.width)]
    assert row.index((0, 0, 0)) < row.index((255, 0, 0))


def test_prompts_stand_in_tensorboard_with_their_settings(tmp_path: Path) -> None:
    trained(tmp_path, TinyPainter())
    (text,) = events_of(tmp_path).Tensors("prompts/text_summary")
    table = text.tensor_proto.string_val[0].decode()
    assert "green hills" in table
    assert "night" in table


def test_prompt_table_escapes_what_markdown_would_eat() -> None:
    prompt = SamplePrompt("ghibli_style, (watercolor:1.2), a|b <i>\nc", group="portrait")
    row = prompt_table([prompt]).splitlines()[2]
    assert row.startswith("| ghibli\\_style, (watercolor:1.2), a\\|b &lt;i&gt; c | portrait | 0 |")


def test_painting_is_done_in_eval_mode_without_gradients(tmp_path: Path) -> None:
    painter = TinyPainter()
    trained(tmp_path, painter)
    assert {call["training"] for call in painter.calls} == {False}
    assert {call["grad"] for call in painter.calls} == {False}


class _Modes(Callback):
    """Notes modes, what is trained, and the random state around the base's painting."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(
            (
                [module.training for module in pl_module.modules()],
                [p.requires_grad for p in pl_module.parameters()],
                torch.get_rng_state().tolist(),
            )
        )


def test_painting_leaves_no_trace(tmp_path: Path) -> None:
    painter = TinyPainter()
    painter.draws_from_global_rng = True
    before, after = _Modes(), _Modes()
    tiny_trainer(tmp_path, [before, SampleImages(PROMPTS), after], max_steps=1).fit(painter, TinyData())
    assert painter.calls
    assert before.seen == after.seen
    assert before.seen[0][0] == [True, False]  # the frozen part stays in eval mode, the rest in train mode


def test_failing_sampler_warns_once_and_training_goes_on(tmp_path: Path) -> None:
    painter = TinyPainter()
    painter.fails = True
    with pytest.warns(UserWarning, match="could not be painted .*out of paint.* Training goes on") as caught:
        samples = trained(tmp_path, painter)
    assert len([w for w in caught if "could not be painted" in str(w.message)]) == 1
    assert float(painter.weight) == pytest.approx(-0.04)
    assert samples.latest is None


def test_where_memory_is_full_it_says_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")

    monkeypatch.setattr(TinyPainter, "generate", full)
    said = r"allocate 2 GiB\)\. Training goes on\. Give --samples\.prompts a smaller height .*train\.py plan"
    with pytest.warns(UserWarning, match=said):
        samples = trained(tmp_path, TinyPainter())
    assert samples.latest is None


def test_sampler_that_recovers_paints_again(tmp_path: Path) -> None:
    class Recovers(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.fails = False

    painter = TinyPainter()
    painter.fails = True
    with pytest.warns(UserWarning, match="could not be painted"):
        samples = trained(tmp_path, painter, Recovers())
    assert samples.latest is not None
    assert [colour(p)[0] for p in samples.latest.base] == [0, 0, 0]


def test_sanity_validation_paints_nothing(tmp_path: Path) -> None:
    painter = TinyPainter()
    trained(tmp_path, painter, num_sanity_val_steps=1)
    assert [call["lora_scale"] for call in painter.calls] == [0.0, 1.0, 1.0]


def test_without_held_out_pictures_samples_keep_the_rhythm_of_validations(tmp_path: Path) -> None:
    samples = SampleImages(PROMPTS)
    trainer = tiny_trainer(tmp_path, [TrainingLog(), samples])
    trainer.fit(TinyPainter(), TinyData(held_out=0))
    assert [image.step for image in events_of(tmp_path).Images("samples/portrait")] == [0, 2, 4]


def test_with_validation_switched_off_only_the_base_is_painted(tmp_path: Path) -> None:
    painter = TinyPainter()
    trained(tmp_path, painter, limit_val_batches=0)
    assert [call["lora_scale"] for call in painter.calls] == [0.0]


def test_training_is_the_same_without_samples(tmp_path: Path) -> None:
    with_samples, without = TinyPainter(), TinyPainter()
    with_samples.draws_from_global_rng = True
    trained(tmp_path / "with", with_samples)
    tiny_trainer(tmp_path / "without", [TrainingLog()]).fit(without, TinyData())
    losses = [curve(events_of(tmp_path / name), "train/loss") for name in ("with", "without")]
    assert losses[0] == losses[1]
    assert torch.equal(with_samples.weight, without.weight)


def test_samples_that_cannot_be_written_are_counted_and_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text("a file where the folder should be")
    painter = TinyPainter()
    with pytest.warns(UserWarning, match=r"could not be painted \(FileExistsError"):
        samples = trained(tmp_path, painter)
    assert samples.failures.line() == "Samples could not be painted 3 times."
    assert float(painter.weight) == pytest.approx(-0.04)
