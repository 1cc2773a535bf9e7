"""`sta-tsn` that also writes the gradients of its first steps: python gradients_of_fit.py fit ...

A file of its own, for Lightning starts the other processes of DDP by the same file.
"""

import os
import sys
from pathlib import Path

import torch

from sta_tsn.cli import main
from sta_tsn.training.step_monitor import StepMonitor

STEPS = 2
log_norm = StepMonitor.on_before_optimizer_step


def log_and_keep(self, trainer, task, optimizer) -> None:
    log_norm(self, trainer, task, optimizer)
    if trainer.is_global_zero and trainer.global_step < STEPS:
        gradients = {}
        for name, parameter in task.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.clone()
        folder = Path(os.environ["GRADIENTS"])
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(gradients, folder / f"step{trainer.global_step}.pt")


if __name__ == "__main__":
    StepMonitor.on_before_optimizer_step = log_and_keep
    sys.exit(main(sys.argv[1:]))
