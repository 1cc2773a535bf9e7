"""STA-LSTM on whole sequences beside the same network stepped through time. Run: python experiments/benchmarks/sta_lstm.py

Each subnet's LSTM sees the joints as they are, so a whole sequence goes through it at once, and then through the main LSTM. The
other way is as the equations are written: frame by frame, one LSTM cell after another. Both have the same weights and give the
same scores. Eight sequences of SBU's shape (2 x 15 joints), one CPU thread, in turn; evaluation mode, without dropout.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models import STALSTM

BATCH, NUM_JOINTS, NUM_CLASSES, ROUNDS = 8, 30, 8, 30


def step(
    lstm: nn.LSTM, layer: int, frame: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """One cell of one layer with the LSTM's own weights: frame (B, inputs), state h and c (B, H), to the next state."""
    weights = [
        getattr(lstm, f"{kind}_l{layer}")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    return torch.lstm_cell(frame, state, *weights)


def stepped(model: STALSTM, joints: Tensor) -> Tensor:
    """`STALSTM.forward` (B, T, J, 3) -> scores (B, K), frame by frame."""
    zeros = joints.new_zeros(len(joints), model.main.lstm.hidden_size)
    subnet, frames = {"spatial": (zeros, zeros), "temporal": (zeros, zeros)}, joints.flatten(2)
    main = [(zeros, zeros)] * model.main.lstm.num_layers
    total = joints.new_zeros(len(joints), NUM_CLASSES)
    for joints_t, frame in zip(joints.unbind(1), frames.unbind(1), strict=True):
        spatial, temporal = model.spatial, model.temporal
        alpha = spatial.score(
            torch.tanh(spatial.from_joints(frame) + spatial.from_hidden(subnet["spatial"][0]))
        ).softmax(-1)
        beta = F.relu(temporal.from_joints(frame) + temporal.from_hidden(subnet["temporal"][0]))
        subnet = {
            name: step(getattr(model, name).lstm, 0, frame, state) for name, state in subnet.items()
        }
        below = (alpha[..., None] * joints_t).flatten(1)
        for layer in range(len(main)):
            main[layer] = step(model.main.lstm, layer, below, main[layer])
            below = main[layer][0]
        total = total + beta * model.main.head(below)
    return total


def seconds(scores_of: Callable[[Tensor], Tensor], joints: Tensor, backward: bool) -> float:
    """Of one pass over joints (B, T, J, 3), with the backward one where wanted."""
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        scores = scores_of(joints)
        if backward:
            scores.square().sum().backward()
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = STALSTM(NUM_CLASSES, NUM_JOINTS).eval()

    def whole(joints: Tensor) -> Tensor:
        return model(joints).scores

    table = Table(
        "frames",
        "what",
        "ratio of times, stepped to whole: median (quartiles)",
        title=f"{BATCH} sequences, torch {torch.__version__}",
    )
    for num_frames in (10, 23, 46):  # SBU's shortest, median, longest
        joints = torch.randn(BATCH, num_frames, NUM_JOINTS, 3)
        torch.testing.assert_close(stepped(model, joints), whole(joints), rtol=1e-4, atol=1e-5)
        for backward, name in ((False, "forward"), (True, "forward and backward")):
            ratios = [
                seconds(partial(stepped, model), joints, backward)
                / seconds(whole, joints, backward)
                for _ in range(ROUNDS)
            ]
            low, middle, high = statistics.quantiles(ratios[3:], n=4)
            table.add_row(str(num_frames), name, f"{middle:.1f} ({low:.1f} to {high:.1f})")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
