"""What is good or bad about a folder as material to learn from.

Imports `stream`, `folder` and `pictures`.
"""
