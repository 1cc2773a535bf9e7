from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sta_tsn.errors import ConfigError
from sta_tsn.models import (
    CNN,
    STATSN,
    TSN,
    KeyFrameAttention,
    SpatialAttention,
    SpatialPyramidPooling,
    temporal_attention_regularization,
)
from sta_tsn.models.map_backbone import load_weights
from sta_tsn.tasks import SpatialAttentionBackbone


def test_pyramid_by_hand():
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 2, 2] = 1
    pooled = SpatialPyramidPooling((1, 3, 5))(maps)
    assert pooled.shape == (1, 3, 5, 5)
    assert [int(level.sum()) for level in pooled[0]] == [1, 9, 25]


def test_adaptive_pyramid_by_hand():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = SpatialPyramidPooling((1, 2), mode="adaptive")(maps)
    assert (pooled[0, 0] == 15).all()
    assert pooled[0, 1].tolist() == [[5, 5, 7, 7]] * 2 + [[13, 13, 15, 15]] * 2


def test_pyramid_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="mean"):
        SpatialPyramidPooling(mode="mean")
    with pytest.raises(ValueError, match="odd"):
        SpatialPyramidPooling((1, 2))


@pytest.mark.parametrize("focus", ["elementwise", "inner_product"])
def test_spatial_attention_by_hand(focus):
    """Eq 4-7 with a scoring convolution that looks at the identity level only."""
    attention = SpatialAttention(1, pool_sizes=(1,), focus=focus)
    nn.init.ones_(attention.score.weight)
    maps = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 2, 2)
    alpha = maps.flatten().softmax(0)
    features, weights = attention(maps)
    torch.testing.assert_close(weights, alpha.view(1, 2, 2))
    added = (alpha * maps.flatten()).sum() / (4 if focus == "elementwise" else 1)
    torch.testing.assert_close(features.squeeze(), maps.mean() + added)


def test_spatial_attention_starts_uniform_and_sums_to_one():
    attention = SpatialAttention(6)
    maps = torch.rand(4, 6, 7, 7)
    assert torch.allclose(attention(maps)[1], torch.full((4, 7, 7), 1 / 49))
    nn.init.normal_(attention.score.weight)
    features, weights = attention(maps)
    assert features.shape == (4, 6)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(4))
    features.square().sum().backward()
    assert attention.score.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("pool_mode", ["stride1_max", "adaptive"])
def test_spatial_attention_scores_as_one_convolution_of_the_whole_pyramid(pool_mode):
    torch.manual_seed(0)
    attention = SpatialAttention(64, pool_mode=pool_mode)
    nn.init.normal_(attention.score.weight, std=0.1)
    nn.init.ones_(attention.score.bias)
    maps = torch.randn(3, 64, 7, 7, requires_grad=True)
    whole = attention.score(attention.pyramid(maps)).flatten(1).softmax(-1).view(3, 7, 7)
    by_level = attention(maps)[1]
    torch.testing.assert_close(by_level, whole, rtol=1e-5, atol=1e-6)
    parameters = [maps, attention.score.weight]
    expected = torch.autograd.grad(whole.square().sum(), parameters)
    gradients = torch.autograd.grad(by_level.square().sum(), parameters)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-5)


