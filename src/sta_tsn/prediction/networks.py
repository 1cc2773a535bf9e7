"""The network of a checkpoint, built from its settings without the training code around it.

`sta_tsn.tasks` builds the same networks for training; it needs Lightning, which takes seconds to
import.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from sta_tsn.models import STATSN, STIN, TSN, SMNet
from sta_tsn.video.flow.flow_store import FLOW_STACK


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights and what belongs to it.

    model: in evaluation mode. classes: names of the K classes. hparams: settings that it was built
    from, and of its training. keeps_proportions: see `video.crops.frame_size`. system: STA-TSN,
    SMNet, STIN or TSN.
    """

    model: nn.Module
    classes: list[str]
    hparams: dict
    keeps_proportions: bool
    system: str


def system_of(settings: dict) -> str | None:
    """Return which system a checkpoint's settings are of; None: of none for videos."""
    if "classes" not in settings:
        return None
    return next((name for key, name in SYSTEM_WITH.items() if key in settings), None)


def build_network(settings: dict) -> nn.Module:
    """Build the network that a checkpoint's settings describe, with random weights.

    Args:
        settings: hyper-parameters of a task of the suite, of which `system_of` knows the system.
    """
    return BUILDER_OF[system_of(settings)](settings)


def _sta_tsn(settings: dict) -> nn.Module:
    return STATSN(
        hidden_dim=settings["hidden_dim"], dropout=settings["dropout"], **settings["network"]
    )


def _tsn(settings: dict) -> nn.Module:
    readings = ("pool_sizes", "focus", "pool_mode")
    return TSN(
        len(settings["classes"]),
        settings["backbone"],
        spatial_attention=settings["spatial_attention"],
        dropout=settings["dropout"],
        num_channels=_num_channels(settings),
        # Checkpoints of the first versions have no pool_mode.
        **{name: settings[name] for name in readings if name in settings},
    )


def _smnet(settings: dict) -> nn.Module:
    return SMNet(
        len(settings["classes"]),
        settings["backbone"],
        all_blocks=settings["all_blocks"],
        dropout=settings["dropout"],
        num_channels=_num_channels(settings),
    )


def _stin(settings: dict) -> nn.Module:
    return STIN(
        len(settings["classes"]),
        settings["backbone"],
        dropout=settings["dropout"],
        num_channels=_num_channels(settings),
    )


def _num_channels(settings: dict) -> int:
    return 2 * FLOW_STACK if settings.get("modality") == "flow" else 3


# By the setting that one task alone writes into its checkpoints.
SYSTEM_WITH = {
    "network": "STA-TSN",
    "all_blocks": "SMNet",
    "auxiliary_weight": "STIN",
    "spatial_attention": "TSN",
}
BUILDER_OF: dict[str, Callable[[dict], nn.Module]] = {
    "STA-TSN": _sta_tsn,
    "SMNet": _smnet,
    "STIN": _stin,
    "TSN": _tsn,
}
