"""Adapters: put on layers, averaged, merged, read and written in everybody's formats, and checked.

Imports `base` and `diffusion`.
"""
