"""What lies in a folder: pictures, captions, metadata, groups.

Imports `pictures`.
"""
