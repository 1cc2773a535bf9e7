"""Lightning's classes, from whichever of its two packages this program uses.

`lightning` and `pytorch_lightning` hold the same code twice, and a Trainer of one refuses modules
of the other. A program that has imported `lightning` before it first uses a class of this suite
gets the suite built on that; all others, the suite's own commands among them, pytorch_lightning.
"""

import sys

PACKAGE = "pytorch_lightning"
if "lightning.pytorch" in sys.modules and PACKAGE not in sys.modules:
    PACKAGE = "lightning.pytorch"

if PACKAGE == "lightning.pytorch":
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
    from lightning.pytorch.loggers import CSVLogger, WandbLogger
    from lightning.pytorch.loggers.csv_logs import ExperimentWriter
    from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
    from lightning.pytorch.plugins.io import TorchCheckpointIO
    from lightning.pytorch.strategies import DDPStrategy
    from lightning.pytorch.utilities import rank_zero_only
    from lightning.pytorch.utilities.parsing import save_hyperparameters
else:
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
    from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
    from pytorch_lightning.loggers import CSVLogger, WandbLogger
    from pytorch_lightning.loggers.csv_logs import ExperimentWriter
    from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
    from pytorch_lightning.plugins.io import TorchCheckpointIO
    from pytorch_lightning.strategies import DDPStrategy
    from pytorch_lightning.utilities import rank_zero_only
    from pytorch_lightning.utilities.parsing import save_hyperparameters

__all__ = [
    "PACKAGE",
    "CSVLogger",
    "Callback",
    "DDPStrategy",
    "ExperimentWriter",
    "LearningRateMonitor",
    "LightningDataModule",
    "LightningEnvironment",
    "LightningModule",
    "ModelCheckpoint",
    "SLURMEnvironment",
    "TQDMProgressBar",
    "TorchCheckpointIO",
    "Trainer",
    "WandbLogger",
    "rank_zero_only",
    "save_hyperparameters",
]
