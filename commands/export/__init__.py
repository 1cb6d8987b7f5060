"""`python train.py export` and `merge`: an adapter as other programs take it.

Imports `runs` and `terminal`.
"""
