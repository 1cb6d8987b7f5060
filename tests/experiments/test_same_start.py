"""Arms of one seed: the same adapter at step 0, and the same noise and timesteps at each draw, whatever they change."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from experiments.arm_runs import ArmRun
from experiments.option_check import check_options
from experiments.plan import Plan, read_plan
from lightning_modules import stable_diffusion_lora
from tests.small_run import picture_folder, same, small_config
from train import main


@pytest.fixture
def plan(tmp_path: Path, tiny_base: Path) -> Plan:
    """Two arms of one rank with other pictures and another learning rate, and one of another rank."""
    few = picture_folder(tmp_path / "few", portraits=5, landscapes=3)
    many = picture_folder(tmp_path / "many")
    held_out = tmp_path / "held_out"
    picture_folder(held_out, portraits=20, landscapes=0)
    for path in sorted(held_out.glob("*.png"))[:14]:  # pictures that the others don't have
        path.unlink()
    lines = (held_out / "metadata.jsonl").read_text().splitlines(keepends=True)
    (held_out / "metadata.jsonl").write_text("".join(lines[14:]))
    config = small_config(tmp_path, tiny_base, many)
    path = tmp_path / "experiment.yaml"
    path.write_text(
        f"""
question: q
config: {config}
options: {{trainer.max_steps: 3, trainer.val_check_interval: 3}}
seeds: [5]
held_out: {held_out}
arms:
  many: {{}}
  few: {{data.folder: {few}, data.shares: null, model.optimizer.init_args.lr: 0.01}}
  rank: {{model.lora.rank: 2}}
evaluation: {{}}
answer: {{measure: style_score, effect: {{few: [few, many]}}, ranges: {{rank: [many, rank]}}}}
"""
    )
    return read_plan(path)


def test_the_same_start_and_the_same_noise(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    for name in ("draw_noise", "draw_timesteps"):
        monkeypatch.setattr(stable_diffusion_lora, name, recorded(name, seen))
    runs = [ArmRun(plan, arm, 5, tmp_path / "out") for arm in plan.arms]
    drawn = []
    for run in runs:
        check_options(run)
        main(run.train_arguments())
        assert run.trained
        drawn.append(dict(seen))
        seen.clear()
    many, few, rank = (exported(run, 0) for run in runs)
    assert same(many, few)
    assert not same(many, rank)
    assert not same(exported(runs[0], 3), exported(runs[1], 3))
    for arm in drawn[1:]:
        for name in ("draw_noise", "draw_timesteps"):
            assert len(arm[name]) == 3
            assert all(torch.equal(a, b) for a, b in zip(arm[name], drawn[0][name], strict=True))
    assert not torch.equal(drawn[0]["draw_noise"][0], drawn[0]["draw_noise"][1])


def exported(run: ArmRun, step: int) -> dict[str, torch.Tensor]:
    """The adapter's tensors in the file that was exported at a step."""
    tensors: dict[str, torch.Tensor] = load_file(run.folder / "exports" / f"seed5_step_{step:06}.safetensors")
    return tensors


def recorded(name: str, seen: dict[str, list[torch.Tensor]]) -> Any:
    """The function of that name, keeping what it gives to training."""
    own = getattr(stable_diffusion_lora, name)

    def call(*given: Any, **named: Any) -> torch.Tensor:
        result: torch.Tensor = own(*given, **named)
        if named.get("purpose", "noise") == "noise":
            seen.setdefault(name, []).append(result)
        return result

    return call


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model.lora.rank: 2", "model.lora.ranc: 2", "the arm rank, .*ranc.*Did you mean --model.lora.rank"),
        (
            "evaluation: {}",
            "evaluation: {sedes: [0]}",
            "the arm rank, .*test.sedes.*Did you mean --test.seeds",
        ),
        ("model.lora.rank: 2", "model.lora.rank: four", "the arm rank, .*model.lora.rank"),
    ],
)
def test_an_option_that_is_none_is_refused_before_anything_runs(
    old: str, new: str, says: str, plan: Plan, tmp_path: Path
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=f"(?s){says}"):
        check_options(ArmRun(read_plan(path), "rank", 5, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
