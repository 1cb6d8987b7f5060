"""Two processes train what one process with the same global batch trains, and each goes on from the other.

Compared are the adapters, the draws of every step and the curves that TensorBoard shows. Two processes have unequal
parts of the rest: 5 held-out pictures and 3 prompts.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.ckpt_path import step_file
from tests.callbacks.tiny_painter import curve, events_of
from tests.distributed_run import TWO, fit, uneven_config
from tests.small_run import adapter
from tests.tiny_models import on_each_family
from tests.witness import draws_of

pytestmark = pytest.mark.processes

STEPS = 20
WATCHED = ("--trainer.callbacks+=tests.witness.Witness",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[Path, Path]]:
    """A base's settings, and their run; each is trained once."""

    @cache
    def run(base: Path) -> tuple[Path, Path]:
        config = uneven_config(tmp_path_factory.mktemp("distributed"), base)
        return config, fit(config, "one", *WATCHED, "--data.batch_size", "4")

    return run


@pytest.fixture
def config(base: Path, trained: Callable[[Path], tuple[Path, Path]]) -> Path:
    return trained(base)[0]


@pytest.fixture
def one(base: Path, trained: Callable[[Path], tuple[Path, Path]]) -> Path:
    """One process, batches of 4, 20 steps without a stop."""
    return trained(base)[1]


def assert_same_training(one: Path, other: Path) -> None:
    """The same draws in each step, and curves and adapters equal to 1e-5."""
    expected = {step: list(range(4 * step - 4, 4 * step)) for step in range(1, STEPS + 1)}
    assert draws_of(one) == draws_of(other) == expected
    ours, theirs = events_of(one), events_of(other)
    tags = {tag for tag in ours.Tags()["scalars"] if tag.split("/")[0] in ("train", "val", "lr")}
    assert {"train/loss", "train/loss_bin/0", "train/loss_group/portrait", "val/loss_group/landscape"} <= tags
    for tag in tags:
        assert curve(ours, tag) == pytest.approx(curve(theirs, tag), rel=1e-5, abs=1e-12), tag
    assert len(curve(ours, "train/loss")) == STEPS
    a, b = adapter(one, STEPS), adapter(other, STEPS)
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-6) for name in a)
    assert (one / "exposure.json").read_text() == (other / "exposure.json").read_text()


@on_each_family
def test_two_processes_do_what_one_does(config: Path, one: Path) -> None:
    two = fit(config, "two", *WATCHED, *TWO)
    assert_same_training(one, two)
    a, b = events_of(one), events_of(two)
    for tag in (tag for tag in a.Tags()["scalars"] if tag.startswith("clip_score")):
        assert curve(a, tag) == pytest.approx(curve(b, tag), abs=1e-2), tag
    assert "clip_score/style/lora/landscape" in a.Tags()["scalars"]
    (wanted,), (found,) = (run.Tensors("custom_scalars__config__") for run in (a, b))
    assert found.tensor_proto == wanted.tensor_proto
    names = {path.name for path in (one / "samples").glob("*.png")}
    assert names == {path.name for path in (two / "samples").glob("*.png")}
    assert len(names) == 6  # steps 0, 4, 8 ... 20
    for name in names:
        ours, theirs = (np.asarray(Image.open(run / "samples" / name)).astype(int) for run in (one, two))
        assert np.abs(ours - theirs).max() <= (
            1 if name == "step_000000.png" else 4
        )  # guided, from equal adapters
    only_the_adapter_is_exchanged(two)


def only_the_adapter_is_exchanged(two: Path) -> None:
    """Every process has loaded the frozen weights for itself."""
    size = sum(4 * tensor.numel() for tensor in adapter(two, STEPS).values())
    for rank in (0, 1):
        seen = json.loads((two / f"witness_{rank}_from_0.json").read_text())
        assert seen["bytes exchanged"] == size
        assert seen["buffers exchanged"] is False


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (
            TWO,
            ("--data.batch_size", "2", "--trainer.accumulate_grad_batches", "2"),
            "trainer.accumulate_grad_batches: 1 -> 2",
        ),
        (("--data.batch_size", "4"), TWO, "trainer.devices: auto -> 2"),
    ],
    ids=["two, then one that accumulates", "one, then two"],
)
def test_a_run_goes_on_with_another_number_of_processes(
    config: Path, one: Path, before: tuple[str, ...], after: tuple[str, ...], change: str
) -> None:
    name = f"from_{len(before)}"
    fit(
        config, name, *WATCHED, *before, "--trainer.max_steps", "8"
    )  # the last step is validated: one that is anyway
    other = fit(config, name, *WATCHED, *after, "--ckpt_path", "last")
    assert_same_training(one, other)
    texts = events_of(other).Tensors("resume/text_summary")
    assert change in texts[0].tensor_proto.string_val[0].decode()
    position = torch.load(step_file(other / "checkpoints", STEPS), weights_only=True)["CaptionImages"]
    assert position == {"position": 4 * STEPS, "step": STEPS}
