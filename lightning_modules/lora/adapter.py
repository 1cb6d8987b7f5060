"""An adapter outside of a UNet: what is read of a file, and what is written into one.

Layers go by their module paths in diffusers. What each file format makes of it is in `diffusers_format.py` and
`kohya_format.py`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from lightning_modules.lora.layers import ADAPTER, lora_layers, lora_state

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Adapter:
    """An adapter outside of a UNet; each layer may have a rank and a strength of its own.

    Attributes:
        state: A and B in peft naming.
        strengths: by module path, what B A x is multiplied with (alpha / rank).
    """

    state: dict[str, Tensor]
    strengths: dict[str, float]

    def rank(self, path: str) -> int:
        """Rows of a layer's A."""
        return len(self.state[f"{path}.lora_A.weight"])

    def alpha(self, path: str) -> float:
        """The alpha that gives a layer its strength: alpha / rank."""
        return round(self.strengths[path] * self.rank(path), 9)  # 2.5 / 7 * 7 is 2.5000000000000004


def adapter_of(unet: nn.Module) -> Adapter:
    """Copies of a UNet's adapters: float32, on the CPU."""
    strengths = {path: float(layer.scaling[ADAPTER]) for path, layer in lora_layers(unet).items()}
    return Adapter(lora_state(unet), strengths)


def describe(adapter: Adapter) -> str:
    """An adapter in a few words: layers, ranks, alphas."""
    ranks = sorted({adapter.rank(path) for path in adapter.strengths})
    alphas = sorted({adapter.alpha(path) for path in adapter.strengths})
    return (
        f"{len(adapter.strengths)} layers, rank {', '.join(map(str, ranks))}, "
        f"alpha {', '.join(f'{alpha:g}' for alpha in alphas)}"
    )


def commonest(values: Collection[Number]) -> Number:
    """The value that occurs most often; of several the first."""
    return Counter(values).most_common(1)[0][0]


def ranks_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Rows of each layer's A.

    Raises:
        ValueError: there are none.
    """
    downs = {
        name.removesuffix(".lora_A.weight"): t for name, t in state.items() if name.endswith(".lora_A.weight")
    }
    empty = sorted(path for path, tensor in downs.items() if tensor.dim() < 2 or len(tensor) == 0)
    if empty:
        raise ValueError(f"these layers have an A that is no matrix with rows: {', '.join(empty)}")
    return {path: len(tensor) for path, tensor in downs.items()}


def flat_matrix(tensor: Tensor) -> Tensor | None:
    """A matrix [r, C] of a linear layer, or the same as a 1x1 convolution [r, C, 1, 1]; nothing of any other shape."""
    if tensor.dim() < 2 or any(size != 1 for size in tensor.shape[2:]):
        return None
    return tensor.reshape(tensor.shape[:2])


def alpha_value(name: str, tensor: Tensor) -> float:
    """The number in a layer's alpha.

    Args:
        name: of the tensor, for messages.
        tensor: the alpha.

    Raises:
        ValueError: it isn't one finite number.
    """
    if tensor.numel() != 1 or not bool(torch.isfinite(tensor)):
        raise ValueError(
            f"{name} must be one number; it is {tensor.tolist() if tensor.numel() < 9 else 'a matrix'}"
        )
    return float(tensor)
