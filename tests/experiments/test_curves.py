from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from experiments.curves import read_curves


def log(folder: Path, values: dict[int, float]) -> Path:
    with SummaryWriter(folder) as writer:
        for step, value in values.items():
            writer.add_scalar("val/loss_group/portrait", value, step)
            writer.add_scalar("val/loss", 9.0, step)
    return folder


def test_means_over_seeds_at_the_steps_that_all_have(tmp_path: Path) -> None:
    folders = [log(tmp_path / "0", {25: 1.0, 50: 0.5}), log(tmp_path / "1", {25: 3.0, 50: 1.5, 75: 0.1})]
    assert read_curves({"a": folders}) == {"a": {"portrait": {25: 2.0, 50: 1.0}}}


def test_a_resumed_run_keeps_what_was_before_and_the_later_of_two_values(tmp_path: Path) -> None:
    log(tmp_path / "0", {25: 1.0, 50: 0.5})
    log(tmp_path / "0", {50: 0.25, 75: 0.125})
    assert read_curves({"a": [tmp_path / "0"]}) == {"a": {"portrait": {25: 1.0, 50: 0.25, 75: 0.125}}}


def test_a_run_without_a_hold_out_has_no_curve(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    assert read_curves({"a": [tmp_path / "0"]}) == {"a": {}}
