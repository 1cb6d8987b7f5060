"""The commands behind `train.py`, a package each. They join all other packages.

From the top: `plan`, then `fit`, `compare`, `export` and `audit`, then `runs`, `terminal`, `watch`.
"""
