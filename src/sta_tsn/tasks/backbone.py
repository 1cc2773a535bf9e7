"""Stage one: a CNN with or without spatial attention, trained by TSN's recipe."""

from typing import Literal

import torch
from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from sta_tsn.errors import ConfigError
from sta_tsn.models import TSN, SMNet
from sta_tsn.tasks.recognition import ActionRecognition, classification_loss
from sta_tsn.video.flow.flow_store import FLOW_STACK

FLOW_FIRST_LR_SCALE = 5


class FrameRecognition(ActionRecognition):
    """Trains a network of frames or snippets by TSN's recipe, and gives its features.

    SGD with momentum 0.9, steps at fixed epochs, biases at twice the learning rate and without
    weight decay, partial batch normalisation: facts read off the public TSN code.

    Args:
        network: see `ActionRecognition`; with `encoder`, `classify`, and `settings`, the arguments
            of its class that build it again without its weights.
        classes: class names; their number is K.
        lr: learning rate of the backbone.
        head_lr_scale: rate of everything that is not the timm backbone, as a multiple (TSN: 1).
        lr_milestones: epochs after which the rate is divided by 10. None: it falls to zero along a
            cosine.
        weight_decay: of weights; biases and normalisation have none.
        label_smoothing: share of the target that is spread over all classes (0 to 1).
        modality: `rgb`, or `flow`: 20 input channels (x and y of ten pairs of frames),
            cross-modality initialisation, and TSN's five times the rate for the first convolution.
        trained_batch_norms: which of the backbone's do not keep their statistics and affine
            parameters. `first` is TSN's partial batch normalisation; `all` is for random weights,
            whose statistics mean nothing.
        frozen_share: share of the backbone's layers, as timm groups them, that keep their weights,
            from the input on (0 to 1). 0.625 is the stem and 4 of 7 groups of blocks in
            MobileNetV2, the stem and 2 of 4 layers in ResNets.
        optimizer: `sgd` is TSN's; `adamw` reaches parts whose gradients are small (what SMNet puts
            in, from random weights).
    """

    def __init__(
        self,
        network: nn.Module,
        classes: list[str],
        lr: float = 1e-3,
        head_lr_scale: float = 1.0,
        lr_milestones: tuple[int, ...] | None = (30, 60),
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.0,
        modality: Literal["rgb", "flow"] = "rgb",
        trained_batch_norms: Literal["all", "first", "none"] = "first",
        frozen_share: float = 0.0,
        optimizer: Literal["sgd", "adamw"] = "sgd",
    ):
        super().__init__(network, classes)
        # Before DDP looks which parameters it will have to wait for.
        freeze(self.model, trained_batch_norms, frozen_share)
        self.keep_hyperparameters("network")
        # They describe the network, not where its first weights came from.
        self.hparams.update(backbone=self.model.encoder.cnn.settings, weights="none")

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for norm in batch_norms(self.model):
            norm.train(norm.weight.requires_grad)

    def training_step(self, batch: dict) -> torch.Tensor:
        scores = self.model(batch["clips"].squeeze(1)).scores
        loss = classification_loss(scores, batch["labels"], self.hparams.label_smoothing)
        self.log_training(loss, scores, batch["labels"])
        return loss

    def validation_step(self, batch: dict) -> None:
        self.log_validation(self.model(batch["clips"].squeeze(1)).scores, batch["labels"])

    def configure_optimizers(self) -> dict:
        recipe = self.hparams
        first = 1 if recipe.modality == "rgb" else FLOW_FIRST_LR_SCALE
        scales = {"head": recipe.head_lr_scale, "first": first}
        groups = tsn_parameter_groups(self.model, recipe.lr, scales, recipe.weight_decay)
        if recipe.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9)
        else:
            optimizer = torch.optim.AdamW(groups)
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}

    def _scheduler(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        if self.hparams.lr_milestones is not None:
            return MultiStepLR(optimizer, list(self.hparams.lr_milestones), gamma=0.1)
        if (self.trainer.max_epochs or 0) < 1:
            raise ConfigError(
                f"trainer.max_epochs={self.trainer.max_epochs}: a cosine needs a last epoch. "
                "Give a number of epochs, or model.lr_milestones."
            )
        return CosineAnnealingLR(optimizer, self.trainer.max_epochs)


class SpatialAttentionBackbone(FrameRecognition):
    """Trains a `TSN` on N = 1 or 3 snippets per video with average consensus (Table 2, rows 1-3).

    Args:
        classes: see `FrameRecognition`.
        backbone: timm name of a network with a map, or the settings of one as a dict.
        weights: `imagenet`, `none` or a safetensors/pth file.
        spatial_attention: Eq 3-7; False: plain global average pooling.
        pool_sizes: a reading of Eq 4 to 6, see `SpatialAttention`.
        focus: likewise.
        pool_mode: likewise.
        dropout: before the fully connected layer.
        lr: see `FrameRecognition`, as the following ones.
        head_lr_scale: of everything that is not the timm backbone.
        lr_milestones: epochs after which the rate is divided by 10; None: a cosine.
        weight_decay: of weights.
        label_smoothing: share of the target, 0 to 1.
        modality: `rgb` or `flow`.
        trained_batch_norms: which keep learning.
        frozen_share: share of the backbone's layers that do not, 0 to 1.
        input_px: side of the crops that the backbone is fed, of whatever share of the frame. None:
            timm's for it, mostly the paper's 224.
        optimizer: `sgd` or `adamw`.
    """

    def __init__(
        self,
        classes: list[str],
        backbone: str | dict = "resnet152",
        weights: str = "imagenet",
        spatial_attention: bool = True,
        pool_sizes: tuple[int, ...] = (1, 3, 5, 7),
        focus: Literal["elementwise", "inner_product"] = "elementwise",
        pool_mode: Literal["stride1_max", "adaptive"] = "stride1_max",
        dropout: float = 0.8,
        lr: float = 1e-3,
        head_lr_scale: float = 1.0,
        lr_milestones: tuple[int, ...] | None = (30, 60),
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.0,
        modality: Literal["rgb", "flow"] = "rgb",
        trained_batch_norms: Literal["all", "first", "none"] = "first",
        frozen_share: float = 0.0,
        input_px: int | None = None,
        optimizer: Literal["sgd", "adamw"] = "sgd",
    ):
        network = TSN(
            len(classes),
            sized(backbone, input_px),
            weights,
            spatial_attention,
            pool_sizes,
            focus,
            pool_mode,
            dropout,
            num_channels(modality),
        )
        super().__init__(
            network,
            classes,
            lr,
            head_lr_scale,
            lr_milestones,
            weight_decay,
            label_smoothing,
            modality,
            trained_batch_norms,
            frozen_share,
            optimizer,
        )


class MotionBackbone(FrameRecognition):
    """Trains an `SMNet` on 8 or 16 frames per video, which see their neighbours.

    Args:
        classes: see `FrameRecognition`.
        backbone: a timm ResNet, or the settings of one as a dict.
        weights: `imagenet`, `none` or a safetensors/pth file.
        all_blocks: put SMNet's modules in every residual block, not only in each stage's first.
        dropout: before the fully connected layer.
        lr: see `FrameRecognition`, as the following ones.
        head_lr_scale: of everything that is not the timm backbone.
        lr_milestones: epochs after which the rate is divided by 10; None: a cosine.
        weight_decay: of weights.
        label_smoothing: share of the target, 0 to 1.
        modality: `rgb` or `flow`.
        trained_batch_norms: which keep learning.
        frozen_share: share of the backbone's layers that do not, 0 to 1.
        input_px: side of the crops that the backbone is fed, of whatever share of the frame. None:
            timm's for it, mostly the paper's 224.
        optimizer: `sgd` or `adamw`.
    """

    def __init__(
        self,
        classes: list[str],
        backbone: str | dict = "resnet50",
        weights: str = "imagenet",
        all_blocks: bool = False,
        dropout: float = 0.5,
        lr: float = 1e-3,
        head_lr_scale: float = 1.0,
        lr_milestones: tuple[int, ...] | None = (30, 60),
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.0,
        modality: Literal["rgb", "flow"] = "rgb",
        trained_batch_norms: Literal["all", "first", "none"] = "first",
        frozen_share: float = 0.0,
        input_px: int | None = None,
        optimizer: Literal["sgd", "adamw"] = "sgd",
    ):
        network = SMNet(
            len(classes),
            sized(backbone, input_px),
            weights,
            all_blocks,
            dropout,
            num_channels(modality),
        )
        super().__init__(
            network,
            classes,
            lr,
            head_lr_scale,
            lr_milestones,
            weight_decay,
            label_smoothing,
            modality,
            trained_batch_norms,
            frozen_share,
            optimizer,
        )


def num_channels(modality: str) -> int:
    """Return the channels of one frame, or of one stack of flow."""
    return 3 if modality == "rgb" else 2 * FLOW_STACK


def sized(backbone: str | dict, input_px: int | None) -> dict:
    """Return a backbone's settings with `input_px`, where they do not say a size themselves."""
    settings = {"name": backbone} if isinstance(backbone, str) else backbone
    return {"input_px": input_px, **settings}


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return all batch normalisations, also those that `sync_batchnorm` has made of them."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def new_parameters(model: nn.Module) -> set[int]:
    """Return ids of the parameters that the suite put into the backbone, never pretrained."""
    found = set()
    for module in model.encoder.inserted:
        found |= {id(parameter) for parameter in module.parameters()}
    return found


def freeze(model: nn.Module, trained_batch_norms: str, share: float) -> None:
    """Fix the backbone's first layers, and the batch normalisations that are not to be trained.

    Args:
        model: whose `encoder.cnn` is the backbone; what the suite inserted there stays trained.
        trained_batch_norms: `all`, `first` or `none`.
        share: of the layers that are fixed, from the input on.

    Raises:
        ConfigError: `share` is none, or timm does not say what this backbone's layers are.
    """
    new = new_parameters(model)
    norms = [norm for norm in batch_norms(model.encoder.cnn) if id(norm.weight) not in new]
    num_trained = {"all": len(norms), "first": 1, "none": 0}[trained_batch_norms]
    for norm in norms[num_trained:]:
        norm.requires_grad_(False)
    if not 0 <= share <= 1:
        raise ConfigError(f"frozen_share={share}: a share of the backbone's layers, from 0 to 1.")
    net = model.encoder.cnn.net
    try:
        layers = group_parameters(net, net.group_matcher(coarse=True)) if share else {}
    except (AttributeError, AssertionError) as error:
        raise ConfigError(
            f"frozen_share={share}: timm does not say what the layers of backbone "
            f"{model.encoder.cnn.name!r} are; set frozen_share to 0."
        ) from error
    for layer in range(int(share * len(layers))):
        for parameter in map(net.get_parameter, layers[layer]):
            parameter.requires_grad_(id(parameter) in new)


def tsn_parameter_groups(
    model: nn.Module, lr: float, scales: dict[str, float], weight_decay: float
) -> list[dict]:
    """Return the optimiser's groups of parameters, as TSN has them.

    The first convolution, the backbone and the rest have rates of their own; biases have twice the
    rate. Weights of two and more dimensions decay.

    Args:
        model: with `encoder.cnn`.
        lr: of the backbone.
        scales: of the rate, for `first` and `head`.
        weight_decay: of what decays.
    """
    new = new_parameters(model)
    backbone = {id(parameter) for parameter in model.encoder.cnn.parameters()} - new
    first = set()
    for convolution in model.encoder.cnn.first_convolutions:
        first |= {id(parameter) for parameter in convolution.parameters()}
    norms = _of_normalisation(model)
    groups: dict[tuple, list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = lr
        if id(parameter) in first:
            rate *= scales["first"]
        elif id(parameter) not in backbone:
            rate *= scales["head"]
        if name.endswith("bias") and id(parameter) not in norms:
            rate *= 2
        decay = 0.0 if parameter.ndim <= 1 else weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    found = []
    for (rate, decay), parameters in groups.items():
        found.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return found


def _of_normalisation(model: nn.Module) -> set[int]:
    """Return ids of the parameters of normalisations of whatever kind: their weight is a vector."""
    found = set()
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim <= 1:
            found |= {id(parameter) for parameter in module.parameters(recurse=False)}
    return found
