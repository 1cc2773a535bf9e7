"""Any timm network as the backbone: maps, sizes, checkpoints, training; random weights only."""

import pytest
import timm
import torch
from torch.nn import functional as F

from sta_tsn.errors import ConfigError
from sta_tsn.models import TSN, Backbone
from sta_tsn.tasks.backbone import freeze


def black(backbone: Backbone) -> torch.Tensor:
    return torch.zeros(2, backbone.num_channels, backbone.input_px, backbone.input_px)


@pytest.mark.parametrize(
    ("name", "input_px", "shape"),
    [
        ("test_vit", None, (64, 10, 10)),  # a class token
        ("test_vit3", 96, (96, 6, 6)),
        ("vit_small_patch16_dinov3", 64, (384, 4, 4)),  # a class and four register tokens
        ("vit_small_patch14_dinov2", 56, (384, 4, 4)),  # made for 518 px
        ("vit_base_patch16_siglip_224", 64, (768, 4, 4)),  # an attention pooling behind the map
        ("swin_tiny_patch4_window7_224", 64, (768, 2, 2)),  # channels last
        ("vit_tiny_r_s16_p8_224", None, (192, 7, 7)),  # a hybrid
        ("hiera_tiny_224", 64, (768, 2, 2)),  # normalises behind the pooling only
        ("inception_next_atto", None, (320, 7, 7)),  # cannot leave out its pooling
        ("efficientvit_b0", None, (128, 7, 7)),
        ("convnext_atto", 96, (320, 3, 3)),
    ],
)
def test_networks_of_all_kinds_give_a_map(name, input_px, shape):
    backbone = Backbone(name, input_px=input_px).eval()
    with torch.no_grad():
        maps = backbone(black(backbone))
    assert maps.shape == (2, *shape)
    assert backbone.num_features == shape[0]


def test_a_vision_transformers_map_holds_its_patch_tokens_alone():
    torch.manual_seed(0)
    backbone = Backbone("test_vit").eval()
    images = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        tokens = backbone.net(images)
        maps = backbone(images)
    assert tokens.shape == (2, 1 + 100, 64)
    torch.testing.assert_close(maps.flatten(2).transpose(1, 2), tokens[:, 1:])


def test_a_cnn_gives_what_timm_gives_to_the_bit():
    torch.manual_seed(0)
    plain = timm.create_model("test_resnet", num_classes=0, global_pool="").eval()
    torch.manual_seed(0)
    backbone = Backbone("test_resnet").eval()
    images = torch.rand(2, 3, 160, 160).contiguous(memory_format=torch.channels_last)
    plain = plain.to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(backbone(images), plain(images))
    assert list(backbone.net.state_dict()) == list(plain.state_dict())


def test_a_fully_connected_end_is_left_out_because_it_has_no_positions():
    backbone = Backbone("vgg11", input_px=64).eval()
    with torch.no_grad():
        assert backbone(black(backbone)).shape == (2, 512, 2, 2)
    assert not [name for name in backbone.state_dict() if "pre_logits" in name]


@pytest.mark.parametrize(
    ("name", "input_px", "sentence"),
    [
        ("test_vit", 100, "into patches of 16 px; set input_px to a multiple, such as 96"),
        (
            "vit_small_patch14_dinov2",
            230,
            "patches of 14 px; set input_px to a multiple, such as 224",
        ),
    ],
)
def test_crops_that_a_backbone_cannot_take_are_refused_in_a_sentence(name, input_px, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        Backbone(name, input_px=input_px)
    assert f"input_px={input_px}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_position_embeddings_of_a_file_follow_the_size_of_the_crops(tmp_path, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{suffix}"
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    backbone = Backbone("vit_tiny_patch16_224", weights=str(path), input_px=96)
    assert backbone.net.pos_embed.shape == (1, 1 + 36, 192)
    assert "missing" not in backbone.loaded
    torch.testing.assert_close(backbone.net.pos_embed[:, 0], state["pos_embed"][:, 0])


@pytest.mark.parametrize("name", ["test_vit", "inception_next_atto"])
def test_flow_starts_from_the_mean_of_the_rgb_kernels(name):
    torch.manual_seed(0)
    rgb = Backbone(name, input_px=64)
    torch.manual_seed(0)
    flow = Backbone(name, num_channels=20, input_px=64).eval()
    first = rgb.first_convolutions[0].weight.mean(1, keepdim=True)
    widened = flow.first_convolutions[0].weight
    torch.testing.assert_close(widened, first.expand_as(widened))
    with torch.no_grad():
        assert flow(black(flow)).shape[1] == rgb.num_features


def test_settings_and_checkpoint_build_the_same_transformer_again():
    backbone = Backbone("test_vit", input_px=96).eval()
    again = Backbone(**backbone.settings).eval()
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(again(images), backbone(images))


@pytest.mark.parametrize("name", ["test_vit", "efficientvit_b0"])
def test_half_of_the_layers_of_a_network_can_be_frozen(name):
    model = TSN(3, name)
    freeze(model, "all", 0.5)
    trained = [parameter.requires_grad for parameter in model.encoder.cnn.parameters()]
    assert any(trained)
    assert not all(trained)


@pytest.mark.parametrize("name", ["poolformer_s12", "rdnet_tiny"])
def test_a_share_of_layers_that_timm_does_not_number_is_refused(name):
    model = TSN(3, {"name": name, "input_px": 64})
    with pytest.raises(
        ConfigError, match=f"layers of backbone '{name}' are; set frozen_share to 0"
    ):
        freeze(model, "all", 0.5)


def test_a_tiny_vision_transformer_learns_to_tell_bright_from_dark():
    torch.manual_seed(0)
    model = TSN(2, {"name": "test_vit", "input_px": 64}, dropout=0.0)
    labels = torch.tensor([0, 1, 0, 1])
    clips = torch.rand(4, 2, 1, 3, 64, 64) + 2 * labels.view(4, 1, 1, 1, 1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(20):
        loss = F.cross_entropy(model(clips).scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not silent  # distributed training would wait for them
    output = model.eval()(clips)
    assert output.scores.argmax(1).tolist() == labels.tolist()
    assert output.spatial_weights.shape == (4, 2, 1, 4, 4)


def test_inside_folded_a_transformer_takes_every_number_of_frames():
    encoder = TSN(2, {"name": "test_vit", "input_px": 64}).eval().encoder
    images = torch.randint(0, 256, (7, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        plain, _ = encoder(images)
        with encoder.folded():
            folded, _ = encoder(images)
    torch.testing.assert_close(folded, plain)
