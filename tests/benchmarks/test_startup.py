"""The benchmark of starting up: its table by hand, and its process that ends at the first step."""

from pathlib import Path

from benchmarks.startup import STAGES, second_start, table
from tests.small_run import picture_folder, small_config


def test_the_table_has_medians_and_the_median_of_each_round_s_excess() -> None:
    seconds = {
        "imports of fit": [5.0, 6.0, 5.5],
        "load of the UNet": [1.0, 1.0, 1.5],
        "second start of fit, to its first step": [8.0, 7.5, 9.0],  # 2.0, 0.5 and 2.0 beyond
    }
    lines = table(seconds).splitlines()
    assert "| imports of fit | 5.50 | 5.00 | 6.00 |" in lines
    assert lines[-1] == "Beyond imports and the UNet's load: 2.00 s (at most 3 s wanted)."


def test_a_start_ends_at_its_first_step_with_all_stages(tiny_base: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, tiny_base, picture_folder(tmp_path / "pictures"))
    seconds = second_start(tmp_path / "runs", 0, ["--config", str(config)])
    assert set(seconds) == {*STAGES, "check"}
    assert all(value >= 0 for value in seconds.values())
    assert seconds["check"] < seconds["caches"]
    assert not list((tmp_path / "runs").rglob("*.ckpt"))[1:]  # at most that of step 0
