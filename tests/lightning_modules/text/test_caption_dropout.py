"""Caption dropout: its share, and that it is a function of the draw."""

import torch

from lightning_modules.text.caption_dropout import drop_captions


def test_caption_dropout_takes_its_share_and_is_a_function_of_the_draw() -> None:
    draws = torch.arange(2000)
    dropped = drop_captions(["x"] * 2000, 0.1, seed=1, draws=draws)
    assert 150 < dropped.count("") < 250  # 200 expected, standard deviation 13
    assert drop_captions(["x"] * 500, 0.1, seed=1, draws=draws[:500]) == dropped[:500]
    assert drop_captions(["x"] * 5, 0.0, seed=1, draws=draws[:5]) == ["x"] * 5
    assert drop_captions(["x"] * 5, 1.0, seed=1, draws=draws[:5]) == [""] * 5
