"""Processes of a run that are watched, so that none is left behind or waited for in vain."""
