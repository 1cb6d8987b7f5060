"""Weights of groups in the loss."""

import math
import re

import pytest

from datamodules.stream.loss_weights import full_loss_weights


def test_groups_that_are_not_named_count_1() -> None:
    assert full_loss_weights(["prior", "portrait"], {"prior": 0.25}) == {"portrait": 1.0, "prior": 0.25}
    assert full_loss_weights(["b", "a"], None) == {"a": 1.0, "b": 1.0}


def test_weights_of_other_groups_are_refused() -> None:
    message = (
        "data.loss_weights names the groups ['piror'], but the pictures have ['portrait', 'prior']."
        " Name only these; a group that isn't named counts 1."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        full_loss_weights(["portrait", "prior"], {"piror": 0.5, "portrait": 1})


@pytest.mark.parametrize("weight", [0, -1.5, math.inf, math.nan])
def test_weights_that_are_no_positive_numbers_are_refused(weight: float) -> None:
    message = f"data.loss_weights has {{'a': {weight}}}: a weight must be a positive number."
    with pytest.raises(ValueError, match=re.escape(message)):
        full_loss_weights(["a", "b"], {"a": weight})
