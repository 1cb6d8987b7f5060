"""What TensorBoard shows of a run, read back from its event files."""

import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PageReader
from tensorboard.plugins.hparams import plugin_data_pb2

from callbacks.sample_images import SampleImages, SamplePrompt
from callbacks.training_log import Smoothed, Speed, Sums, TrainingLog, flat_options, memory, smooth_loss
from tests.callbacks.tiny_painter import TinyData, TinyPainter, curve, events_of, tiny_trainer

CONFIG = {
    "seed_everything": 3,
    "model": {"base_model": "demo/base", "lora": {"rank": 8, "target_modules": ["to_k", "to_q"]}},
    "trainer": {"max_steps": 4, "callbacks": [{"class_path": "X"}], "logger": {"a": 1}, "precision": None},
}


def fit(run: Path, *callbacks: Callback, painter: TinyPainter | None = None, **options: Any) -> TinyPainter:
    painter = painter or TinyPainter()
    ckpt_path = options.pop("ckpt_path", None)
    trainer = tiny_trainer(run, [TrainingLog(), *callbacks], **options)
    trainer.fit(painter, TinyData(), ckpt_path=ckpt_path)
    return painter


# ------------------------------------------------------------------ the pieces


def test_smoothed_is_the_debiased_exponential_mean() -> None:
    smooth = Smoothed(0.5)
    assert smooth.value is None
    smooth.update(4.0)
    assert smooth.value == 4.0  # (0.5 * 4) / (1 - 0.5)
    smooth.update(1.0)
    assert smooth.value == 2.0  # (0.5 * 2 + 0.5 * 1) / (1 - 0.25)


def test_smoothed_leaves_out_what_is_not_finite() -> None:
    smooth = Smoothed(0.5)
    for x in (4.0, math.nan, math.inf, 1.0):
        smooth.update(x)
    assert smooth.value == 2.0


def test_smoothed_goes_on_from_its_state() -> None:
    straight, first, second = Smoothed(0.9), Smoothed(0.9), Smoothed(0.9)
    for x in (1.0, 7.0, 3.0):
        straight.update(x)
    first.update(1.0)
    second.load_state_dict(first.state_dict())
    for x in (7.0, 3.0):
        second.update(x)
    assert second.value == straight.value


def test_sums_forget_what_was_taken_out() -> None:
    sums = Sums()
    for name, total, count in (("b", 1.0, 1), ("a", 5.0, 2), ("b", 3.0, 1)):
        sums.add(name, total, count)
    assert sums.pop() == {"a": (5.0, 2), "b": (4.0, 2)}
    sums.add("a", 1.0)
    assert sums.pop() == {"a": (1.0, 1)}


def test_speed_is_a_median_and_a_pause_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    speed = Speed(window=50)
    assert speed.values() == {}
    speed.start()
    for seconds in (0.5, 0.5, 9.0):  # the last one waits for a disk
        now[0] += seconds
        speed.step_done(8)
    now[0] += 1000  # a validation
    speed.start()
    now[0] += 0.25
    speed.step_done(8)
    assert speed.values() == {"speed/steps_per_second": 2.0, "speed/samples_per_second": 16.0}


@pytest.mark.skipif(not Path("/proc/self/statm").exists() or torch.cuda.is_available(), reason="needs /proc")
def test_memory_grows_by_what_is_allocated() -> None:
    before = memory()["memory/gb"]
    block = bytearray(os.urandom(1)) * 300_000_000
    assert memory()["memory/gb"] - before == pytest.approx(0.3, abs=0.05)
    del block


def test_flat_options_are_plain_and_without_callbacks() -> None:
    assert flat_options(CONFIG) == {
        "seed_everything": 3,
        "model.base_model": "demo/base",
        "model.lora.rank": 8,
        "model.lora.target_modules": "['to_k', 'to_q']",
        "trainer.max_steps": 4,
    }


# ------------------------------------------------------------------ a whole run


def test_every_value_is_filed_under_the_steps_done(tmp_path: Path) -> None:
    fit(tmp_path)
    events = events_of(tmp_path)
    for tag in ("train/loss", "train/loss_smooth", "train/grad_norm", "lr", "speed/steps_per_second"):
        assert list(curve(events, tag)) == [1, 2, 3, 4], tag
    assert list(curve(events, "val/loss")) == [2, 4]


def test_values_are_those_of_the_steps(tmp_path: Path) -> None:
    fit(tmp_path)
    events = events_of(tmp_path)
    assert curve(events, "train/loss") == pytest.approx({1: 1.0, 2: 0.99, 3: 0.98, 4: 0.97})
    assert curve(events, "val/loss") == pytest.approx({2: 0.98, 4: 0.96})
    assert curve(events, "train/grad_norm") == pytest.approx(dict.fromkeys(range(1, 5), 1.0))
    assert curve(events, "lr") == pytest.approx(dict.fromkeys(range(1, 5), 0.01))
    smooth = curve(events, "train/loss_smooth")
    assert smooth[1] == pytest.approx(1.0)
    assert smooth[2] == pytest.approx((0.98 * 0.02 * 1.0 + 0.02 * 0.99) / (1 - 0.98**2))
    speed = curve(events, "speed/steps_per_second")[4]
    assert curve(events, "speed/samples_per_second")[4] == pytest.approx(4 * speed)


