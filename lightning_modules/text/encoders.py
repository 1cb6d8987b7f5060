"""A base's text encoders with their tokenizers, and which of their states the UNet reads."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

ReadStates = Callable[[Any, Tensor, int], tuple[Tensor, Tensor | None]]
"""A text encoder, token ids int64 [N, 77] and `clip_skip` -> states [N, 77, D] and, where it has one, a pooled vector
[N, P]."""


class TextEncoders(nn.ModuleDict):
    """The text encoders of a base, by their folder's name; what each makes of a text is joined along the width.

    Attributes:
        tokenizers: of each encoder; they have one vocabulary, and may fill up with different tokens.
        read_states: token ids -> what the UNet reads of them.
        most_clip_skip: the largest `clip_skip` that can be read.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
        *,
        read_states: ReadStates,
        most_clip_skip: Callable[[int], int],
    ) -> None:
        super().__init__(dict(encoders))
        self.tokenizers = dict(tokenizers)
        self.read_states = read_states
        first: Any = next(iter(encoders.values()))
        self.most_clip_skip = most_clip_skip(first.config.num_hidden_layers)

    @property
    def tokenizer(self) -> Any:
        """The first tokenizer, which cuts for all."""
        return next(iter(self.tokenizers.values()))

    @property
    def pools(self) -> bool:
        """Whether they give a pooled vector: that of the encoder with a projection."""
        return any(hasattr(encoder, "text_projection") for encoder in self.values())


def last_states(encoder: Any, ids: Tensor, clip_skip: int) -> tuple[Tensor, None]:
    """The last layer's states, or an earlier one's, behind the final layer norm: Stable Diffusion 1.x and 2.x."""
    if clip_skip == 0:
        return encoder(ids).last_hidden_state, None
    hidden = encoder(ids, output_hidden_states=True).hidden_states
    return encoder.final_layer_norm(hidden[-(clip_skip + 1)]), None


def penultimate_states(encoder: Any, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
    """The states of the layer before the last, without a norm, whatever `clip_skip`: Stable Diffusion XL.

    The pooled vector is of the encoder that has a projection: its last state, normed, at the first end token.
    """
    output = encoder(ids, output_hidden_states=True)
    return output.hidden_states[-2], getattr(output, "text_embeds", None)
