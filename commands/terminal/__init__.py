"""How the command line talks: the parser, config files, options that can't be, errors in plain words.

Imports `watch`.
"""
