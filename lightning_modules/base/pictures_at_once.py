"""How many pictures the UNet takes at once where nothing is trained: in samples, validations and the check of the base.

A fixed number of latents, by their size. It is chosen so that what fits while training fits there: for Stable Diffusion
XL at 1024 x 1024 the work of two latents at once takes 0.8 GB, that of a training step with checkpointing 0.7 to 1.5 at
batch 1 to 2 (`python train.py plan`), beside which the step has the adapter's gradients.
"""

CELLS = 16 * 64 * 64
"""Cells of latents at once; 64 x 64 are a picture of 512 x 512, so 8 of those with guidance."""

MOST_PICTURES = 8
"""Painted at once, however small."""


def predicted_together(height: int, width: int) -> int:
    """How many latents of a size, in cells, the UNet takes at once without gradients."""
    return max(1, CELLS // (height * width))


def painted_together(height: int, width: int, *, guided: bool) -> int:
    """How many pictures are painted at once; sizes in cells of latents. Guidance takes each twice."""
    return min(MOST_PICTURES, max(1, predicted_together(height, width) // (2 if guided else 1)))
