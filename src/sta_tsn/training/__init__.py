"""One stage in one process: LightningCLI, the stage from start to score table, monitors and loggers."""
