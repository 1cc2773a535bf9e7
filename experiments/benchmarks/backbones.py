"""Write the table of backbone families: the map that each gives, its features, its multiply-adds.

    python experiments/benchmarks/backbones.py [OUT=experiments/backbones.md]

One network a family is built with random weights (nothing is downloaded), fed one black image of
its own size, and its multiply-adds are counted, without attention and class scores. Families that
give no map are listed with the reason.
"""

import sys
from pathlib import Path

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from sta_tsn.errors import ConfigError
from sta_tsn.models import Backbone

FAMILIES = {
    "ResNet": "resnet50",
    "ResNet, the paper's": "resnet152",
    "ResNeXt": "resnext50_32x4d",
    "Res2Net": "res2net50_26w_4s",
    "RegNet": "regnety_032",
    "DenseNet": "densenet121",
    "VGG": "vgg16_bn",
    "RepVGG": "repvgg_a0",
    "Inception": "inception_v3",
    "Xception": "xception41",
    "HRNet": "hrnet_w18",
    "MobileNetV2": "mobilenetv2_100",
    "MobileNetV3": "mobilenetv3_large_100",
    "MobileNetV4": "mobilenetv4_conv_medium",
    "GhostNet": "ghostnet_100",
    "EfficientNet": "efficientnet_b0",
    "EfficientNet-Lite": "efficientnet_lite2",
    "EfficientNetV2": "efficientnetv2_rw_t",
    "ConvNeXt": "convnext_tiny",
    "ConvNeXt V2": "convnextv2_tiny",
    "InceptionNeXt": "inception_next_tiny",
    "ViT": "vit_small_patch16_224",
    "ViT, DINOv2": "vit_small_patch14_dinov2",
    "ViT, DINOv3": "vit_small_patch16_dinov3",
    "ViT, SigLIP": "vit_base_patch16_siglip_224",
    "ViT, CLIP": "vit_base_patch32_clip_224",
    "ViT on a ResNet (hybrid)": "vit_tiny_r_s16_p8_224",
    "DeiT III": "deit3_small_patch16_224",
    "BEiT": "beit_base_patch16_224",
    "EVA-02": "eva02_tiny_patch14_224",
    "CaiT": "cait_xxs24_224",
    "XCiT": "xcit_tiny_12_p16_224",
    "Swin": "swin_tiny_patch4_window7_224",
    "Swin V2": "swinv2_tiny_window8_256",
    "Hiera": "hiera_tiny_224",
    "MViTv2": "mvitv2_tiny",
    "PVT v2": "pvt_v2_b1",
    "Twins": "twins_svt_small",
    "NesT": "nest_tiny",
    "MaxViT": "maxvit_tiny_rw_224",
    "CoAtNet": "coatnet_0_rw_224",
    "DaViT": "davit_tiny",
    "FocalNet": "focalnet_tiny_srf",
    "CAFormer": "caformer_s18",
    "EfficientViT": "efficientvit_b0",
    "EfficientFormer V2": "efficientformerv2_s0",
    "FastViT": "fastvit_t8",
    "MobileViT": "mobilevit_s",
    "TinyViT": "tiny_vit_5m_224",
    "LeViT": "levit_128",
    "MLP-Mixer": "mixer_s32_224",
    "VOLO": "volo_d1_224",
}

HEAD = """# Backbones

Any timm network that gives a map can be the backbone: `make train BACKBONE=<name>`. One of each
family is below, built with random weights and fed one image of its own size (`model.input_px` sets
another). *Map* is what spatial attention chooses from, *features* the width D of F, multiply-adds
are one image's, a multiply-add counting once. Written by
`python experiments/benchmarks/backbones.py` with timm {timm} and torch {torch}.

| family | backbone | input, px | map | features | G multiply-adds | M parameters |
|---|---|---:|---:|---:|---:|---:|
"""


def row(family: str, name: str) -> tuple[str, str]:
    """Return the network's line of the table, or "" and the reason why it has none."""
    try:
        backbone = Backbone(name).eval()
    except ConfigError as error:
        return "", f"- {family}: {' '.join(str(error).split())}\n"
    image = torch.zeros(1, 3, backbone.input_px, backbone.input_px)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        maps = backbone(image)
    cells = (
        family,
        f"`{name}`",
        str(backbone.input_px),
        f"{maps.shape[2]} x {maps.shape[3]}",
        str(backbone.num_features),
        f"{counter.get_total_flops() / 2e9:.2f}",
        f"{sum(parameter.numel() for parameter in backbone.parameters()) / 1e6:.1f}",
    )
    return f"| {' | '.join(cells)} |\n", ""


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    path = Path(options.get("OUT", Path(__file__).parents[1] / "backbones.md"))
    timm.layers.set_fused_attn(False)  # the counter does not see into the fused kernel
    text = HEAD.format(timm=timm.__version__, torch=torch.__version__.partition("+")[0])
    refused = ""
    for family, name in FAMILIES.items():
        line, reason = row(family, name)
        text += line
        refused += reason
        print(line or reason, end="", flush=True)
    if refused:
        text += f"\nWithout a map, and so no backbone:\n\n{refused}"
    path.write_text(text, encoding="utf-8")
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
