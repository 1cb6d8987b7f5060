"""How much the pictures of each group count in the loss.

Prior-preservation pictures (Ruiz et al. 2023, "DreamBooth") are a group like any other, with a share of the draws
and a weight in the loss, usually below 1. The loss of a batch is the mean of weight times error over its
pictures, never divided by the sum of weights: so it doesn't depend on how draws are dealt over batches.
"""

import math
from collections.abc import Iterable, Mapping


def full_loss_weights(groups: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of every group, sorted by name; 1 where none is given.

    Raises:
        ValueError: a name isn't that of a group, or a weight isn't a positive number.
    """
    known = sorted(groups)
    given = dict(weights or {})
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(
            f"data.loss_weights names the groups {unknown}, but the pictures have {known}. Name only these;"
            " a group that isn't named counts 1."
        )
    wrong = {name: weight for name, weight in given.items() if not (0 < weight < math.inf)}
    if wrong:
        raise ValueError(
            f"data.loss_weights has {wrong}: a weight must be a positive number. To leave a group out, take its"
            " pictures out of the folder."
        )
    return {name: float(given.get(name, 1.0)) for name in known}
