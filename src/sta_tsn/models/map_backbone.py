"""Any timm network as a map extractor that knows its own input size and statistics."""

import ast
import inspect
import re
import sys
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from sta_tsn.artefacts import read_torch_file
from sta_tsn.errors import ConfigError, UserError, unknown

# What a weights header may say of its network: plain properties of layers. Everything else is
# refused, because a received file must not choose what is loaded or called (timm's
# `checkpoint_path` unpickles).
HEADER_OPTIONS = ("act_layer", "bn_eps", "norm_layer", "output_stride", "pad_type", "stem_type")
INPUT_SETTINGS = ("input_size", "mean", "std")

# TSN's, of stored flow in [0, 1].
FLOW_MEAN = 0.5
FLOW_STD = 0.226


class Backbone(nn.Module):
    """Extract maps A by any timm network: images (M, num_channels, S, S) -> (M, C, H, W).

    A convolutional network gives its last map itself. Of the others (vision and hierarchical
    transformers, hybrids, networks that cannot leave out their pooling) timm's
    `forward_intermediates` gives the last normalised map: one position a patch or window cell,
    without class and register tokens. Layers behind that map, which nothing would train, are left
    out. So is done for networks (VGG) whose own last map is a single position.

    uint8 images are normalised here, on the device, with the backbone's statistics; floating-point
    images are taken as normalised already.

    Another number of channels than 3 (stacked flow) starts from the same ImageNet weights: TSN's
    cross-modality initialisation, the first convolution's mean over its three input channels,
    repeated.

    Args:
        name: of a timm model, with or without its pretrained tag.
        weights: `none` (random), `imagenet` (timm's, fetched on first use) or the path of a
            safetensors or pth file. A safetensors header may say how the network was made and fed
            ("architecture": "timm NAME, key='value'", "input": "(x/255-MEAN)/STD"); both are then
            taken over.
        num_channels: of the input, 3 for RGB.
        options: further arguments of timm's constructor.
        mean: of inputs in [0, 1]; where None the header's or timm's, and TSN's 0.5 for flow.
        std: of inputs in [0, 1]; where None the header's or timm's, and TSN's 0.226 for flow.
        input_px: S of the crops that it is fed; None: timm's for this network, mostly 224. A
            network of another fixed size is built anew for these crops where timm can (`img_size`).

    Raises:
        ConfigError: unknown backbone or one without a map, unreadable or foreign weights, no
            network, crops that are too small or that this backbone cannot take.
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
        self.name = name
        self.input_px = defaults["input_size"][-1] if input_px is None else input_px
        if self.input_px < 32:
            raise ConfigError(
                f"input_px={self.input_px}: the side of the crops in pixels, at least 32."
            )
        if num_channels == 3:
            mean = mean or header.get("mean") or defaults["mean"]
            std = std or header.get("std") or defaults["std"]
        else:
            mean = mean or (FLOW_MEAN,) * num_channels
            std = std or (FLOW_STD,) * num_channels
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self._map = _last_map
        self.num_features = self._check_map(weights == "imagenet")
        self.loaded = f"{name}: {weights} weights"
        if _is_file(weights):
            self.loaded = load_weights(self.net, weights)
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
        """Return arguments that build the same network again, without its weights."""
        return {
            "name": self.name,
            "options": self.options,
            "num_channels": self.num_channels,
            "input_px": self.input_px,
            "mean": tuple(self.mean.flatten().tolist()),
            "std": tuple(self.std.flatten().tolist()),
        }

    @property
    def num_channels(self) -> int:
        """Return that of the images it is fed: 3 of RGB, 20 of stacked flow."""
        return self.mean.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Return the map of images uint8 (M, C, S, S), or of floats that are normalised already."""
        if not images.is_floating_point():
            images = images.to(self.mean.dtype) / 255
            images = (images - self.mean) / self.std
        images = images.contiguous(memory_format=torch.channels_last)
        return self._map(self.net, images)

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """Return a frozen copy for evaluation whose batch norms are part of the convolutions.

        It takes uint8 images. Networks whose map is an intermediate one are returned as they are:
        transformers have no batch norms, and a trace would fix the size of their batch.
        """
        if self._map is not _last_map:
            return self.eval()
        example = torch.zeros(1, self.num_channels, self.input_px, self.input_px, dtype=torch.uint8)
        return torch.jit.freeze(torch.jit.trace(self.eval(), example))

    def _check_map(self, pretrained: bool) -> int:
        """Find out how the network maps crops of `input_px`, and return the map's channels C."""
        made_for_px = timm.data.resolve_model_data_config(self.net)["input_size"][-1]
        maps, reason = self._try_map()
        if maps is None or self._map is not _last_map:
            self._check_patches()
        if maps is None and "img_size" not in self.options:
            options = {**self.options, "img_size": self.input_px}
            try:
                self.net = _create(self.name, pretrained, options)
            except Exception:  # this network has no such argument, or not for this size
                raise self._refusal(made_for_px, reason) from None
            maps, reason = self._try_map()
        if maps is None:
            raise self._refusal(made_for_px, reason)
        return maps.shape[1]

    def _check_patches(self) -> None:
        size = getattr(getattr(self.net, "patch_embed", None), "patch_size", None)
        side_px = size[0] if isinstance(size, tuple) else size
        if isinstance(side_px, int) and self.input_px % side_px:
            raise ConfigError(
                f"input_px={self.input_px}: backbone {self.name!r} cuts crops into patches of "
                f"{side_px} px; set input_px to a multiple, such as "
                f"{self.input_px // side_px * side_px}."
            )

    def _refusal(self, size_px: int, reason: str) -> ConfigError:
        if size_px == self.input_px:
            return ConfigError(
                f"Backbone {self.name!r} gives no map (1, C, H, W) ({reason}). "
                "Take another one: resnet50, vit_small_patch16_dinov3, ..."
            )
        return ConfigError(
            f"Backbone {self.name!r} is made for crops of {size_px} px and cannot take "
            f"input_px={self.input_px} ({reason}); set input_px to {size_px}."
        )

    def _try_map(self) -> tuple[Tensor | None, str]:
        """Return the map of one black image, or None and why there is none. Chooses `_map`."""
        was_training = self.net.training
        self.net.eval()
        image = torch.zeros(1, 3, self.input_px, self.input_px)
        last = None
        try:
            with torch.no_grad():
                last = _last_map(self.net, image)
            reason = f"it ends in shape {tuple(last.shape)}" if isinstance(last, Tensor) else ""
        except Exception as error:  # each network checks its input in its own way
            reason = _one_line(error)
        found = None
        if _is_map(last) and last.shape[-1] > 1:
            self._map = _last_map
            found = last
        elif hasattr(self.net, "forward_intermediates"):
            found, problem = self._try_intermediate_map(image)
            reason = problem or reason
        if found is None and _is_map(last):  # small crops leave one position
            self._map = _last_map
            found = last
        self.net.train(was_training)
        return found, reason

    def _try_intermediate_map(self, image: Tensor) -> tuple[Tensor | None, str]:
        reason = ""
        for candidate in (_normalised_intermediate_map, _intermediate_map):
            try:
                with torch.enable_grad():
                    maps = candidate(self.net, image)
            except Exception as error:  # as above
                reason = reason or _one_line(error)
                continue
            if _is_map(maps) and maps.shape[-1] > 1:
                self._map = candidate
                _leave_out_untouched(self.net, maps)
                return maps.detach(), ""
            reason = reason or f"it ends in shape {tuple(maps.shape)}"
        return None, reason


