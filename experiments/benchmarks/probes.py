"""What a grid of twenty heads costs beside one head, and what waiting for features costs.

Command: python experiments/benchmarks/probes.py FEATURES=<store of frozen features> [STEPS=20]
Printed are CPU seconds of 300 steps (the recipes' training), reading and optimiser included, and
the share of the grid's seconds in which its features were read and laid together.
"""

import sys
import time

import torch

from sta_tsn.features import FrozenFeatureDataModule
from sta_tsn.tasks import AttentiveProbing, LinearProbing, ProbeGrid
from sta_tsn.tasks.probe import LRS, WEIGHT_DECAYS, losses_of_heads

STEPS_OF_A_TRAINING = 300


def seconds_a_step(
    task: ProbeGrid, data: FrozenFeatureDataModule, num_steps: int
) -> tuple[float, float]:
    """Return the CPU seconds of one step, and those of its reading.

    They are measured after a first epoch that fills the memory.
    """
    groups = []
    for head, (lr, weight_decay) in zip(task.model.heads, task.settings, strict=True):
        parameters = list(head.parameters())
        groups.append({"params": parameters, "lr": lr, "weight_decay": weight_decay})
    optimizer = torch.optim.AdamW(groups, fused=True)
    loader = data.train_dataloader()
    spent = 0.0
    reading = 0.0
    for _ in range(2):
        reading = 0.0
        begun = time.process_time()
        batches = iter(loader)
        for _ in range(num_steps):
            asked = time.process_time()
            batch = next(batches)
            reading += time.process_time() - asked
            features = batch["features"].squeeze(1).float()
            loss = losses_of_heads(task.model.scores_of_all(features), batch["labels"]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        spent = time.process_time() - begun
    return spent / num_steps, reading / num_steps


def main(arguments: list[str]) -> None:
    given = dict(argument.split("=", 1) for argument in arguments)
    if "FEATURES" not in given:
        sys.exit(__doc__)
    num_steps = int(given.get("STEPS", "20"))
    torch.set_num_threads(1)
    data = FrozenFeatureDataModule(given["FEATURES"], iterations_per_epoch=num_steps)
    print("head, one head s, grid of 20 s, grid over one, twenty after each other s, reading %")
    for kind in (LinearProbing, AttentiveProbing):
        about = (data.classes, data.feature_dim, data.frames)
        one = kind(*about, lrs=LRS[:1], weight_decays=WEIGHT_DECAYS[:1])
        alone = STEPS_OF_A_TRAINING * seconds_a_step(one, data, num_steps)[0]
        step, reading = seconds_a_step(kind(*about), data, num_steps)
        grid = STEPS_OF_A_TRAINING * step
        waiting = 100 * reading / step
        print(
            f"{kind.__name__}, {alone:.1f}, {grid:.1f}, {grid / alone:.1f}, {20 * alone:.1f}, "
            f"{waiting:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
