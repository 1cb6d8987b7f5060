"""The page at the end says what was made and how to go on, in lines that can be pasted."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.checkpoints import Checkpoints
from callbacks.clip_score import ClipScore, ClipScores
from callbacks.summary import RunSummary, file_use, score_table
from callbacks.training_log import TrainingLog
from tests.callbacks.tiny_painter import TinyData, TinyPainter, tiny_trainer


class Exports(Callback):
    """Leaves the files that an export would."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        run = Path(trainer.default_root_dir)
        for name in ("pytorch_lora_weights.safetensors", "demo_kohya.safetensors"):
            (run / name).write_bytes(b"")
        (run / "samples").mkdir()


def fit(run: Path, *callbacks: Callback, data: TinyData | None = None, **options: Any) -> None:
    ckpt_path = options.pop("ckpt_path", None)
    everything = [TrainingLog(), *callbacks, RunSummary("python train.py fit --config a.yaml")]
    tiny_trainer(run, everything, **options).fit(TinyPainter(), data or TinyData(), ckpt_path=ckpt_path)


def test_the_start_says_what_will_be_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, accumulate_grad_batches=2)
    start = capsys.readouterr().out.split("Done:")[0]
    assert "Training 1 parameters on a tiny painter" in start
    assert "for 4 steps of 8 pictures (4 a batch, 2 batches, 1 processes)" in start
    assert "2 portraits, 1 landscape, 32 draws" in start
    assert str(tmp_path) in start


def test_the_end_names_files_and_where_they_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, Exports())
    out = capsys.readouterr().out
    diffusers = tmp_path / "pytorch_lora_weights.safetensors"
    assert f'{diffusers}\n  diffusers: pipe.load_lora_weights("{diffusers}")\n' in out
    assert f"{tmp_path / 'demo_kohya.safetensors'}\n  ComfyUI, AUTOMATIC1111:" in out
    assert f"{tmp_path / 'samples'}: pictures of every validation" in out


def test_the_end_has_commands_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    out = capsys.readouterr().out
    assert f"\n  tensorboard --logdir {tmp_path.parent} --samples_per_plugin images=1000\n" in out
    assert "\n  python train.py fit --config a.yaml --ckpt_path last --trainer.max_steps 8\n" in out


def test_the_end_has_the_validation_loss_and_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, Checkpoints(), enable_checkpointing=True)
    out = capsys.readouterr().out
    assert "\nValidation loss 0.9600\n" in out
    best = tmp_path / "checkpoints" / "best.ckpt"
    assert f"\nBest by loss: step 4, held-out loss 0.9600: {best}\n" in out


def test_the_end_says_that_nothing_was_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, data=TinyData(held_out=0))
    assert "no held-out pictures" in capsys.readouterr().out


def test_a_resumed_run_counts_its_own_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saving = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", every_n_train_steps=2)
    fit(tmp_path, saving, max_steps=2, enable_checkpointing=True)
    assert "Done: 2 steps, " in capsys.readouterr().out
    checkpoint = tmp_path / "checkpoints" / "step=2.ckpt"
    fit(tmp_path, max_steps=5, ckpt_path=checkpoint)
    out = capsys.readouterr().out
    assert f"going on from {checkpoint}" in out
    assert "Done: 5 steps, 3 of them in this process, " in out


def test_after_an_error_nothing_is_called_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Dies(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fit(tmp_path, Dies())
    assert "Done" not in capsys.readouterr().out


def test_the_score_table_is_in_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = ClipScore(None, "style")
    scores.latest = ClipScores(4, ["portrait"], {"style": {"base": [20.0], "lora": [21.5]}})
    fit(tmp_path, scores)
    assert "\n".join(score_table(scores.latest)) in capsys.readouterr().out


def test_score_table_shows_paired_changes_with_their_error() -> None:
    sides = {"base": [10.0, 20.0, 30.0], "lora": [13.0, 25.0, 31.0]}
    table = score_table(ClipScores(4, ["portrait", "landscape", "portrait"], {"prompt": sides}))
    # changes 3, 5, 1: mean 3, standard deviation 2, error 2 / sqrt(3)
    # portraits 3, 1: mean 2, standard deviation sqrt(2), error 1
    assert [line.split() for line in table] == [
        ["CLIP", "score", "base", "LoRA", "change"],
        ["own", "prompt,", "all", "20.00", "23.00", "+3.00", "+-", "1.15"],
        ["own", "prompt,", "portrait", "20.00", "22.00", "+2.00", "+-", "1.00"],
        ["own", "prompt,", "landscape", "20.00", "25.00", "+5.00"],
    ]


def test_file_use_tells_the_two_formats_apart() -> None:
    assert file_use("pytorch_lora_weights.safetensors").startswith("diffusers")
    assert file_use("ghibli_kohya.safetensors").startswith("ComfyUI, AUTOMATIC1111")
