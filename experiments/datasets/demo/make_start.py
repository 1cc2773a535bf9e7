"""Make start.safetensors, the weights that the demo's small CNN starts from.

The paper's CNN starts from ImageNet. The demo needs neither a download nor hours: its CNN learns
here to name the shape and the hue of actors on rendered stills, on scenes without the settings that
mislead in the demo. Of the eight shapes six are the demo's, in any of twelve hues.

It takes five minutes of one core. Rounding differs between CPUs, so another one gives weights that
are not the same to the last bit; those in the repository were made once.

Run from the root of the checkout: python experiments/datasets/demo/make_start.py
"""

import colorsys
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from sta_tsn.datasets.demo import ACTIONS, UNRELATED, Action, render_still

OUT = Path(__file__).with_name("start.safetensors")
ACTORS = (*ACTIONS.values(), *UNRELATED)
NUM_HUES = 12
NUM_STILLS = 16000
NUM_TEST_STILLS = 1000
SIDES_PX = (80, 70)  # of the crop; made 64 px, an actor is as large as in the demo's crops
CROP_PX = 64
ACTOR_MARGIN_PX = 20  # from the actor's middle to the crop's edge, at least
EPOCHS = 12
BATCH_SIZE = 64
PEAK_LR = 4e-3
SEED = 123


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    stills, shapes, hues = render_stills()
    net = timm.create_model(
        "test_resnet",
        num_classes=0,
        global_pool="",
        output_stride=16,
        stem_width=8,
        channels=(16, 24, 32, 48),
    )
    learn(net, stills, shapes, hues)
    halves = {}
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            halves[name] = tensor.half()
    save_file(halves, OUT)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


def render_stills() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return uint8 (16000, 3, 64, 64) stills with the numbers of their shapes and hues."""
    generator = np.random.default_rng(SEED)
    stills = np.empty((NUM_STILLS, CROP_PX, CROP_PX, 3), np.uint8)
    shapes = generator.integers(len(ACTORS), size=NUM_STILLS)
    hues = generator.integers(NUM_HUES, size=NUM_STILLS)
    for number in track(range(NUM_STILLS), description="Rendering stills"):
        actor = ACTORS[shapes[number]]
        colour = colour_of_hue(hues[number], generator)
        painted = Action(actor.corners, colour, actor.motion, actor.radius_px, actor.reach_px)
        stills[number] = random_crop(render_still(painted, generator), generator)
    return (
        torch.from_numpy(stills).permute(0, 3, 1, 2),
        torch.from_numpy(shapes),
        torch.from_numpy(hues),
    )


def colour_of_hue(hue: int, generator: np.random.Generator) -> tuple[int, ...]:
    """Return an RGB colour near the hue, more or less saturated and bright."""
    shift = generator.uniform(-0.4, 0.4)
    saturation = generator.uniform(0.55, 0.95)
    value = generator.uniform(0.7, 1)
    colour = colorsys.hsv_to_rgb((hue + shift) / NUM_HUES % 1, saturation, value)
    return tuple(int(255 * channel) for channel in colour)


def random_crop(still: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return uint8 (64, 64, 3) of a square that the actor in the still's middle lies within."""
    side = generator.choice(SIDES_PX)
    corner = []
    for length in still.shape[:2]:
        nearest = length // 2 + ACTOR_MARGIN_PX - side
        farthest = length // 2 - ACTOR_MARGIN_PX
        corner.append(int(generator.integers(nearest, farthest + 1)))
    top, left = corner
    square = still[top : top + side, left : left + side]
    return cv2.resize(square, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)


def learn(net: nn.Module, stills: torch.Tensor, shapes: torch.Tensor, hues: torch.Tensor) -> None:
    """Train on all stills but the last 1000, and print how many of those are named rightly."""
    statistics = net.pretrained_cfg
    mean = torch.tensor(statistics["mean"])[:, None, None]
    std = torch.tensor(statistics["std"])[:, None, None]
    head = nn.Linear(net.num_features, len(ACTORS) + NUM_HUES)

    def scores(of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = net((stills[of] / 255 - mean) / std)
        both = head(maps.mean((2, 3)))
        return both[:, : len(ACTORS)], both[:, len(ACTORS) :]

    num_learned = NUM_STILLS - NUM_TEST_STILLS
    parameters = [*net.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.05)
    steps = EPOCHS * (num_learned // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps)
    for epoch in range(EPOCHS):
        net.train()
        order = torch.randperm(num_learned)
        batches = order.split(BATCH_SIZE)[: num_learned // BATCH_SIZE]
        for batch in track(batches, description=f"Epoch {epoch + 1} of {EPOCHS}"):
            of_shape, of_hue = scores(batch)
            loss = F.cross_entropy(of_shape, shapes[batch]) + F.cross_entropy(of_hue, hues[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    tested = torch.arange(num_learned, NUM_STILLS)
    with torch.no_grad():
        of_shape, of_hue = scores(tested)
    right_shapes = (of_shape.argmax(1) == shapes[tested]).float().mean()
    right_hues = (of_hue.argmax(1) == hues[tested]).float().mean()
    print(f"Named rightly: {right_shapes:.1%} of the shapes, {right_hues:.1%} of the hues")


if __name__ == "__main__":
    main()
