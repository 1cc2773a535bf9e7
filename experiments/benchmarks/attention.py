"""Measure what spatial attention adds to a ResNet-152's forward and backward pass.

    python experiments/benchmarks/attention.py [FRAMES=4] [ROUNDS=9]

FRAMES frames of 224 x 224 pixels, fp32, one CPU thread, CPU time; nothing is downloaded. Time: the
attention's own pass over the network's map beside the whole network's, in turn. Memory: tensors
that are kept for the backward pass, parameters left out, with the attention and without it. The
second row scores with one convolution of the concatenated pyramid, as the equation is written.
"""

import statistics
import sys
import time
from collections.abc import Iterable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from sta_tsn.models import TSN, SpatialAttention

NUM_CLASSES = 101


class ConcatenatedAttention(SpatialAttention):
    """Score positions by one convolution of all levels side by side."""

    def _logits(self, levels: Iterable[Tensor]) -> Tensor:
        return self.score(torch.cat(list(levels), dim=1))


def seconds(module: nn.Module, inputs: Tensor) -> float:
    """Return the CPU time of one forward and backward pass."""
    start = time.process_time()
    outputs = module(inputs)
    outputs[0].square().sum().backward()
    return time.process_time() - start


def kept_mb(module: nn.Module, inputs: Tensor) -> float:
    """Return the megabytes that a forward pass keeps for the backward one, without parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = module(inputs)
    total = sum(storage.nbytes() for storage in kept.values())
    del outputs
    return total / 1e6


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    num_frames = int(options.get("FRAMES", 4))
    num_rounds = int(options.get("ROUNDS", 9))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    clips = torch.rand(1, 1, num_frames, 3, 224, 224)
    network = TSN(NUM_CLASSES, "resnet152", spatial_attention=False)
    encoder = network.encoder
    with torch.no_grad():
        maps = encoder.cnn(clips.flatten(0, 2))
    maps.requires_grad_()
    plain_mb = kept_mb(network, clips)
    attentions = {
        "level by level": SpatialAttention(encoder.cnn.num_features),
        "concatenated": ConcatenatedAttention(encoder.cnn.num_features),
    }
    added_mb = {}
    for name, attention in attentions.items():
        nn.init.normal_(attention.score.weight, std=0.01)
        encoder.attention = attention
        added_mb[name] = kept_mb(network, clips) - plain_mb
    encoder.attention = None
    shares = {name: [] for name in attentions}
    for _ in range(num_rounds):
        whole = seconds(network, clips)
        for name, attention in attentions.items():
            shares[name].append(seconds(attention, maps) / whole)
    table = Table(
        "scores",
        "share of time, median (least to most)",
        "MB a frame",
        "share of memory",
        title=f"spatial attention beside ResNet-152, torch {torch.__version__}",
    )
    for name in attentions:
        middle = statistics.median(shares[name])
        table.add_row(
            name,
            f"{middle:.2%} ({min(shares[name]):.2%} to {max(shares[name]):.2%})",
            f"{added_mb[name] / num_frames:.2f} of {plain_mb / num_frames:.1f}",
            f"{added_mb[name] / plain_mb:.2%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
