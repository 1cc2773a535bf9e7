"""Any timm CNN as a map extractor that knows its own input size and statistics."""

import ast
import inspect
import re
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from sta_tsn.errors import ConfigError, unknown

# What a weights header may say of its network: plain properties of layers. Everything else is refused, because a
# received file must not choose what is loaded or called (timm's `checkpoint_path` unpickles).
HEADER_OPTIONS = ("act_layer", "bn_eps", "norm_layer", "output_stride", "pad_type", "stem_type")
INPUT_SETTINGS = ("input_size", "mean", "std")

FLOW_MEAN, FLOW_STD = 0.5, 0.226  # TSN's, of stored flow in [0, 1]


class CNN(nn.Module):
    """uint8 images to the last convolutional map A: (M, num_channels, S, S) -> (M, C, H, W).

    uint8 is normalised here, on the device, with the backbone's statistics; floating-point input is taken as
    normalised already.

    Another number of channels than 3 (stacked flow) starts from the same ImageNet weights: TSN's cross-modality
    initialisation, the first convolution's mean over its three input channels, repeated.

    Args:
        name: a timm model, with or without its pretrained tag.
        weights: `none` (random), `imagenet` (timm's, fetched on first use) or the path of a safetensors or pth
            file. A safetensors header may say how the network was made and fed ("architecture": "timm NAME,
            key='value'", "input": "(x/255-MEAN)/STD"); both are then taken over.
        num_channels: of the input, 3 for RGB.
        options: further arguments of timm's constructor.
        mean, std: of inputs in [0, 1]; where None the header's or timm's, and TSN's 0.5 and 0.226 for flow.
        input_px: S of the crops that it is fed; None: timm's for this network, mostly 224.

    Raises:
        ConfigError: unknown or non-convolutional backbone, unreadable or foreign weights, no network, crops too small.
    """

    def __init__(
        self,
        name: str = "resnet152",
        weights: str = "none",
        num_channels: int = 3,
        options: dict | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        input_px: int | None = None,
    ):
        super().__init__()
        check_backbone_name(name)
        header = read_weights_header(weights) if _is_file(weights) else {}
        self.options = {**header.get("options", {}), **(options or {})}
        _refuse_loading(name, self.options)
        self.net = _create(name, weights == "imagenet", self.options)
        defaults = timm.data.resolve_model_data_config(self.net)
        self.name, self.input_px = (
            name,
            defaults["input_size"][-1] if input_px is None else input_px,
        )
        if self.input_px < 32:
            raise ConfigError(
                f"input_px={self.input_px}: the side of the crops in pixels, at least 32."
            )
        if num_channels == 3:
            mean, std = (
                mean or header.get("mean") or defaults["mean"],
                std or header.get("std") or defaults["std"],
            )
        else:
            mean, std = mean or (FLOW_MEAN,) * num_channels, std or (FLOW_STD,) * num_channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.num_features = self._check_map(name)
        self.loaded = (
            load_weights(self.net, weights) if _is_file(weights) else f"{name}: {weights} weights"
        )
        self.first_convolutions = [
            module
            for module in self.net.modules()
            if isinstance(module, nn.Conv2d) and module.in_channels == 3
        ]
        if num_channels != 3:
            repeat_input_channels(self.first_convolutions, num_channels)
        self.to(memory_format=torch.channels_last)

    @property
    def settings(self) -> dict:
        """Arguments that build the same network again, without its weights."""
        statistics = {
            "mean": tuple(self.mean.flatten().tolist()),
            "std": tuple(self.std.flatten().tolist()),
        }
        return {
            "name": self.name,
            "options": self.options,
            "num_channels": self.num_channels,
            "input_px": self.input_px,
            **statistics,
        }

    @property
    def num_channels(self) -> int:
        return self.mean.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            images = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self.net(images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """A frozen copy for evaluation whose batch norms are part of the convolutions; for uint8 images."""
        example = torch.zeros(1, self.num_channels, self.input_px, self.input_px, dtype=torch.uint8)
        return torch.jit.freeze(torch.jit.trace(self.eval(), example))

    @torch.no_grad()
    def _check_map(self, name: str) -> int:
        was_training = self.net.training
        maps = self.net.eval()(torch.zeros(1, 3, self.input_px, self.input_px))
        self.net.train(was_training)
        if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
            raise ConfigError(
                f"Backbone {name!r} ends in shape {tuple(maps.shape)}, not in a map (1, C, H, W). Take a CNN: resnet50, ..."
            )
        return maps.shape[1]


def build_cnn(backbone: str | dict, weights: str, num_channels: int) -> CNN:
    """From a timm name, or from the `settings` of a CNN, whose number of channels counts where they say it."""
    named = {"name": backbone} if isinstance(backbone, str) else backbone
    return CNN(weights=weights, **{"num_channels": num_channels, **named})


@torch.no_grad()
def repeat_input_channels(convolutions: list[nn.Conv2d], num_channels: int) -> None:
    """Make the convolutions that see RGB (several where a stem has branches: RepVGG) see `num_channels`, each with the mean of the three
    kernels.

    Raises:
        ConfigError: there is none.
    """
    if not convolutions:
        raise ConfigError(
            "No convolution of this backbone sees the RGB image itself: it cannot take flow. Choose another BACKBONE."
        )
    for convolution in convolutions:
        kernel = convolution.weight.mean(1, keepdim=True).repeat(1, num_channels, 1, 1)
        convolution.weight, convolution.in_channels = nn.Parameter(kernel), num_channels


def check_backbone_name(name: str) -> None:
    """Raise for names that timm does not know, with the nearest that it does."""
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown("backbone", name, timm.list_models())
    if tag and name not in (tagged := timm.list_pretrained(f"{base}.*")):
        raise unknown("pretrained tag of backbone", name, tagged or [base])


def _is_file(weights: str) -> bool:
    return weights not in ("none", "imagenet")


def _refuse_loading(name: str, options: dict) -> None:
    """Raise for options of `timm.create_model` itself: they say what is fetched and unpickled, not how a layer is made.

    An overlay of the size and statistics of the input is let through.
    """
    of_layers = ("drop_rate", "drop_path_rate", "kwargs")
    loading = set(inspect.signature(timm.create_model).parameters) - set(of_layers)
    for option in sorted(set(options) & loading):
        if option == "pretrained_cfg_overlay" and set(options[option]) <= set(INPUT_SETTINGS):
            continue
        raise ConfigError(
            f"Backbone {name!r}: the option {option}={options[option]!r} decides what is loaded. "
            "Leave it out and name the file in `weights`."
        )


def _create(name: str, pretrained: bool, options: dict) -> nn.Module:
    try:
        return timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", **options
        )
    except TypeError as error:
        raise ConfigError(
            f"Backbone {name!r} does not take the options {options}: {error}"
        ) from error
    except AssertionError as error:
        options = {"global_pool": "", **options}
        raise ConfigError(
            f"Backbone {name!r} cannot be built with {options} ({error}). Take a CNN: resnet50, ..."
        ) from error
    except Exception as error:  # the hub client raises many kinds when there is no network
        if not pretrained:
            raise
        raise ConfigError(
            f"The ImageNet weights of {name!r} could not be fetched ({type(error).__name__}). Without network: "
            "WEIGHTS=<file.safetensors or .pth> loads them from disk, WEIGHTS=none trains from random weights."
        ) from error


