"""Captions and weighted prompts -> what the UNet reads, and what was read already.

Imports none of the rooms.
"""