def test_loss_parts_are_those_of_the_pictures_they_belong_to(tmp_path: Path) -> None:
    fit(tmp_path)
    events = events_of(tmp_path)
    # errors 1 2 3 4, bins 0 0 2 2, groups portrait landscape portrait landscape
    assert curve(events, "train/loss_bin/0")[4] == 1.5
    assert curve(events, "train/loss_bin/2")[4] == 3.5
    assert curve(events, "train/loss_group/portrait")[4] == 2.0
    assert curve(events, "train/loss_group/landscape")[4] == 3.0
    assert "train/loss_bin/1" not in events.Tags()["scalars"]


def test_nothing_is_read_inside_an_accumulation_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU each reading would wait for the batch."""
    read: list[str] = []
    for name in ("tolist", "item", "__float__"):
        original = getattr(torch.Tensor, name)

        def reads(self: torch.Tensor, name: str = name, original: Any = original) -> Any:
            read.append(name)
            return original(self)

        monkeypatch.setattr(torch.Tensor, name, reads)

    class Counts(Callback):
        def __init__(self) -> None:
            self.after_each_batch: list[int] = []

        def on_train_batch_end(self, *_: Any) -> None:
            self.after_each_batch.append(len(read))

    counts = Counts()
    fit(tmp_path, counts, accumulate_grad_batches=4, max_steps=1, limit_val_batches=0)
    assert counts.after_each_batch[:3] == [counts.after_each_batch[0]] * 3
    assert counts.after_each_batch[3] >= counts.after_each_batch[2] + 12  # loss, errors and bins of 4 batches
    monkeypatch.undo()
    assert curve(events_of(tmp_path), "train/loss") == {1: 1.0}


def test_a_part_without_pictures_since_the_last_log_has_no_point(tmp_path: Path) -> None:
    class BinOnce(TinyPainter):
        def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
            outputs = super().training_step(batch, batch_idx)
            return outputs | {"bin": torch.full((4,), 3 if batch_idx == 0 else 1)}

    fit(tmp_path, painter=BinOnce())
    assert list(curve(events_of(tmp_path), "train/loss_bin/3")) == [1]


def test_tags_are_the_story_and_nothing_else(tmp_path: Path) -> None:
    fit(tmp_path)
    assert set(events_of(tmp_path).Tags()["scalars"]) == {
        "train/loss",
        "train/loss_smooth",
        "train/loss_unweighted",
        "train/loss_bin/0",
        "train/loss_bin/2",
        "train/loss_group/portrait",
        "train/loss_group/landscape",
        "train/grad_norm",
        "val/loss",
        "lr",
        "speed/steps_per_second",
        "speed/samples_per_second",
        "memory/gb",
    }


def test_logs_every_n_steps_and_at_the_last(tmp_path: Path) -> None:
    fit(tmp_path, log_every_n_steps=3, max_steps=4)
    assert list(curve(events_of(tmp_path), "train/loss_smooth")) == [3, 4]


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    fit(tmp_path, accumulate_grad_batches=2, max_steps=3, val_check_interval=4)
    events = events_of(tmp_path)
    assert list(curve(events, "train/loss_smooth")) == [1, 2, 3]
    assert list(curve(events, "train/loss")) == [1, 2, 3]
    assert list(curve(events, "val/loss")) == [2]
    assert curve(events, "train/grad_norm")[1] == pytest.approx(1.0)
    steps, samples = (curve(events, f"speed/{name}_per_second")[3] for name in ("steps", "samples"))
    assert samples == pytest.approx(8 * steps)


def test_gradient_norm_is_measured_before_clipping(tmp_path: Path) -> None:
    painter = fit(tmp_path, gradient_clip_val=0.25, max_steps=1)
    assert curve(events_of(tmp_path), "train/grad_norm") == pytest.approx({1: 1.0})
    assert float(painter.weight) == pytest.approx(-0.01 * 0.25)


def test_gradient_norm_is_that_of_the_unscaled_gradient(tmp_path: Path) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    fit(tmp_path, plugins=[plugin], max_steps=1)
    assert curve(events_of(tmp_path), "train/grad_norm") == pytest.approx({1: 1.0}, rel=1e-3)


def test_config_stands_as_text(tmp_path: Path) -> None:
    text = yaml.safe_dump(CONFIG)
    (tmp_path / "config.yaml").write_text(text)
    fit(tmp_path)
    (shown,) = events_of(tmp_path).Tensors("config/text_summary")
    assert text in shown.tensor_proto.string_val[0].decode()


def test_hparams_name_the_options_and_the_final_metrics(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    fit(tmp_path)
    events = events_of(tmp_path)
    start = _hparams(events, "_hparams_/session_start_info").session_start_info
    assert start.hparams["model.lora.rank"].number_value == 8
    assert start.hparams["model.base_model"].string_value == "demo/base"
    experiment = _hparams(events, "_hparams_/experiment").experiment
    assert {info.name.tag for info in experiment.metric_infos} == {"val/loss", "train/loss_smooth"}
    assert "hp_metric" not in events.Tags()["scalars"]
    assert list(curve(events, "val/loss")) == [2, 4]  # and none was written a second time


def _hparams(events: Any, tag: str) -> Any:
    content = events.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


# ------------------------------------------------------------------ resume


class _Die(Callback):
    """Ends the process after a step, as a kill would: past the last checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