def read_weights_header(path: str) -> dict:
    """What a safetensors header says of the network: `options`, `mean`, `std`; {} where it says nothing."""
    if not Path(path).is_file():
        raise ConfigError(f"WEIGHTS={path}: no such file (nor 'imagenet' or 'none').")
    if not path.endswith(".safetensors"):
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ConfigError(f"WEIGHTS={path} is not a safetensors file: {error}") from error
    found: dict = {}
    options = re.findall(r"(\w+)=('[^']*'|[\w.]+)", metadata.get("architecture", ""))
    for key, value in options:
        if key not in HEADER_OPTIONS:
            raise ConfigError(
                f"WEIGHTS={path}: its header asks for {key}={value}; a header may set "
                f"{', '.join(HEADER_OPTIONS)} only. Do not use the file unless you know where it comes from."
            )
    if options:
        found["options"] = {key: ast.literal_eval(value) for key, value in options}
    statistics = re.search(r"\(x/255\s*-\s*([\d.]+)\)\s*/\s*([\d.]+)", metadata.get("input", ""))
    if statistics:
        found["mean"], found["std"] = ((float(value),) * 3 for value in statistics.groups())
    return found


def load_weights(net: nn.Module, path: str) -> str:
    """Load a local file into `net`; returns a line that says which keys matched.

    Raises:
        ConfigError: the file cannot be read safely, or fewer than half of the network's tensors are in it.
    """
    state = _read_state(path)
    own = net.state_dict()
    fitting = {
        key: value for key, value in state.items() if key in own and own[key].shape == value.shape
    }
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    unused = [key for key in state if key not in fitting]
    if len(fitting) < len(own) / 2:
        raise ConfigError(
            f"WEIGHTS={path} does not fit: {len(fitting)} of {len(own)} tensors match in name and shape.\n"
            f"  the network wants: {', '.join(missing[:4])}, ...\n  the file holds: {', '.join(list(state)[:4])}, ..."
        )
    net.load_state_dict(fitting, strict=False)
    line = f"{path}: {len(fitting)} of {len(own)} tensors matched"
    line += f", missing {', '.join(missing[:6])}" if missing else ""
    return line + (f", not used {', '.join(unused[:6])}" if unused else "")


def _read_state(path: str) -> dict[str, Tensor]:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"WEIGHTS={path} cannot be read as tensors alone ({type(error).__name__}): is it a safetensors or pth file?"
        ) from error
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise ConfigError(
            f"WEIGHTS={path} holds a {type(state).__name__}, not tensors by name (a state dict)."
        )
    return {
        key.removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
