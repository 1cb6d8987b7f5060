"""Which picture comes at draw p, with which words: shares, balance, split, batches, cached latents.

Imports `folder` and `pictures`.
"""
