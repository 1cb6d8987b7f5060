"""Optimizer and schedule: do they last the run, and what becomes of them on a resume?

Imports none of the rooms.
"""
