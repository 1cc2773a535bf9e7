"""STA-LSTM on whole sequences beside the same network stepped through time.

    .venv/bin/python experiments/benchmarks/sta_lstm.py

Each subnet's LSTM sees the joints as they are, so a whole sequence goes through it at once, and
then through the main LSTM. The other way is as the equations are written: frame by frame, one LSTM
cell after another. Both have the same weights and give the same scores. Eight sequences of SBU's
shape (2 x 15 joints), one CPU thread, in turn; evaluation mode, without dropout.
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

BATCH = 8
NUM_JOINTS = 30
NUM_CLASSES = 8
ROUNDS = 30
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def step(
    lstm: nn.LSTM, layer: int, frame: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the state after one cell of one layer with the LSTM's own weights.

    Args:
        lstm: whose weights they are.
        layer: which of its layers.
        frame: (B, inputs).
        state: h and c, (B, H) each.
    """
    weights = [getattr(lstm, f"{kind}_l{layer}") for kind in PARAMETERS]
    return torch.lstm_cell(frame, state, *weights)


def stepped(model: STALSTM, joints: Tensor) -> Tensor:
    """Return what `STALSTM.forward` does, frame by frame: scores (B, K) of joints (B, T, J, 3)."""
    spatial = model.spatial
    temporal = model.temporal
    zeros = joints.new_zeros(len(joints), model.main.lstm.hidden_size)
    spatial_state = (zeros, zeros)
    temporal_state = (zeros, zeros)
    main = [(zeros, zeros)] * model.main.lstm.num_layers
    total = joints.new_zeros(len(joints), NUM_CLASSES)
    for joints_t in joints.unbind(1):
        frame = joints_t.flatten(1)
        hidden = spatial.from_joints(frame) + spatial.from_hidden(spatial_state[0])
        alpha = spatial.score(torch.tanh(hidden)).softmax(-1)
        beta = F.relu(temporal.from_joints(frame) + temporal.from_hidden(temporal_state[0]))
        spatial_state = step(spatial.lstm, 0, frame, spatial_state)
        temporal_state = step(temporal.lstm, 0, frame, temporal_state)
        below = (alpha[..., None] * joints_t).flatten(1)
        for layer in range(len(main)):
            main[layer] = step(model.main.lstm, layer, below, main[layer])
            below = main[layer][0]
        total = total + beta * model.main.head(below)
    return total


def seconds(scores_of: Callable[[Tensor], Tensor], joints: Tensor, backward: bool) -> float:
    """Return the time of one pass over joints (B, T, J, 3), with the backward one where wanted."""
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
