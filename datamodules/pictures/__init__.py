"""One picture: decoded as the eye sees it, cropped, remembered by its content.

Imports none of the rooms.
"""