CNN = Backbone  # the name until 2026, when only convolutional networks gave a map


def _last_map(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)


def _normalised_intermediate_map(net: nn.Module, images: Tensor) -> Tensor:
    return net.forward_intermediates(
        images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
    )[-1]


def _intermediate_map(net: nn.Module, images: Tensor) -> Tensor:
    """Return the last map of a network that normalises behind its pooling only (Hiera)."""
    return net.forward_intermediates(
        images, indices=1, norm=False, output_fmt="NCHW", intermediates_only=True
    )[-1]


def _is_map(maps: object) -> bool:
    """Tell (1, C, H, W) with H = W from tokens, vectors, and from maps with the channels last."""
    return isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[2] == maps.shape[3]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:120] or type(error).__name__


def _leave_out_untouched(net: nn.Module, maps: Tensor) -> None:
    """Drop the layers that the map did not pass (heads); fix single parameters that it did not.

    Distributed training stops at parameters without a gradient, and checkpoints need not hold them.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    with torch.enable_grad():  # whoever builds a frozen network may have turned it off
        total = maps.sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    touched = {id(parameter) for parameter, gradient in pairs if gradient is not None}
    for name, child in list(net.named_children()):
        own = list(child.parameters())
        if own and not any(id(parameter) in touched for parameter in own):
            setattr(net, name, nn.Identity())
    for parameter in net.parameters():
        if id(parameter) not in touched:
            parameter.requires_grad_(False)


def build_backbone(backbone: str | dict, weights: str, num_channels: int) -> Backbone:
    """Build from a timm name, or from a backbone's `settings`, whose number of channels counts."""
    named = {"name": backbone} if isinstance(backbone, str) else backbone
    return Backbone(weights=weights, **{"num_channels": num_channels, **named})


@torch.no_grad()
def repeat_input_channels(convolutions: list[nn.Conv2d], num_channels: int) -> None:
    """Make the convolutions that see RGB see `num_channels`, each with its three kernels' mean.

    There are several where a stem has branches (RepVGG).

    Raises:
        ConfigError: there is none.
    """
    if not convolutions:
        raise ConfigError(
            "No convolution of this backbone sees the RGB image itself, so it cannot take flow; "
            "choose another backbone."
        )
    for convolution in convolutions:
        kernel = convolution.weight.mean(1, keepdim=True).repeat(1, num_channels, 1, 1)
        convolution.weight = nn.Parameter(kernel)
        convolution.in_channels = num_channels


