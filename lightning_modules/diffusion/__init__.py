"""The mathematics of diffusion: schedule, noise, timesteps, prediction, weighting, and the check of a base. Pure.

Imports `foundation` alone.
"""
