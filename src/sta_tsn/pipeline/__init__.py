"""From a study's rows to trained, tested and reported runs: what `make train` and `make reproduce` do."""