def wait_for_the_next_second() -> None:
    """Event files are read in the order of their names, which hold whole seconds."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.01)


def _killed_and_resumed(run: Path, *, saved_at: int, killed_at: int, times: int = 1) -> None:
    checkpoint = run / "checkpoints" / f"step={saved_at}.ckpt"
    saving = ModelCheckpoint(run / "checkpoints", filename="{step}", every_n_train_steps=2, save_top_k=-1)
    options: dict[str, Any] = {"enable_checkpointing": True, "max_steps": 8}
    prompts = SampleImages([SamplePrompt("a girl")])
    with pytest.raises(RuntimeError, match="killed"):
        fit(run, prompts, saving, _Die(killed_at), **options)
    for number in range(times):
        wait_for_the_next_second()
        saving = ModelCheckpoint(run / "resumed", filename="{step}", every_n_train_steps=2, save_top_k=-1)
        if number < times - 1:
            with pytest.raises(RuntimeError, match="killed"):
                fit(run, prompts, saving, _Die(killed_at), ckpt_path=checkpoint, **options)
        else:
            fit(run, prompts, saving, ckpt_path=checkpoint, **options)


def _as_tensorboard_shows(run: Path) -> dict[str, list[int]]:
    """The steps of every tag, texts included, by the reader behind TensorBoard's pages."""
    events = PageReader(str(run), size_guidance={"tensors": 0}, tensor_size_guidance={})
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if not tag.startswith("_hparams_")]
    return {tag: [point.step for point in events.Tensors(tag)] for tag in tags}


@pytest.mark.parametrize("times", [1, 2])
def test_a_resumed_run_reads_like_one_that_was_never_killed(tmp_path: Path, times: int) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    fit(straight, SampleImages([SamplePrompt("a girl")]), max_steps=8)
    _killed_and_resumed(killed, saved_at=4, killed_at=7, times=times)
    wanted, found = events_of(straight), events_of(killed)
    assert set(found.Tags()["scalars"]) == set(wanted.Tags()["scalars"])
    for tag in wanted.Tags()["scalars"]:
        if tag.startswith(("speed/", "memory/")):
            assert list(curve(found, tag)) == list(curve(wanted, tag)), tag
        else:
            assert curve(found, tag) == curve(wanted, tag), tag
    assert [i.step for i in found.Images("samples/samples")] == [0, 2, 4, 6, 8]
    assert [i.encoded_image_string for i in found.Images("samples/samples")] == [
        i.encoded_image_string for i in wanted.Images("samples/samples")
    ]
    shown = _as_tensorboard_shows(killed)
    assert shown.pop("prompts/text_summary") == [0, 5]
    assert shown == {tag: steps for tag, steps in _as_tensorboard_shows(straight).items() if tag in shown}


def test_without_the_mark_the_test_above_would_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.training_log.mark_start", lambda writer, step: None)
    _killed_and_resumed(tmp_path, saved_at=4, killed_at=7)
    steps = [point.step for point in events_of(tmp_path).Scalars("train/loss")]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8]


def test_a_restart_from_step_0_writes_it_once(tmp_path: Path) -> None:
    class SaveFirst(Callback):
        def on_train_start(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "0.ckpt")

    prompts = SampleImages([SamplePrompt("a girl")])
    with pytest.raises(RuntimeError, match="killed"):
        fit(tmp_path, prompts, SaveFirst(), _Die(3))
    wait_for_the_next_second()
    fit(tmp_path, prompts, ckpt_path=tmp_path / "0.ckpt")
    events = events_of(tmp_path)
    assert [image.step for image in events.Images("samples/samples")] == [0, 2, 4]
    assert list(curve(events, "train/loss")) == [1, 2, 3, 4]


def test_what_is_logged_stands_on_disk_before_the_next_step(tmp_path: Path) -> None:
    class Reads(Callback):
        def __init__(self) -> None:
            self.seen: list[list[int]] = []

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step:
                self.seen.append(list(curve(events_of(tmp_path), "train/loss")))

    reads = Reads()
    fit(tmp_path, reads)
    assert reads.seen == [[1], [1, 2], [1, 2, 3]]


def test_smooth_loss_is_there_for_other_callbacks(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, [TrainingLog()], max_steps=1)
    assert smooth_loss(trainer) is None
    trainer.fit(TinyPainter(), TinyData())
    assert smooth_loss(trainer) == pytest.approx(1.0)
    assert smooth_loss(tiny_trainer(tmp_path, [])) is None
