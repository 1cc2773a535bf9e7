"""How things are run on a machine, from `make train` down.

`pipeline` walks the `rows` of a model's table, `reproduce` does so for splits and seeds and scores `attention`; `stage` takes
one row from start to score table; `cli` is the LightningCLI that builds its trainer, task and data, `configuration` checks its
keys first; `folder` knows a run's files and whether it is done.
"""
