"""From a study's rows to trained, tested and reported runs: what train and reproduce do."""
