"""SMNet (Yang, Lu, Zhou, Entropy 2022, 24(3):368): a 2-D CNN that sees motion.

Two small modules in its residual blocks do it: SE mixes neighbouring frames, ME weights channels by
what changes. Letters: B clips of T frames, maps (B*T, C, H, W).

The abstract names the modules; the equations are not public to us, so all of this is a reading. It
is nearly ACTION-Net's module (Wang, She, Smolic, "ACTION-Net: Multipath Excitation for Action
Recognition", CVPR 2021; code: V-Sense/ACTION-Net, `models/action.py`), down to the initialisation:
the same shift-initialised convolution over time, the same 3x3x3 convolution of the channels' mean,
the same difference of squeezed neighbours with C/16 channels. What differs in ACTION-Net:

- It has a third branch, over channels: global average pooling, C/16 channels, a convolution over
  time. The abstract of SMNet speaks of two, so there is none here.
- Its motion branch works on the shifted maps x', ours on x itself (METHODS.md's reading).
- Its motion branch has no batch norm behind the expansion to C channels, ours has.
- It sits in every block, of MobileNetV2 too; ours in the first block of each of the four stages
  (`all_blocks` puts it into every block), and in ResNets alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import timm
import torch
from torch import Tensor, nn

from sta_tsn.errors import ConfigError
from sta_tsn.models.map_backbone import Backbone, build_backbone
from sta_tsn.models.tsn import FrameConsensus


class SpatioTemporalExcitation(nn.Module):
    """Mix each channel over time, and excite the positions that this singles out (SE).

        x'   = convolution over time of each channel of x
        y_SE = x' + x' * sigmoid(Conv3d(mean over channels of x'))

    The time convolution has 3 C weights and starts as a temporal shift: C/8 channels look forward,
    C/8 back, the rest stay.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.over_time = nn.Conv3d(
            channels, channels, (3, 1, 1), padding=(1, 0, 0), groups=channels, bias=False
        )
        self.where = nn.Conv3d(1, 1, 3, padding=1, bias=False)
        fold = channels // 8
        with torch.no_grad():
            self.over_time.weight.zero_()
            self.over_time.weight[:fold, 0, 2] = 1
            self.over_time.weight[fold : 2 * fold, 0, 0] = 1
            self.over_time.weight[2 * fold :, 0, 1] = 1

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, T, H, W) -> the same
        mixed = self.over_time(maps)
        return mixed * (1 + self.where(mixed.mean(1, keepdim=True)).sigmoid())


class MotionExcitation(nn.Module):
    """Excite the channels in which neighbouring frames differ (ME).

        z    = BN(Conv1x1(x)) with C/16 channels
        D_t  = DWConv3x3(z_{t+1}) - z_t, 0 for the last frame
        y_ME = x + x * sigmoid(BN(Conv1x1(GAP(D))))

    The depthwise convolution starts as the identity, so that frames that do not differ give D = 0.

    Args:
        channels: C.
        reduction: how many times fewer channels z has.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden)
        )
        self.align = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.expand = nn.Sequential(
            nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        nn.init.zeros_(self.align.weight)
        nn.init.ones_(self.align.weight[:, :, 1, 1])

    def difference(self, maps: Tensor, num_frames: int) -> Tensor:
        """Return D (B, T, C/16, H, W) of maps (B*T, C, H, W)."""
        squeezed = self.squeeze(maps)
        squeezed = squeezed.unflatten(0, (-1, num_frames))
        earlier = squeezed[:, :-1]
        later = squeezed[:, 1:]
        aligned = self.align(later.flatten(0, 1))
        aligned = aligned.unflatten(0, later.shape[:2])
        of_the_last = torch.zeros_like(squeezed[:, :1])
        return torch.cat([aligned - earlier, of_the_last], 1)

    def forward(self, maps: Tensor, num_frames: int) -> Tensor:
        """Return maps (B*T, C, H, W), each channel weighted by how much moves in it."""
        difference = self.difference(maps, num_frames).flatten(0, 1)
        pooled = difference.mean((2, 3), keepdim=True)
        weights = self.expand(pooled).sigmoid()
        return maps * (1 + weights)


class SMModule(nn.Module):
    """Add y_SE and y_ME, in front of a residual branch's first convolution.

    `num_frames` T is set before each pass.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.excite = SpatioTemporalExcitation(channels)
        self.motion = MotionExcitation(channels)
        self.num_frames = 1

    def forward(self, maps: Tensor) -> Tensor:  # (B*T, C, H, W) -> the same
        clips = maps.unflatten(0, (-1, self.num_frames))
        excited = self.excite(clips.transpose(1, 2))
        excited = excited.transpose(1, 2).flatten(0, 1)
        return excited + self.motion(maps, self.num_frames)


class ClipEncoder(nn.Module):
    """Encode frames that know their neighbours: clips (..., N, T, C, S, S) -> (..., N, T, D).

    Args:
        cnn: a timm ResNet.
        all_blocks: modules in every residual block; else in the first of each stage (four in all).

    Raises:
        ConfigError: the CNN has no such blocks.
    """

    def __init__(self, cnn: Backbone, all_blocks: bool = False):
        super().__init__()
        self.cnn = cnn
        self.feature_dim = cnn.num_features
        blocks = []
        for name, stage in cnn.net.named_children():
            if name.startswith("layer"):
                chosen = stage if all_blocks else stage[:1]
                blocks += [block for block in chosen if hasattr(block, "conv1")]
        if len(blocks) < 4:
            having = ", ".join(timm.list_models(module="resnet"))
            raise ConfigError(
                f"SMNet needs a ResNet's blocks, which backbone {cnn.name!r} has not. "
                f"These have them: {having}."
            )
        for block in blocks:
            block.conv1 = nn.Sequential(SMModule(block.conv1.in_channels), block.conv1)
        self.inserted = [block.conv1[0] for block in blocks]

    def forward(self, clips: Tensor) -> tuple[Tensor, None]:
        leading = clips.shape[:-3]
        num_frames = leading[-2] * leading[-1]  # time runs through all segments
        for module in self.inserted:
            module.num_frames = num_frames
        maps = self.cnn(clips.flatten(0, -4))
        features = maps.mean((2, 3))
        return features.unflatten(0, leading), None

    def in_one_pass(self, clips: Tensor) -> tuple[Tensor, None]:
        """Encode as `forward` does, which sees all frames together in any case."""
        return self(clips)

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Fold nothing: time runs through the maps, which a trace of single images would cut."""
        yield


class SMNet(FrameConsensus):
    """Score each frame by a 2-D ResNet with SMNet's modules, and take the average consensus.

    Args:
        num_classes: K.
        backbone: see `build_backbone`; ResNets only.
        weights: see `build_backbone`.
        all_blocks: see `ClipEncoder`.
        dropout: before the fully connected layer.
        num_channels: see `build_backbone`.

    Example:
        >>> SMNet(5, "resnet18")(torch.rand(2, 8, 1, 3, 224, 224)).scores.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str | dict = "resnet50",
        weights: str = "none",
        all_blocks: bool = False,
        dropout: float = 0.5,
        num_channels: int = 3,
    ):
        encoder = ClipEncoder(build_backbone(backbone, weights, num_channels), all_blocks)
        super().__init__(encoder, num_classes, dropout, {"all_blocks": all_blocks})
