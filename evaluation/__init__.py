"""Scores, statistics, plots and pages: from pictures and texts to numbers and words. Pure.

Imports `foundation` alone; all may import it.
"""
