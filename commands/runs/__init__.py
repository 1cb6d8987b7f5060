"""What a run's folder holds and says: may it be this one, which adapter, which settings, its model card.

Imports `terminal` and `watch`.
"""
