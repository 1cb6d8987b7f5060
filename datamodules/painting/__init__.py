"""What `predict` and `test` paint: prompts of files and of the command line, as lists of pictures.

Imports none of the rooms.
"""