def check_backbone_name(name: str) -> None:
    """Raise ConfigError for names that timm does not know, with the nearest that it does."""
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown("backbone", name, timm.list_models())
    if tag and name not in (tagged := timm.list_pretrained(f"{base}.*")):
        raise unknown("pretrained tag of backbone", name, tagged or [base])


def _is_file(weights: str) -> bool:
    return weights not in ("none", "imagenet")


def _refuse_loading(name: str, options: dict) -> None:
    """Raise for options of `timm.create_model` itself.

    They say what is fetched and unpickled, not how a layer is made. An overlay of the size and
    statistics of the input is let through.
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
    """Build without class scores, and without pooling where the network can leave it out."""
    try:
        try:
            return timm.create_model(name, pretrained, num_classes=0, global_pool="", **options)
        except AssertionError:  # "Cannot disable pooling": its map is read in front of the pooling
            return timm.create_model(name, pretrained, num_classes=0, **options)
    except TypeError as error:
        raise ConfigError(
            f"Backbone {name!r} does not take the options {options}: {error}"
        ) from error
    except AssertionError as error:
        raise ConfigError(
            f"Backbone {name!r} cannot be built with {options} ({error}); take another one."
        ) from error
    except Exception as error:  # the hub client raises many kinds when there is no network
        if not pretrained:
            raise
        raise ConfigError(
            f"The ImageNet weights of {name!r} could not be fetched ({type(error).__name__}). "
            "Without network: set weights to a safetensors or pth file on disk, "
            "or to none, which trains from random weights."
        ) from error


def read_weights_header(path: str) -> dict:
    """Return what a safetensors header says of the network: `options`, `mean`, `std`, or {}."""
    if not Path(path).is_file():
        raise ConfigError(f"weights={path}: no such file (nor 'imagenet' or 'none').")
    if not path.endswith(".safetensors"):
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ConfigError(f"weights={path} is not a safetensors file: {error}") from error
    found: dict = {}
    options = re.findall(r"\b(\w+)=('[^']*'|[\w.]+)", metadata.get("architecture", ""))
    for key, value in options:
        if key not in HEADER_OPTIONS:
            raise ConfigError(
                f"weights={path}: its header asks for {key}={value}; a header may set "
                f"{', '.join(HEADER_OPTIONS)} only. Do not use the file unless you know where it "
                "comes from."
            )
    if options:
        found["options"] = {key: ast.literal_eval(value) for key, value in options}
    statistics = re.search(r"\(x/255\s*-\s*([\d.]+)\)\s*/\s*([\d.]+)", metadata.get("input", ""))
    if statistics:
        mean, std = statistics.groups()
        found["mean"] = (float(mean),) * 3
        found["std"] = (float(std),) * 3
    return found


def load_weights(net: nn.Module, path: str) -> str:
    """Load a local file into `net` and return a line that says which keys matched.

    Raises:
        ConfigError: the file cannot be read safely, or it holds fewer than half of the network's
            tensors.
    """
    state = _resized(net, _read_state(path))
    own = net.state_dict()
    fitting = {
        key: value for key, value in state.items() if key in own and own[key].shape == value.shape
    }
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    unused = [key for key in state if key not in fitting]
    if len(fitting) < len(own) / 2:
        raise ConfigError(
            f"weights={path} does not fit: {len(fitting)} of {len(own)} tensors match in name and "
            f"shape.\n  the network wants: {', '.join(missing[:4])}, ...\n"
            f"  the file holds: {', '.join(list(state)[:4])}, ..."
        )
    net.load_state_dict(fitting, strict=False)
    parts = [f"{path}: {len(fitting)} of {len(own)} tensors matched"]
    if missing:
        parts.append(f"missing {', '.join(missing[:6])}")
    if unused:
        parts.append(f"not used {', '.join(unused[:6])}")
    return ", ".join(parts)


def _resized(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Interpolate the position embeddings of weights that were made for crops of another size."""
    own = getattr(net, "pos_embed", None)
    given = state.get("pos_embed")
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if own is None or given is None or convert is None or own.shape == given.shape:
        return state
    return convert(state, net)


def _read_state(path: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path) if path.endswith(".safetensors") else read_torch_file(path)
    except (SafetensorError, UserError) as error:
        raise ConfigError(
            f"weights={path} cannot be read as tensors alone ({error}): is it a safetensors or pth "
            "file?"
        ) from error
    for wrapper in ("state_dict", "model"):
        state = state.get(wrapper, state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise ConfigError(
            f"weights={path} holds a {type(state).__name__}, not tensors by name (a state dict)."
        )
    return {
        key.removeprefix("module."): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
