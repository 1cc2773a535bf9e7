"""STA-TSN: action recognition in video by spatial and temporal attention.

The names below are loaded on first use, so that `import sta_tsn` and `sta-tsn --help` stay quick.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_HOMES = {
    "ClassProbability": "sta_tsn.prediction",
    "Model": "sta_tsn.prediction",
    "Prediction": "sta_tsn.prediction",
    "Segment": "sta_tsn.prediction",
    "load": "sta_tsn.prediction",
    "FeatureDataModule": "sta_tsn.features",
    "VideoDataModule": "sta_tsn.video",
    "SkeletonAttention": "sta_tsn.tasks",
    "SkeletonDataModule": "sta_tsn.skeletons",
    "SpatialAttentionBackbone": "sta_tsn.tasks",
    "TemporalAttentionTSN": "sta_tsn.tasks",
    "STALSTM": "sta_tsn.models",
    "STATSN": "sta_tsn.models",
    "TSN": "sta_tsn.models",
}
__all__ = ["__version__", *_HOMES]

try:
    __version__ = version("sta-tsn")
except PackageNotFoundError:  # sources on the path, not installed
    __version__ = "unknown"


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'sta_tsn' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
