"""What a run will hold in memory, told without loading it.

Imports `lora` and `base`.
"""
