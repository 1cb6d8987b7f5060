"""The frozen base and its trained adapter: what a step, a validation, a sample and an export are.

From the top: `stable_diffusion_lora.py` on `adapted_model.py` on `model_options.py`, then `memory`, `painting`, `lora`,
`text`, `base`, `optimization`, `diffusion`. Each room imports those behind it; none imports `datamodules` or
`callbacks`.
"""
