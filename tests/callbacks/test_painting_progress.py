"""What is said while pictures are painted."""

from typing import Any

import pytest
from lightning.pytorch import Trainer

from callbacks.painting_progress import PaintingProgress, progress_line
from tests.callbacks.tiny_painter import TinyPainter


class Data:
    """Three pictures in two batches."""

    dealt = ((1, 2), (3,))


def test_a_line_says_how_long_the_rest_will_take() -> None:
    assert progress_line(12, 40, 24.0) == "12/40 pictures | 30% | 2.0 s a picture | 0:56 left"


@pytest.fixture
def trainer() -> Any:
    """A trainer that has these data."""
    trainer: Any = Trainer(logger=False, accelerator="cpu")
    trainer.datamodule = Data()
    return trainer


def test_pictures_are_counted_to_the_end(trainer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    progress, painter = PaintingProgress(), TinyPainter()
    progress.on_predict_start(trainer, painter)
    progress.on_predict_batch_end(trainer, painter, None, {"jobs": [1, 2]}, 0)
    progress.on_predict_batch_end(trainer, painter, None, {"jobs": [3]}, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" pictures")[0] for line in lines] == ["2/3", "3/3"]
    assert lines[-1].endswith("0:00 left")


def test_sigterm_stops_after_the_batch(trainer: Any) -> None:
    progress, painter = PaintingProgress(), TinyPainter()
    progress.on_predict_start(trainer, painter)
    progress.on_predict_batch_end(trainer, painter, None, {"jobs": [1]}, 0)
    trainer._signal_connector.received_sigterm = True
    with pytest.raises(KeyboardInterrupt):
        progress.on_predict_batch_end(trainer, painter, None, {"jobs": [2]}, 1)


def test_ctrl_c_says_how_to_go_on_and_other_processes_are_silent(
    trainer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    progress, painter = PaintingProgress(), TinyPainter()
    progress.on_predict_start(trainer, painter)
    progress.on_exception(trainer, painter, KeyboardInterrupt())
    assert "Stopped after 0 of 3. The same command paints the rest." in capsys.readouterr().out
    progress.disable()
    progress.on_predict_batch_end(trainer, painter, None, {"jobs": [1, 2, 3]}, 0)
    progress.on_exception(trainer, painter, KeyboardInterrupt())
    assert capsys.readouterr().out == ""
