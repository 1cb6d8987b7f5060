"""Kinds of base model, one file a family: all that differs between Stable Diffusion 1.x, 2.x and XL.

`family.py` has the contract, `known.py` the list, and how a base, a LoRA file or a hub id is told. Nobody else asks
which family it is. Imports `text` and `diffusion`.
"""
