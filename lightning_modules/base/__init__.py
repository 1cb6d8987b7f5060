"""A base model: where its files are, what it is, how it is loaded, frozen, compiled, moved on and off the device.

Imports `text` and `diffusion`; what differs between families stands in `families`.
"""
