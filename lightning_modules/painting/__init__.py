"""Prompts and seeds -> pictures.

Imports `text` and `base`.
"""