def test_spatial_attention_keeps_no_concatenation_of_its_pyramid_for_the_backward_pass():
    attention = SpatialAttention(64)
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    maps = torch.rand(2, 64, 7, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention(maps)
    assert (2, 64, 7, 7) in kept
    assert (2, 4 * 64, 7, 7) not in kept


def test_key_frame_attention_by_hand():
    """Eq 9-11: beta from the LSTM's states, laid over the input features."""
    torch.manual_seed(0)
    attention = KeyFrameAttention(5, 4)
    features = torch.rand(2, 3, 6, 5)
    segments, weights = attention(features)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
    for b in range(2):
        for n in range(3):
            hidden, _ = attention.lstm(features[b, n][None])
            beta = (hidden[0] @ attention.score.weight[0, :, 0] + attention.score.bias).softmax(0)
            torch.testing.assert_close(weights[b, n], beta)
            torch.testing.assert_close(segments[b, n], (beta[:, None] * features[b, n]).sum(0))


def test_segments_share_weights_and_start_afresh():
    attention = KeyFrameAttention(5, 4)
    segment = torch.rand(1, 1, 6, 5)
    _, weights = attention(segment.expand(1, 3, 6, 5))
    torch.testing.assert_close(weights[:, 0], weights[:, 2])


def test_regularization_by_hand():
    weights = torch.tensor([[[0.1, 0.9], [0.5, 0.5]], [[0.3, 0.7], [0.2, 0.8]]])
    relevant = torch.tensor([[[False, True], [False, True]], [[True, True], [True, True]]])
    expected = ((0.1**2 + 0.5**2) / 2 + 0) / 2  # the second video has no frame judged false
    assert temporal_attention_regularization(weights, relevant).item() == pytest.approx(expected)


def test_regularization_is_zero_and_differentiable_without_false_frames():
    weights = torch.full((2, 3, 4), 0.25, requires_grad=True)
    loss = temporal_attention_regularization(weights, torch.ones(2, 3, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert (weights.grad == 0).all()


def test_regularization_pushes_attention_off_false_frames():
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    relevant = torch.tensor([[[True, False, False, True]]])
    temporal_attention_regularization(logits.softmax(-1), relevant).backward()
    assert (logits.grad[~relevant] > 0).all()
    assert (logits.grad[relevant] < 0).all()


@pytest.fixture(scope="module")
def sta_tsn() -> STATSN:
    torch.manual_seed(0)
    return STATSN(4, hidden_dim=8, backbone="test_resnet")


def test_sta_tsn_output(sta_tsn):
    output = sta_tsn(torch.rand(2, 3, 5, 3, 96, 96))
    assert output.scores.shape == (2, 4)
    assert output.spatial_weights.shape == (2, 3, 5, 3, 3)
    torch.testing.assert_close(output.spatial_weights.sum((-1, -2)), torch.ones(2, 3, 5))
    torch.testing.assert_close(output.temporal_weights.sum(-1), torch.ones(2, 3))


def test_gradients_reach_every_parameter(sta_tsn):
    for (
        parameter
    ) in sta_tsn.parameters():  # timm starts each block's last batch norm at zero, we alpha
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    sta_tsn.train().zero_grad()
    F.cross_entropy(sta_tsn(torch.rand(2, 3, 5, 3, 96, 96)).scores, torch.tensor([0, 1])).backward()
    untouched = [name for name, p in sta_tsn.named_parameters() if p.grad is None]
    assert not untouched
    silent = {name for name, p in sta_tsn.named_parameters() if p.grad.abs().sum() == 0}
    assert not silent - {
        "encoder.attention.score.bias",
        "attention.score.bias",
    }  # a softmax ignores a constant


def test_videos_do_not_influence_each_other(sta_tsn):
    sta_tsn.eval()
    clips = torch.rand(3, 3, 5, 3, 96, 96)
    with torch.no_grad():
        together, alone = sta_tsn(clips).scores[1], sta_tsn(clips[1:2]).scores[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_uint8_is_normalised_with_the_backbones_statistics():
    cnn = CNN("test_resnet", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).eval()
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    by_hand = (images / 255 - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(cnn(images), cnn(by_hand))


def test_tsn_without_attention_is_the_mean_of_frame_scores():
    tsn = TSN(4, "test_resnet", spatial_attention=False).eval()
    clips = torch.rand(1, 3, 2, 3, 96, 96)
    with torch.no_grad():
        frames = torch.stack(
            [tsn(clips[:, n : n + 1, t : t + 1]).scores for n in range(3) for t in range(2)]
        )
        output = tsn(clips)
    torch.testing.assert_close(output.scores, frames.mean(0), rtol=1e-4, atol=1e-6)
    assert output.spatial_weights is None


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv3_small_050", "densenet121", "convnext_atto"]
)
def test_any_timm_cnn(name):
    output = TSN(3, name).eval()(torch.rand(1, 1, 1, 3, 224, 224))
    assert output.scores.shape == (1, 3)
    assert output.spatial_weights.shape == (1, 1, 1, 7, 7)


def test_wrong_backbones_are_named():
    with pytest.raises(ConfigError, match="resnet152"):
        CNN("resnet125")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_file(tmp_path, suffix):
    from safetensors.torch import save_file

    source = CNN("test_resnet")
    state = {key: value.contiguous() for key, value in source.net.state_dict().items()} | {
        "fc.weight": torch.zeros(2, 2)
    }
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    loaded = CNN("test_resnet", weights=str(path))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            source.net.state_dict().values(), loaded.net.state_dict().values(), strict=True
        )
    )
    assert f"{len(source.net.state_dict())} of" in loaded.loaded
    assert "not used fc.weight" in loaded.loaded


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"some.weight": torch.zeros(3)}, path)
    with pytest.raises(ConfigError, match=r"0 of .* tensors match.*\n.*wants.*\n.*some\.weight"):
        load_weights(CNN("test_resnet").net, str(path))
    path.write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="cannot be read"):
        CNN("test_resnet", weights=str(path))
    with pytest.raises(ConfigError, match="no such file"):
        CNN("test_resnet", weights="absent.safetensors")
    torch.save([torch.zeros(3)], path)
    with pytest.raises(ConfigError, match="holds a list, not tensors by name"):
        CNN("test_resnet", weights=str(path))


