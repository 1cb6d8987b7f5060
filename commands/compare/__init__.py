"""`python train.py predict` and `test`: pictures of an adapter, and whether it is better than its base.

Imports `runs`, `terminal` and `watch`.
"""
