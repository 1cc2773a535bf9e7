"""What every network of the suite must do, whatever it looks at."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sta_tsn.models import STALSTM, STATSN, STIN, TSN, SMNet

SIDE = 96  # pixels


@dataclass(frozen=True)
class Case:
    """A network, and what it takes and gives.

    make: builds it for 4 classes. one: shape of a single input. alpha: of its attention over space,
    None without.
    """

    make: Callable[[], nn.Module]
    one: tuple[int, ...]
    alpha: tuple[int, ...] | None = None
    silent: dict[str, str] = field(
        default_factory=dict
    )  # parameters whose gradient is zero, and why


CLIP, PAIRS, FLOW = (3, 2, 3, SIDE, SIDE), (3, 2, 6, SIDE, SIDE), (3, 2, 20, SIDE, SIDE)
SOFTMAX = "a softmax ignores what is added to all its inputs"
DIFFERENCE = "what is added to both frames is not in their difference"
MAP = (3, 2, 3, 3)
CASES = {
    "tsn": Case(lambda: TSN(4, "test_resnet", spatial_attention=False), CLIP),
    "sa_tsn": Case(
        lambda: TSN(4, "test_resnet"), CLIP, MAP, {"encoder.attention.score.bias": SOFTMAX}
    ),
    "sta_tsn": Case(
        lambda: STATSN(4, 8, backbone="test_resnet"),
        CLIP,
        MAP,
        {"encoder.attention.score.bias": SOFTMAX, "attention.score.bias": SOFTMAX},
    ),
    "smnet": Case(
        lambda: SMNet(4, "test_resnet"),
        CLIP,
        silent={
            f"encoder.cnn.net.layer{n}.0.conv1.0.motion.squeeze.1.bias": DIFFERENCE
            for n in (1, 2, 3, 4)
        },
    ),
    "stin_spatial": Case(
        lambda: STIN(4, "test_resnet"), PAIRS, MAP, {"encoder.attention.squeeze.1.bias": DIFFERENCE}
    ),
    "stin_temporal": Case(
        lambda: STIN(4, "test_resnet", num_channels=20),
        FLOW,
        MAP,
        {"encoder.attention.key.bias": SOFTMAX},
    ),
    "sta_lstm": Case(
        lambda: STALSTM(4, num_joints=15, hidden_dim=8),
        (6, 15, 3),
        (6, 15),
        {"spatial.score.bias": SOFTMAX},
    ),
}


@pytest.fixture(params=CASES, scope="module")
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def network(case) -> nn.Module:
    """Nothing starts at zero: timm's residual branches, attention maps and gamma do."""
    torch.manual_seed(0)
    network = case.make()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network


def inputs(case: Case, number: int) -> Tensor:
    return torch.rand(number, *case.one, generator=torch.Generator().manual_seed(number))


def test_scores_and_attention_have_their_shapes(case, network):
    output = network.eval()(inputs(case, 2))
    assert output.scores.shape == (2, 4)
    if case.alpha is None:
        assert output.spatial_weights is None
    else:
        assert output.spatial_weights.shape == (2, *case.alpha)
        over_space = (
            output.spatial_weights.flatten(3) if len(case.one) == 5 else output.spatial_weights
        )
        torch.testing.assert_close(over_space.sum(-1), torch.ones(over_space.shape[:-1]))


def test_the_gradient_reaches_every_parameter(case, network):
    network.train().zero_grad()
    loss = F.cross_entropy(network(inputs(case, 2)).scores, torch.tensor([0, 1]))
    if isinstance(network, STIN):
        loss = loss + F.cross_entropy(
            network.auxiliary_scores(network.encoder(inputs(case, 2))[0]), torch.tensor([0, 1])
        )
    loss.backward()
    silent = {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or parameter.grad.abs().sum() < 1e-9
    }
    assert silent <= set(case.silent)


def test_the_state_makes_the_same_network_again(case, network):
    other = case.make()
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    assert torch.equal(network.eval()(inputs(case, 2)).scores, other.eval()(inputs(case, 2)).scores)


def test_evaluation_draws_nothing_and_changes_nothing(case, network):
    before = copy.deepcopy(network.eval().state_dict())
    first, second = (network(inputs(case, 2)).scores for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_inputs_of_a_batch_do_not_influence_each_other(case, network):
    batch = inputs(case, 3)
    with torch.no_grad():
        together, alone = network.eval()(batch).scores[1:2], network(batch[1:2]).scores
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_it_can_be_exported(case, network):
    example = inputs(case, 2)
    exported = torch.export.export(network.eval(), (example,)).module()
    torch.testing.assert_close(
        exported(example).scores, network(example).scores, rtol=1e-4, atol=1e-5
    )


def test_mixed_precision_gives_nearly_the_same_scores(case, network):
    example = inputs(case, 2)
    with torch.no_grad():
        exact = network.eval()(example).scores
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network(example).scores
    assert mixed.isfinite().all()
    torch.testing.assert_close(mixed.float(), exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))
