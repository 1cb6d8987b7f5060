"""Means over pictures, however these were dealt over batches and processes."""

import json
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from lightning_modules.diffusion.held_out_loss import HeldOutLoss


def test_means_are_over_pictures_by_hand() -> None:
    loss = HeldOutLoss()
    loss.add(torch.tensor([1.0, 2.0]), torch.tensor([0, 0]), ["a", "b"])
    loss.add(torch.tensor([6.0]), torch.tensor([3]), ["a"])
    assert loss.means() == {
        "val/loss": 3.0,
        "val/loss_bin/0": 1.5,
        "val/loss_bin/3": 6.0,
        "val/loss_group/a": 3.5,
        "val/loss_group/b": 2.0,
    }
    assert loss.means() == {}


def _one_of_two(rank: int, folder: Path) -> None:
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    loss = HeldOutLoss()
    if rank == 0:  # the other has no held-out picture
        loss.add(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]), ["a", "a"])
    (folder / f"{rank}.json").write_text(json.dumps(loss.means()))
    torch.distributed.destroy_process_group()


def test_a_process_without_pictures_has_the_same_means(tmp_path: Path) -> None:
    spawn(_one_of_two, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    means = {"val/loss": 2.0, "val/loss_bin/0": 1.0, "val/loss_bin/1": 3.0, "val/loss_group/a": 2.0}
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [means] * 2
