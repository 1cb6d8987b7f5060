"""Ablations: arms in a YAML, trained and evaluated alike, and one report."""
