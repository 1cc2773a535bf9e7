"""Multiply-adds and parameters of SMNet beside the plain 2-D network, TSM and a 3-D ResNet.

    .venv/bin/python experiments/benchmarks/cost.py

Eight frames of 224 x 224 pixels, 174 classes (Something-Something), one view. Nothing is
downloaded; no weights are needed.
"""

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import r3d_18

from sta_tsn.models import STIN, TSN, SMNet

NUM_CLASSES = 174
FRAMES = (1, 8, 1, 3, 224, 224)


def cost(model: nn.Module, clip: torch.Tensor) -> tuple[float, float]:
    """Return billions of multiply-adds of one clip, and millions of parameters.

    A multiply-add counts once, as in the papers.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(clip)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return counter.get_total_flops() / 2e9, num_parameters / 1e6


def main() -> None:
    frames = torch.rand(FRAMES)
    pairs = torch.rand(1, 8, 1, 6, 224, 224)
    clip = frames[0, :, 0].transpose(0, 1)[None]  # (1, 3, 8, 224, 224), as 3-D networks take it
    plain = cost(TSN(NUM_CLASSES, "resnet50", spatial_attention=False), frames)
    rows = {
        "TSN, ResNet-50": plain,
        "TSM, ResNet-50 (a shift multiplies nothing)": plain,
        "SMNet, ResNet-50, four modules": cost(SMNet(NUM_CLASSES, "resnet50"), frames),
        "SMNet, ResNet-50, every block": cost(SMNet(NUM_CLASSES, all_blocks=True), frames),
        "STIN, ResNet-50, spatial stream, 8 pairs": cost(STIN(NUM_CLASSES, "resnet50"), pairs),
        "R3D-18 (torchvision)": cost(r3d_18(num_classes=NUM_CLASSES), clip),
    }
    table = Table(
        "network",
        "G multiply-adds",
        "to TSN",
        "M parameters",
        title=f"8 frames of 224 x 224, torch {torch.__version__}",
    )
    for name, (multiply_adds, parameters) in rows.items():
        ratio = multiply_adds / plain[0]
        table.add_row(name, f"{multiply_adds:.2f}", f"{ratio:.3f}", f"{parameters:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
