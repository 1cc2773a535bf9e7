"""A frozen network that looks at whole clips: a video transformer of the `transformers` library."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sta_tsn.artefacts import file_fingerprint, fingerprint, first_line
from sta_tsn.errors import ConfigError
from sta_tsn.features.frozen_encoder import FrozenEncoder, Kept

CLIP_ENCODER = "transformers:"  # begins the name of such a backbone


@dataclass(frozen=True)
class ClipShape:
    """What a clip encoder takes and gives.

    Attributes:
        num_frames: of a clip.
        frames_per_token: that one token stands for.
        side_px: of the crops.
        patch_px: side of the patch that one token stands for.
        width: D of a token.
    """

    num_frames: int
    frames_per_token: int
    side_px: int
    patch_px: int
    width: int


class ClipEncoder:
    """V-JEPA 2 or VideoMAE, used as they are: clips -> tokens (T', H', W', D).

    A clip is F frames, of which tokens stand for `frames_per_entry` each: T' = F / frames_per_entry
    time steps. Every token has attended to its whole clip: its time span says where it stands, not
    all that it has seen. Frames are resized, cropped and normalised by the encoder's own processor.
    Tokens are what the network's last block gives, behind its last norm where it has one.

    Args:
        backbone: `transformers:` and a folder as `save_pretrained` writes it, or a name on Hugging
            Face's hub, fetched on first use; tensors are read from safetensors files alone, and no
            code that comes with them is run.
        weights: None for those of the folder; `none` for random ones.
        device: that encodes.

    Raises:
        ConfigError: the library or the network is not there, it is neither V-JEPA 2 nor VideoMAE,
            its weights are incomplete, or its processor crops to another size than it takes.
    """

    def __init__(
        self, backbone: str, weights: str | None = None, device: str | torch.device = "cpu"
    ):
        if weights not in (None, "none"):
            raise ConfigError(
                f"weights={weights}: {backbone} brings its own; leave the argument out, or give "
                "none for random ones."
            )
        self.backbone = backbone
        self.weights = weights
        self.device = torch.device(device)

    @property
    def source(self) -> str:
        """Return the folder or the name on the hub."""
        source = self.backbone.removeprefix(CLIP_ENCODER)
        folder = Path(source).expanduser()
        if folder.is_dir():
            return str(folder)
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            raise ConfigError(
                f"{self.backbone}: no such folder. Behind {CLIP_ENCODER} stands one with "
                "config.json, model.safetensors and video_preprocessor_config.json, or owner/name "
                "on Hugging Face's hub."
            )
        return source

    @property
    def about(self) -> dict[str, str]:
        """Return what tells two encoders apart: weights by their content, and the processor."""
        settings = self.processor.to_dict()
        return {
            "backbone": self.backbone,
            "weights": self._weights_fingerprint(),
            "preprocessing": f"{type(self.processor).__name__} {fingerprint(settings)}",
        }

    def _weights_fingerprint(self) -> str:
        if self.weights == "none":
            return f"none {fingerprint(self._config.to_dict())}"
        files = sorted(Path(self.source).glob("*.safetensors"))
        if files:
            return fingerprint([file_fingerprint(file) for file in files])
        return str(getattr(self._config, "_commit_hash", "unknown"))

    @property
    def frames_per_entry(self) -> int:
        """Return the frames that one stored entry stands for."""
        return self.shape.frames_per_token

    def sampled(self, frames: tuple[int, int]) -> tuple[int, int]:
        """Return clips of a video and frames of each, of the segments x frames of a recipe."""
        return frames[0], self.shape.num_frames

    @cached_property
    def shape(self) -> ClipShape:
        """Return what the network takes and gives."""
        config = self._config
        if config.model_type == "vjepa2":
            num_frames = config.frames_per_clip
            side_px = config.crop_size
        elif config.model_type == "videomae":
            num_frames = config.num_frames
            side_px = config.image_size
        else:
            raise ConfigError(
                f"{self.backbone} is a {config.model_type}; clip encoders are V-JEPA 2 (vjepa2) "
                "and VideoMAE (videomae). Features by others can be imported: import-features."
            )
        return ClipShape(
            num_frames, config.tubelet_size, side_px, config.patch_size, config.hidden_size
        )

    @cached_property
    def processor(self):
        """Return the encoder's own preprocessing; one that crops to another size is refused."""
        transformers = _library()
        try:
            processor = transformers.AutoVideoProcessor.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.backbone} does not say how its frames are prepared ({first_line(error)}): "
                "its folder wants a video_preprocessor_config.json."
            ) from error
        black = torch.zeros(self.shape.num_frames, 3, 64, 64, dtype=torch.uint8)
        height, width = _prepared(processor, black).shape[-2:]
        if {height, width} != {self.shape.side_px}:
            raise ConfigError(
                f"{self.backbone} takes crops of {self.shape.side_px} px, its processor makes them "
                f"{width} x {height}: set crop_size in video_preprocessor_config.json."
            )
        return processor

    @cached_property
    def network(self) -> nn.Module:
        """Return the network, built on first use: where everything is stored, none is needed."""
        transformers = _library()
        if self.weights == "none":
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = transformers.AutoModel.from_config(self._config)
        else:
            network = self._load(transformers)
        return network.eval().requires_grad_(False).to(self.device)

    def _load(self, transformers) -> nn.Module:
        try:
            network, told = transformers.AutoModel.from_pretrained(
                self.source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"The weights of {self.backbone} cannot be loaded ({first_line(error)}): it "
                "wants a model.safetensors that fits its config.json."
            ) from error
        if told["missing_keys"]:
            names = sorted(told["missing_keys"])
            raise ConfigError(
                f"{self.backbone}: {len(names)} tensors are not in its weights ({names[0]}, ...); "
                "they would be random. Take the folder of a whole network."
            )
        return network

    @cached_property
    def _config(self):
        transformers = _library()
        try:
            return transformers.AutoConfig.from_pretrained(self.source)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"No network {self.backbone} ({first_line(error)}). A machine that does not reach "
                f"Hugging Face's hub takes a copy of its folder, named behind {CLIP_ENCODER}."
            ) from error

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Change nothing: transformers have no batch norms to fold."""
        yield

    def entry_shapes(self, kept: Kept) -> dict[str, tuple[int, ...]]:
        """Return the shape of what `encode` keeps of one time step, by name."""
        side = self.shape.side_px // self.shape.patch_px
        shapes = {"features": (self.shape.width,), "maps": (side, side, self.shape.width)}
        if kept == "pooled":
            del shapes["maps"]
        if kept == "map":
            del shapes["features"]
        return shapes

    @torch.no_grad()
    def encode(
        self, frames: np.ndarray, crops: int = 1, kept: Kept = "pooled"
    ) -> dict[str, Tensor]:
        """Encode frames uint8 (N F, H, W, 3), the N clips of a video one after another.

        Args:
            frames: of one video.
            crops: 1, the crop of the encoder's processor.
            kept: of each time step.

        Returns:
            `features` float (1, N T', D), the mean over the positions, and `maps` float
            (1, N T', H', W', D), as `kept` says.

        Raises:
            ConfigError: other crops than 1.
        """
        check_one_crop(self.backbone, crops)
        images = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        maps = torch.cat([self._tokens(clip) for clip in images.split(self.shape.num_frames)])
        encoded = {"features": maps.mean((1, 2))[None], "maps": maps[None]}
        return {name: encoded[name] for name in self.entry_shapes(kept)}

    def _tokens(self, clip: Tensor) -> Tensor:
        """Return the tokens (T', H', W', D) of a clip uint8 (F, 3, H, W)."""
        pixels = _prepared(self.processor, clip).to(self.device)
        if self._config.model_type == "vjepa2":
            found = self.network(pixels, skip_predictor=True)
        else:
            found = self.network(pixels)
        side = self.shape.side_px // self.shape.patch_px
        tokens = found.last_hidden_state[0].float().cpu()
        return tokens.unflatten(0, (-1, side, side))


def find_encoder(backbone: str, weights: str | None) -> FrozenEncoder | ClipEncoder:
    """Return the frozen encoder of a name: a timm network, or a clip encoder.

    Args:
        backbone: a timm name, or `transformers:` and what `ClipEncoder` takes.
        weights: see the two; None for pretrained ones.
    """
    if backbone.startswith(CLIP_ENCODER):
        return ClipEncoder(backbone, weights)
    return FrozenEncoder(backbone, weights or "imagenet")


def check_one_crop(backbone: str, crops: int) -> None:
    """Raise ConfigError for other crops than 1: a clip encoder has a crop of its own."""
    if crops != 1:
        raise ConfigError(
            f"crops={crops}: {backbone} prepares its clips itself, with one crop; leave it out."
        )


def _prepared(processor, clip: Tensor) -> Tensor:
    """Return what the network is fed (1, F, 3, S, S), of a clip uint8 (F, 3, H, W)."""
    inputs = processor([clip], do_sample_frames=False, return_tensors="pt")
    return inputs[processor.model_input_names[0]]


def _library():
    """Return the `transformers` library, silenced."""
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            "Clip encoders need the transformers library: pip install 'sta-tsn[transformers]'."
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
