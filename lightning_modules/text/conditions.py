"""What the UNet reads of texts: their tokens' states and, of families that have one, a pooled vector."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foundation.transfer import to_device


class TextConditions(NamedTuple):
    """Of one text.

    Attributes:
        context: what cross attention reads, [77 k, D]; k is 1 unless the text takes several windows.
        pooled: [P], of the first window; null in families without.
    """

    context: Tensor
    pooled: Tensor | None = None


class TextBatch(NamedTuple):
    """Of B texts.

    Attributes:
        context: [B, 77 k, D] with the longest text's k, filled up with zeros.
        mask: what the UNet takes as `encoder_attention_mask`, bool [B, 77 k]; null if all texts are equally long.
        pooled: [B, P], or null.
    """

    context: Tensor
    mask: Tensor | None
    pooled: Tensor | None


def join_conditions(texts: Sequence[TextConditions]) -> TextBatch:
    """Texts of unequal lengths as one batch.

    A text must not depend on its neighbours in the batch: what fills up the shorter ones is hidden by the mask.
    """
    contexts = [text.context for text in texts]
    lengths = torch.tensor([len(context) for context in contexts])
    joined = torch.nn.utils.rnn.pad_sequence(contexts, batch_first=True)
    pooled = [text.pooled for text in texts if text.pooled is not None]
    mask = None
    if not bool((lengths == lengths.max()).all()):
        mask = to_device(torch.arange(joined.shape[1]) < lengths.unsqueeze(1), joined.device)
    return TextBatch(joined, mask, torch.stack(pooled) if pooled else None)
