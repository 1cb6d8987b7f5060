"""The frozen base and its trained adapter: what a step, a validation, a sample and an export are.

From the top: the module, then `memory`, `painting`, `lora`, `text`, `base`, `optimization`, `diffusion`. Each room
imports those behind it; none imports `datamodules` or `callbacks`.
"""
