"""Commands that need no Trainer: plain functions, dispatched by train.py before Lightning is imported."""
