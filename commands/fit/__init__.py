"""`python train.py fit`: train.

Imports `runs`, `terminal` and `watch`.
"""
