"""What all need and nothing owns: random numbers, whole files, tensors on disk and between devices, the hub, paths.

Here, too, is told once what the packages mean by a picture to paint, a trained picture and an export.

Imports none of the other packages.
"""
