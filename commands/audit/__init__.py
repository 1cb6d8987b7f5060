"""`python train.py audit`: what is wrong with a folder, as text, page and JSON.

Imports `terminal`.
"""
