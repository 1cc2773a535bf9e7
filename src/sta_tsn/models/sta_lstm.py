"""STA-LSTM (Song, Lan, Xing, Zeng, Liu, AAAI 2017): which joints count, and in which frames.

It reads skeleton sequences. Letters: B sequences, T frames (the longest sequence's), J joints of
all persons together, K classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models.recurrent import LSTM
from sta_tsn.models.tsn import ActionOutput


class JointAttention(nn.Module):
    """Say how much each joint counts in a frame: the spatial subnet.

        s_t = U_s tanh(W_xs x_t + W_hs h_{t-1} + b_s) + b_us ;  alpha_t = softmax(s_t)

    h is the state of the subnet's own LSTM, which sees x as it is (reading: not weighted by alpha),
    so the whole sequence goes through it at once and h_{t-1} is its output moved by one frame; h_0
    = 0.

    Args:
        num_joints: J.
        hidden_dim: of the LSTM and of the layer before the scores; the paper's 100.
        rescale: take alpha times J, a mean of 1 over the joints in place of a sum of 1. The paper
            prints the softmax; then the main LSTM sees coordinates J times as small, and the first
            term of the loss cannot reach 0.
    """

    def __init__(self, num_joints: int, hidden_dim: int = 100, rescale: bool = False):
        super().__init__()
        self.lstm = LSTM(3 * num_joints, hidden_dim, batch_first=True)
        self.from_joints = nn.Linear(3 * num_joints, hidden_dim)
        self.from_hidden = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, num_joints)
        self.total = num_joints if rescale else 1

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 3J) -> (B, T, J)
        states, _ = self.lstm(frames)
        before = self.from_hidden(one_frame_later(states))
        hidden = torch.tanh(self.from_joints(frames) + before)
        scores = self.score(hidden)
        return self.total * scores.softmax(-1)


class FrameAttention(nn.Module):
    """Say how much each frame's class scores count: the temporal subnet.

        beta_t = ReLU(w_x x_t + w_h h_{t-1} + b)

    Its own LSTM is as in `JointAttention`. Reading: b starts at 1 and w_x, w_h near 0, so training
    starts from equal weights, and every frame's ReLU has a gradient.

    Args:
        num_joints: J.
        hidden_dim: of the LSTM; the paper's 100.
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
        states, _ = self.lstm(frames)
        before = self.from_hidden(one_frame_later(states))
        return F.relu(self.from_joints(frames) + before).squeeze(-1)


class MainLSTM(nn.Module):
    """Score every frame: z_t = W_z h_t + b_z.

    Args:
        num_joints: J.
        num_classes: K.
        hidden_dim: of each layer; the paper's 100.
        num_layers: the paper's 3.
        dropout: between the layers and before W_z (reading).
    """

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
        states, _ = self.lstm(frames)
        return self.head(self.dropout(states))


class STALSTM(nn.Module):
    """Score a sequence by the assembled network, or by one of its ablations.

        x'_{t,j} = alpha_{t,j} x_{t,j} ;  o = sum over t of beta_t z_t

    Without joint attention alpha is 1 (TA-LSTM), without frame attention beta is 1 (SA-LSTM),
    without either it is the paper's LSTM. Scores are o, before the softmax.

    Args:
        num_classes: K.
        num_joints: J, of all persons together.
        hidden_dim: of each layer of the main LSTM and of the subnets, which have one layer.
        num_layers: see `MainLSTM`.
        spatial_attention: have `JointAttention`.
        temporal_attention: have `FrameAttention`.
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
        self.spatial = None
        if spatial_attention:
            self.spatial = JointAttention(num_joints, hidden_dim, rescale_joints)
        self.temporal = None
        if temporal_attention:
            self.temporal = FrameAttention(num_joints, hidden_dim)
        self.main = MainLSTM(num_joints, num_classes, hidden_dim, num_layers, dropout)

    def forward(self, joints: Tensor, lengths: Tensor | None = None) -> ActionOutput:
        """Return scores (B, K), alpha (B, T, J) and beta (B, T), which is 0 after a sequence's end.

        Args:
            joints: (B, T, J, 3).
            lengths: (B,) number of frames of each sequence; T where not given.
        """
        return attend(joints, lengths, self.main, self.spatial, self.temporal)


def attend(
    joints: Tensor,
    lengths: Tensor | None,
    main: MainLSTM,
    spatial: JointAttention | None,
    temporal: FrameAttention | None,
) -> ActionOutput:
    """Return what `STALSTM.forward` does, with any of its parts.

    LSTMs run forward in time, so frames after the end change nothing before it.
    """
    frames = joints.flatten(2)
    alpha = None
    weighted = frames
    if spatial is not None:
        alpha = spatial(frames)
        weighted = (alpha[..., None] * joints).flatten(2)
    beta = None
    counted = frame_mask(lengths, joints)
    if temporal is not None:
        beta = counted * temporal(frames)
        counted = beta
    scores = (counted[..., None] * main(weighted)).sum(1)
    return ActionOutput(scores, alpha, beta)


def frame_mask(lengths: Tensor | None, joints: Tensor) -> Tensor:
    """Return (B, T) of joints' type: 1 in a sequence's frames, 0 in its padding."""
    batch, num_frames = joints.shape[:2]
    if lengths is None:
        return joints.new_ones(batch, num_frames)
    return (torch.arange(num_frames, device=joints.device) < lengths[:, None]).to(joints.dtype)


def one_frame_later(hidden: Tensor) -> Tensor:
    """Return (B, T, H): at each frame what was there one frame before, 0 at the first."""
    return F.pad(hidden[:, :-1], (0, 0, 1, 0))


def joint_attention_regularization(alpha: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum over joints of (1 - mean over the frames of alpha)^2, mean of the sequences.

    No joint is to be passed over. With alpha (B, T, J) as printed, summing to 1 over J, it is
    J - 2 + 1/J at least (see `JointAttention`'s `rescale`).
    """
    there = frame_mask(lengths, alpha)[..., None]
    mean = (there * alpha).sum(1) / lengths[:, None]
    return (1 - mean).square().sum(1).mean()


def frame_attention_regularization(beta: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean over a sequence's frames of |beta| (B, T), which is 0 after the end.

    Beta, unbounded, is to stay small.
    """
    return (beta.abs().sum(1) / lengths).mean()
