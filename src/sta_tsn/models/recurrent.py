"""The LSTM of every network here: PyTorch's, in an arithmetic that every CPU has."""

import torch
from torch import Tensor, nn


class LSTM(nn.LSTM):
    """Compute `nn.LSTM`, in fp32 where a CPU is asked for mixed precision.

    oneDNN has LSTMs in bf16 for CPUs with AVX-512 alone; on others PyTorch raises "could not create
    a primitive descriptor". Parameters and names in the state are `nn.LSTM`'s. GPUs keep mixed
    precision.
    """

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs and the last state, both as `nn.LSTM` does."""
        if inputs.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(inputs, state)
        with torch.autocast("cpu", enabled=False):
            return super().forward(inputs.float(), state)
