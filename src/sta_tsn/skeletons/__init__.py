"""How skeletons arrive: normalised and augmented (`augment`), as padded batches (`datamodule`)."""

from sta_tsn.skeletons.augment import normalised
from sta_tsn.skeletons.datamodule import SkeletonDataModule, padded_batch

__all__ = ["SkeletonDataModule", "normalised", "padded_batch"]
