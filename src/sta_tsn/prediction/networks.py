"""The network of a checkpoint, built from its settings without the training code around it.

`sta_tsn.tasks` builds the same networks for training; it needs Lightning, which takes seconds to
import.
"""

from dataclasses import dataclass

from torch import nn

from sta_tsn import models
from sta_tsn.video.flow.flow_store import FLOW_STACK


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights and what belongs to it.

    model: in evaluation mode. classes: names of the K classes. hparams: settings that it was built
    from, and of its training. keeps_proportions: see `video.crops.frame_size`. system: STA-TSN,
    or the name of the network's class.
    """

    model: nn.Module
    classes: list[str]
    hparams: dict
    keeps_proportions: bool
    system: str


@dataclass(frozen=True)
class Description:
    """How a network is built again, without its weights.

    class_name: of `sta_tsn.models`. settings: arguments of it.
    """

    class_name: str
    settings: dict

    @property
    def system(self) -> str:
        """Return the name that papers give it, where that is another than its class's."""
        return "STA-TSN" if self.class_name == "STATSN" else self.class_name

    def build(self) -> nn.Module:
        """Build the network with random weights.

        Raises:
            ValueError: this version has no such network.
        """
        if self.class_name not in models.__all__:
            raise ValueError(f"this version has no network {self.class_name!r}")
        return getattr(models, self.class_name)(**self.settings)


def describe_earlier(settings: dict) -> Description | None:
    """Return what a checkpoint of an earlier version says of its network; None where it is of none.

    Args:
        settings: hyper-parameters of a task; the system shows in a name that one task alone saved.
    """
    if "classes" not in settings:
        return None
    if "network" in settings:
        whole = {"hidden_dim": settings["hidden_dim"], "dropout": settings["dropout"]}
        return Description("STATSN", {**whole, **settings["network"]})
    for key, class_name in CLASS_WITH.items():
        if key in settings:
            return Description(class_name, _stage_one_settings(settings, class_name))
    return None


def _stage_one_settings(settings: dict, class_name: str) -> dict:
    of_flow = settings.get("modality") == "flow"
    found = {
        "num_classes": len(settings["classes"]),
        "backbone": settings["backbone"],
        "dropout": settings["dropout"],
        "num_channels": 2 * FLOW_STACK if of_flow else 3,
    }
    for name in OWN_SETTINGS[class_name]:
        if name in settings:  # checkpoints of the first versions have no pool_mode
            found[name] = settings[name]
    return found


CLASS_WITH = {"all_blocks": "SMNet", "auxiliary_weight": "STIN", "spatial_attention": "TSN"}
OWN_SETTINGS = {
    "SMNet": ("all_blocks",),
    "STIN": (),
    "TSN": ("spatial_attention", "pool_sizes", "focus", "pool_mode"),
}
