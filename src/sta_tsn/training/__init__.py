"""One stage in one process: LightningCLI, from start to score table, monitors and loggers."""
