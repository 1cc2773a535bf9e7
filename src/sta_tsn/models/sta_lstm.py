"""STA-LSTM (Song, Lan, Xing, Zeng, Liu, AAAI 2017): which joints count, and in which frames, in a skeleton sequence.

Letters: B sequences, T frames (the longest sequence's), J joints of all persons together, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models.recurrent import LSTM
from sta_tsn.models.tsn import ActionOutput


class JointAttention(nn.Module):
    """The spatial subnet: how much each joint counts in a frame.

        s_t = U_s tanh(W_xs x_t + W_hs h_{t-1} + b_s) + b_us ;  alpha_t = softmax(s_t)

    h is the state of the subnet's own LSTM, which sees x as it is (reading: not weighted by alpha), so the whole sequence
    goes through it at once and h_{t-1} is its output moved by one frame; h_0 = 0.

    Args:
        num_joints: J.
        hidden_dim: of the LSTM and of the layer before the scores; the paper's 100.
        rescale: alpha times J, a mean of 1 over the joints in place of a sum of 1. The paper prints the softmax; then
            the main LSTM sees coordinates J times as small, and the first term of the loss cannot reach 0.
    """

    def __init__(self, num_joints: int, hidden_dim: int = 100, rescale: bool = False):
        super().__init__()
        self.lstm = LSTM(3 * num_joints, hidden_dim, batch_first=True)
        self.from_joints = nn.Linear(3 * num_joints, hidden_dim)
        self.from_hidden = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, num_joints)
        self.total = num_joints if rescale else 1

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 3J) -> (B, T, J)
        hidden = self.from_hidden(one_frame_later(self.lstm(frames)[0]))
        return self.total * self.score(torch.tanh(self.from_joints(frames) + hidden)).softmax(-1)


class FrameAttention(nn.Module):
    """The temporal subnet: how much each frame's class scores count; its own LSTM as in `JointAttention`.

        beta_t = ReLU(w_x x_t + w_h h_{t-1} + b)

    Reading: b starts at 1 and w_x, w_h near 0, so training starts from equal weights, and every frame's ReLU has a gradient.
    """

    def __init__(self, num_joints: int, hidden_dim: int = 100):
        super().__init__()
        self.lstm = LSTM(3 * num_joints, hidden_dim, batch_first=True)
        self.from_joints = nn.Linear(3 * num_joints, 1)
        self.from_hidden = nn.Linear(hidden_dim, 1, bias=False)
        nn.init.ones_(self.from_joints.bias)
        for layer in (self.from_joints, self.from_hidden):
            nn.init.normal_(layer.weight, std=0.001)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 3J) -> (B, T)
        hidden = self.from_hidden(one_frame_later(self.lstm(frames)[0]))
        return F.relu(self.from_joints(frames) + hidden).squeeze(-1)


class MainLSTM(nn.Module):
    """Class scores of every frame: z_t = W_z h_t + b_z. Reading: dropout between the layers and before W_z."""

    def __init__(
        self,
        num_joints: int,
        num_classes: int,
        hidden_dim: int = 100,
        num_layers: int = 3,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.lstm = LSTM(
            3 * num_joints,
            hidden_dim,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_dim, num_classes)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 3J) -> (B, T, K)
        return self.head(self.dropout(self.lstm(frames)[0]))


class STALSTM(nn.Module):
    """The assembled network, or one of its ablations: without either attention (LSTM), SA-LSTM, TA-LSTM.

        x'_{t,j} = alpha_{t,j} x_{t,j} ;  o = sum over t of beta_t z_t

    Without joint attention alpha is 1, without frame attention beta is 1. Scores are o, before the softmax.

    Args:
        num_classes: K.
        num_joints: J, of all persons together.
        hidden_dim, num_layers: 100 units in each of the main LSTM's 3 layers; the subnets have one layer.
        spatial_attention, temporal_attention: which subnets there are.
        rescale_joints: see `JointAttention`.
        dropout: see `MainLSTM`.

    Example:
        >>> output = STALSTM(8, 30)(torch.rand(2, 12, 30, 3), torch.tensor([12, 7]))
        >>> output.scores.shape, output.spatial_weights.shape, output.temporal_weights.shape
        (torch.Size([2, 8]), torch.Size([2, 12, 30]), torch.Size([2, 12]))
    """

    def __init__(
        self,
        num_classes: int,
        num_joints: int,
        hidden_dim: int = 100,
        num_layers: int = 3,
        spatial_attention: bool = True,
        temporal_attention: bool = True,
        rescale_joints: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.spatial = (
            JointAttention(num_joints, hidden_dim, rescale_joints) if spatial_attention else None
        )
        self.temporal = FrameAttention(num_joints, hidden_dim) if temporal_attention else None
        self.main = MainLSTM(num_joints, num_classes, hidden_dim, num_layers, dropout)

    def forward(self, joints: Tensor, lengths: Tensor | None = None) -> ActionOutput:
        """Joints (B, T, J, 3) and the number of frames of each sequence (B,), T where not given, to scores (B, K),
        alpha (B, T, J) and beta (B, T), which is 0 after a sequence's end."""
        return attend(joints, lengths, self.main, self.spatial, self.temporal)


def attend(
    joints: Tensor,
    lengths: Tensor | None,
    main: MainLSTM,
    spatial: JointAttention | None,
    temporal: FrameAttention | None,
) -> ActionOutput:
    """`STALSTM.forward` with any of its parts. LSTMs run forward in time, so frames after the end change nothing before it."""
    frames = joints.flatten(2)
    alpha = spatial(frames) if spatial else None
    scores = main(frames if alpha is None else (alpha[..., None] * joints).flatten(2))
    there = frame_mask(lengths, joints)
    beta = there if temporal is None else there * temporal(frames)
    return ActionOutput(
        (beta[..., None] * scores).sum(1), alpha, None if temporal is None else beta
    )


def frame_mask(lengths: Tensor | None, joints: Tensor) -> Tensor:
    """(B, T) of joints' type: 1 in a sequence's frames, 0 in its padding."""
    batch, num_frames = joints.shape[:2]
    if lengths is None:
        return joints.new_ones(batch, num_frames)
    return (torch.arange(num_frames, device=joints.device) < lengths[:, None]).to(joints.dtype)


def one_frame_later(hidden: Tensor) -> Tensor:
    """(B, T, H): at each frame what was there one frame before, 0 at the first."""
    return F.pad(hidden[:, :-1], (0, 0, 1, 0))


def joint_attention_regularization(alpha: Tensor, lengths: Tensor) -> Tensor:
    """Sum over joints of (1 - mean over the frames of alpha)^2: no joint is to be passed over. Mean of the sequences.

    With alpha (B, T, J) as printed, summing to 1 over J, it is J - 2 + 1/J at least (see `JointAttention`'s `rescale`).
    """
    there = frame_mask(lengths, alpha)[..., None]
    return (1 - (there * alpha).sum(1) / lengths[:, None]).square().sum(1).mean()


def frame_attention_regularization(beta: Tensor, lengths: Tensor) -> Tensor:
    """Mean over a sequence's frames of |beta| (B, T), which is 0 after the end: beta, unbounded, is to stay small."""
    return (beta.abs().sum(1) / lengths).mean()
