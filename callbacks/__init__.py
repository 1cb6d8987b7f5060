"""What happens around the training: samples, scores, checkpoints, exports, logs; one a file, named by what it does.

A callback knows the module by `protocols.py` alone: never imports `lightning_modules` or `datamodules`.
"""
