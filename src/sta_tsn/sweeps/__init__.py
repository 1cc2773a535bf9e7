"""W&B sweep files without a server.

`sweep` runs the trials of a `sweep_file`: values from its `search_space` by grid, chance or Optuna
(`proposals`), each trial as a `trial_process`, a stage of `training` in a folder of its own.
"""