def test_the_header_of_a_weights_file_says_how_the_network_was_made(shared_data):
    path = shared_data.parent / "weights" / "mobilenetv2_100_imagenet.safetensors"
    if not path.exists():
        pytest.skip(f"no {path}")
    cnn = CNN("mobilenetv2_100", weights=str(path))
    assert cnn.settings["options"] == {"pad_type": "same"}
    assert cnn.settings["mean"] == (
        0.5,
        0.5,
        0.5,
    )
    assert "312 of 312" in cnn.loaded


@pytest.mark.parametrize("option", ["checkpoint_path='evil.pth'", "pretrained_cfg='evil'", "cls=1"])
def test_a_weights_header_may_only_name_properties_of_layers(tmp_path, option):
    from safetensors.torch import save_file

    path = tmp_path / "weights.safetensors"
    metadata = {"architecture": f"timm test_resnet, {option}"}
    save_file({"w": torch.zeros(1)}, path, metadata)
    with pytest.raises(ConfigError, match=f"header asks for {option.partition('=')[0]}=.*only"):
        CNN("test_resnet", weights=str(path))


def test_options_of_a_backbone_cannot_load_a_pickle(tmp_path):
    """As a received checkpoint's hyperparameters name them."""
    left = tmp_path / "left"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (left,))

    torch.save(Payload(), tmp_path / "evil.pth")
    evil = {"checkpoint_path": str(tmp_path / "evil.pth")}
    with pytest.raises(ConfigError, match=r"checkpoint_path=.*decides what is loaded"):
        CNN("test_resnet", options=evil)
    assert not left.exists()
    small = {"pretrained_cfg_overlay": {"input_size": [3, 64, 64]}}
    assert CNN("test_resnet", options=small).input_px == 64


def test_crops_of_another_size_reach_both_stages():
    task = SpatialAttentionBackbone(["a", "b"], "test_resnet", "none", input_px=96)
    maps = task.model.encoder.cnn(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    assert task.model.input_px == 96
    assert maps.shape[-2:] == (3, 3)
    assert STATSN(2, hidden_dim=8, backbone=task.hparams["backbone"]).input_px == 96
    for too_small in (16, 0):
        with pytest.raises(ConfigError, match=f"input_px={too_small}: the side of the crops"):
            SpatialAttentionBackbone(["a", "b"], "test_resnet", "none", input_px=too_small)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_100", "resnet18"])
def test_folding_changes_the_speed_not_the_features(name):
    encoder = TSN(3, name, spatial_attention=True).eval().encoder
    images = torch.randint(
        0, 256, (7, 3, encoder.cnn.input_px, encoder.cnn.input_px), dtype=torch.uint8
    )
    keys = set(encoder.state_dict())
    with torch.no_grad():
        plain, _ = encoder(images)
        with encoder.folded():
            folded, _ = encoder(images)
            assert set(encoder.state_dict()) == keys
    torch.testing.assert_close(folded, plain, rtol=1e-3, atol=1e-3)
    assert not encoder._folded
