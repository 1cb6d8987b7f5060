"""`python train.py plan`: what a run of `fit` will hold in memory.

Imports `fit` and `terminal`.
"""
