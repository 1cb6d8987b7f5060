"""From a folder of captioned pictures to batches: what is there, what is wrong with it, which picture comes when.

From the top: the data modules, then `audit`, `stream`, `folder`, `pictures`; beside them `painting`. Each room imports
those behind it and the kinds of problem (`problems.py`); none imports `lightning_modules` or `callbacks`.
"""
