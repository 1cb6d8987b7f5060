"""What all need and nothing owns: random numbers, whole files, tensors on disk and between devices, the hub, paths.

Imports none of the other packages.
"""
