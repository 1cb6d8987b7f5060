"""What `--help` shows first."""

import pytest

from train import main


@pytest.mark.parametrize(
    ("command", "own"),
    [("fit", "--data.folder"), ("predict", "--prompt PROMPT"), ("test", "--lora LORA")],
)
def test_own_options_come_before_the_trainer_s(
    command: str, own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python train.py {command} [options]\n")
    assert 0 < shown.index(f"  {own}") < shown.index("  --trainer.accelerator ACCELERATOR")
    assert shown.index("--trainer.use_distributed_sampler") > shown.index(f"  {own}")
