"""The moving average of the adapter, by hand arithmetic."""

import pytest
import torch
from torch import nn

from lightning_modules.lora.ema import AdapterEma


def one_weight(value: float) -> dict[str, nn.Parameter]:
    return {"a": nn.Parameter(torch.tensor([value]))}


def test_the_decay_warms_up_as_stated() -> None:
    weights = one_weight(0.0)
    ema = AdapterEma(weights, 0.9)
    weights["a"].data.fill_(1.0)
    ema.update()  # decay 1/10: 0.1 * 0 + 0.9 * 1
    ema.update()  # decay 2/11: 2/11 * 0.9 + 9/11
    with ema.applied():
        assert weights["a"].item() == pytest.approx(2 / 11 * 0.9 + 9 / 11)
    assert weights["a"].item() == 1.0


def test_the_raw_weights_return_after_an_error_and_after_nesting() -> None:
    weights = one_weight(2.0)
    ema = AdapterEma(weights, 0.5)
    weights["a"].data.fill_(3.0)

    def fails_inside() -> None:
        with ema.applied(), ema.applied():
            assert weights["a"].item() == 2.0
            raise KeyError

    with pytest.raises(KeyError):
        fails_inside()
    assert weights["a"].item() == 3.0


def test_a_resume_goes_on_with_the_same_average() -> None:
    weights = one_weight(0.0)
    straight, saved = AdapterEma(weights, 0.9), AdapterEma(weights, 0.9)
    weights["a"].data.fill_(1.0)
    straight.update()
    saved.update()
    resumed = AdapterEma(weights, 0.9)
    resumed.load_state_dict(saved.state_dict())
    straight.update()
    resumed.update()
    assert torch.equal(straight.state_dict()["average"]["a"], resumed.state_dict()["average"]["a"])


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_a_decay_that_makes_no_average_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"--model.ema_decay is .*between 0 and 1"):
        AdapterEma(one_weight(0.0), decay)


def test_another_adapters_average_is_refused() -> None:
    ema = AdapterEma(one_weight(0.0), 0.9)
    with pytest.raises(ValueError, match="another adapter"):
        ema.load_state_dict({"updates": 1, "average": {"b": torch.zeros(1)}})
