"""SMNet: what the paper promises of its modules, and that the network sees order."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sta_tsn.errors import ConfigError
from sta_tsn.models import TSN, SMNet
from sta_tsn.models.smnet import MotionExcitation, SpatioTemporalExcitation


def test_time_convolution_has_3c_weights_and_starts_as_a_shift():
    module = SpatioTemporalExcitation(16)
    assert module.over_time.weight.numel() == 3 * 16
    maps = torch.rand(2, 16, 4, 3, 3)
    shifted = module.over_time(maps)
    torch.testing.assert_close(shifted[:, :2, :-1], maps[:, :2, 1:])
    torch.testing.assert_close(shifted[:, 2:4, 1:], maps[:, 2:4, :-1])
    torch.testing.assert_close(shifted[:, 4:], maps[:, 4:])
    assert not shifted[:, :2, -1].any()
    assert not shifted[:, 2:4, 0].any()


def test_identical_frames_have_no_motion():
    module = MotionExcitation(32).eval()
    frame = torch.rand(1, 32, 5, 5)
    still = module.difference(frame.expand(4, -1, -1, -1), num_frames=4)
    assert still.shape == (1, 4, 2, 5, 5)
    assert still.abs().max() < 1e-6
    moving = module.difference(torch.rand(4, 32, 5, 5), num_frames=4)
    assert moving[:, :-1].abs().max() > 0.01
    assert not moving[:, -1].any()


def with_live_branches(network: SMNet) -> SMNet:
    """Start the last batch norms of the residual branches at one.

    Those of timm start at zero, so that an untrained branch adds nothing.
    """
    for name, parameter in network.named_parameters():
        if name.endswith("bn2.weight"):
            torch.nn.init.ones_(parameter)
    return network


@pytest.fixture(scope="module")
def network() -> SMNet:
    torch.manual_seed(0)
    return with_live_branches(SMNet(5, "resnet18")).eval()


def test_order_of_frames_matters_as_it_does_not_to_tsn(network):
    clips = torch.rand(1, 8, 1, 3, 64, 64)
    with torch.no_grad():
        ours, reversed_ = (network.encoder(one)[0].mean((1, 2)) for one in (clips, clips.flip(1)))
        tsn = TSN(5, "resnet18", spatial_attention=False).eval().encoder
        theirs, reversed_tsn = (tsn(one)[0].mean((1, 2)) for one in (clips, clips.flip(1)))
    assert (ours - reversed_).abs().max() > 1e-3 * ours.abs().max()
    torch.testing.assert_close(theirs, reversed_tsn)


def test_clips_of_a_batch_do_not_see_one_another(network):
    clips = torch.rand(3, 8, 1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            network(clips).scores[1:2], network(clips[1:2]).scores, rtol=1e-4, atol=1e-6
        )


def test_multiply_adds_of_a_2d_network():
    """Within 10 % of ResNet-50's on eight frames (the abstract: "2-D cost")."""
    counts = []
    for model in (TSN(5, "resnet50", spatial_attention=False), SMNet(5, "resnet50")):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.rand(1, 8, 1, 3, 224, 224))
        counts.append(counter.get_total_flops())
    assert 1 < counts[1] / counts[0] < 1.1


@pytest.mark.parametrize("all_blocks, count", [(False, 4), (True, 8)])
def test_every_parameter_learns_and_blocks_are_counted(all_blocks, count):
    network = with_live_branches(SMNet(3, "resnet18", all_blocks=all_blocks))
    torch.nn.init.normal_(network.head.weight)
    assert len(network.encoder.inserted) == count
    network(torch.rand(2, 4, 1, 3, 64, 64)).scores.square().sum().backward()
    assert [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_backbones_without_such_blocks_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"which backbone 'mobilenetv2_100' has not\. "
        r"These have them: .*resnet18.*seresnext50",
    ):
        SMNet(3, "mobilenetv2_100")
