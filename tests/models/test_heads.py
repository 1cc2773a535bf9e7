"""Heads on frozen features: each alone, and many of a kind as one computation."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sta_tsn.models import (
    AttentiveProbe,
    HeadGrid,
    KeyFrameProbe,
    LinearProbe,
    NeighbourGrid,
    ProbedNetwork,
)


def randomized(head: nn.Module) -> nn.Module:
    """Heads begin at zero scores, which would hide every difference."""
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


HEADS = {
    "linear": lambda: LinearProbe(8, 3),
    "attentive": lambda: AttentiveProbe(8, 3, num_heads=2, width=4),
    "positions": lambda: AttentiveProbe(8, 3, num_frames=6, num_heads=2, width=4),
    "key frames": lambda: KeyFrameProbe(8, 3, 4),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_grid_says_what_each_of_its_heads_says(name):
    heads = [randomized(HEADS[name]()) for _ in range(3)]
    grid = HeadGrid(heads, 8)
    features = torch.randn(5, 2, 3, 8)
    scores = grid.scores_of_all(features)
    for head, of_head in zip(heads, scores, strict=True):
        expected = head(head.prepare(features)).scores
        assert torch.allclose(of_head, expected, atol=1e-5)
    grid.chosen.fill_(2)
    assert torch.allclose(grid.classify(features).scores, scores[2], atol=1e-5)


def test_each_head_of_a_grid_learns_from_its_own_loss_alone():
    heads = [randomized(HEADS["attentive"]()) for _ in range(2)]
    grid = HeadGrid(heads, 8)
    features = torch.randn(5, 2, 3, 8)
    losses = grid.scores_of_all(features).square().mean((1, 2))
    losses.sum().backward()
    together = [parameter.grad.clone() for parameter in heads[0].parameters()]
    heads[0].zero_grad()
    heads[0](features).scores.square().mean().backward()
    alone = [parameter.grad for parameter in heads[0].parameters()]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_the_attentive_probe_is_cross_attention_with_a_key_and_a_value_for_every_frame():
    probe = randomized(AttentiveProbe(8, 3, num_heads=2, width=4))
    features = torch.randn(5, 2, 3, 8)
    tokens = features.flatten(1, 2)
    keys = F.linear(tokens, probe.keys.weight).unflatten(-1, (2, 2)).transpose(1, 2)
    values = probe.values(tokens).unflatten(-1, (2, 2)).transpose(1, 2)
    query = probe.query[None, :, None].expand(5, -1, -1, -1)
    attended = F.scaled_dot_product_attention(query, keys, values).flatten(1)
    assert torch.allclose(probe(features).scores, probe.head(attended), atol=1e-4)


def test_only_positions_make_attentive_pooling_see_the_order_of_frames():
    features = torch.randn(5, 2, 3, 8)
    other_order = features.flatten(1, 2).flip(1).unflatten(1, (2, 3))
    blind = randomized(HEADS["attentive"]())
    assert torch.allclose(blind(features).scores, blind(other_order).scores, atol=1e-5)
    seeing = randomized(HEADS["positions"]())
    assert not torch.allclose(seeing(features).scores, seeing(other_order).scores, atol=1e-2)
    places = torch.arange(6).flip(0).view(1, 2, 3).expand(5, -1, -1)
    told = seeing(other_order, places)
    assert torch.allclose(told.scores, seeing(features).scores, atol=1e-4)


def test_attention_sums_to_one_over_the_video():
    weights = randomized(HEADS["attentive"]())(torch.randn(5, 2, 3, 8)).temporal_weights
    assert weights.shape == (5, 2, 3)
    assert torch.allclose(weights.sum((1, 2)), torch.ones(5))


def test_features_are_standardised_before_any_head():
    grid = HeadGrid([randomized(LinearProbe(8, 3))], 8)
    features = torch.randn(5, 2, 3, 8)
    before = grid.scores_of_all(features)
    grid.mean.fill_(100.0)
    grid.deviation.fill_(50.0)
    assert torch.allclose(grid.scores_of_all(100 + 50 * features), before, atol=1e-3)


def test_the_nearest_videos_vote_and_their_bank_travels_in_the_state():
    grid = NeighbourGrid((1, 3), 4, 2)
    directions = torch.eye(4)[:, None, None]  # one frame of each of four videos
    labels = F.one_hot(torch.tensor([0, 1, 1, 1]), 2).float()
    grid.remember(directions, labels)
    asked = directions[:1] + 0.95 * directions[1:2] + 0.95 * directions[2:3]
    one, three = grid.scores_of_all(asked)
    assert one.argmax() == 0
    assert three.argmax() == 1
    loaded = NeighbourGrid((1, 3), 4, 2)
    loaded.load_state_dict(grid.state_dict())
    assert torch.equal(loaded.scores_of_all(asked), grid.scores_of_all(asked))


def test_a_network_of_the_chosen_head_answers_as_the_grid_does_and_can_be_traced():
    grid = HeadGrid([randomized(LinearProbe(8, 3)) for _ in range(3)], 8)
    neighbours = NeighbourGrid((1, 3), 8, 2)
    neighbours.remember(torch.randn(4, 1, 1, 8), torch.eye(2).repeat(2, 1))
    features = torch.randn(5, 2, 3, 8)
    for heads in (grid, neighbours):
        heads.chosen.fill_(1)
        before = heads.classify(features).scores
        heads.keep_chosen()
        traced = torch.export.export(ProbedNetwork(AsTheyAre(), heads), (features,)).module()
        assert torch.allclose(traced(features).scores, before, atol=1e-5)


class AsTheyAre(nn.Module):
    """An encoder whose clips are features already."""

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, None]:
        return clips, None
