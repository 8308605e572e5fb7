#!/usr/bin/env python3
"""Computes forms of a vision transformer with PyTorch and timm, in double, for tests/test_forms.c.

    python3 tests/fixtures_forms.py            writes tests/fixtures/forms.safetensors
    python3 tests/fixtures_forms.py --check    recomputes and compares, writes nothing

FORMS names each network: what timm's VisionTransformer is told beside the sizes. Its weights are
the streams "forms/FORM/NAME" by the rule of fill_network in networks.h, with a scale of 0.25 for
biases and for the patch embedding. Three images are the stream "forms/images", [3,3,H,W] of scale
2, and have the labels 0, 1 and 2. For each form: `FORM.logits`, and of the mean cross-entropy `FORM.grad.NAME` of every parameter, the sum of
its gradient times the stream "dot/NAME" of scale 1, and `FORM.d_attn`, `FORM.d_act`, the gradients
of the importance of each layer: u + m (f(u) - u) stands for f, where u is the norm's output or the
pre-activation.

Two more kinds are for inputs that are no squares. `grid.AxB.CxD.timm` and `.deit`: the positions
"forms/grid", [1,1+A*B,8] of scale 1, of a network with a class token, resized by timm and as
PyTorch's plain bicubic resizes. `cut.WxH.CxD`: width and height to which timm's transforms resize
a picture of W x H for an input of C x D (height, width), crop_pct 0.875, before the centre crop.
"""
import sys

import torch
import torch.nn.functional as F
from timm.data.transforms import ResizeKeepRatio
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer

from fixtures import Fixture, values

FORMS = {
    "plain": {},
    "plain_wide": dict(embed_dim=12, num_heads=3, depth=1, patch_size=4),
    "tanh": dict(act_layer="gelu_tanh"),
    "tanh_avg": dict(act_layer="gelu_tanh", global_pool="avg"),
    "quick": dict(act_layer="quick_gelu", pre_norm=True),
    "quick_plain": dict(act_layer="quick_gelu", depth=1),
    "relu": dict(act_layer="relu"),
    "relu_regs": dict(act_layer="relu", reg_tokens=1),
    "mean": dict(global_pool="avg"),
    "mean_bare": dict(global_pool="avg", class_token=False, embed_dim=12, num_heads=3),
    "pooled": dict(global_pool="avg", fc_norm=False),
    "pooled_bare": dict(global_pool="avg", fc_norm=False, class_token=False, depth=1),
    "registers": dict(reg_tokens=3),
    "registers_bare": dict(reg_tokens=2, class_token=False, global_pool="avg", patch_size=4),
    "no_bias": dict(qkv_bias=False),
    "no_bias_mean": dict(qkv_bias=False, global_pool="avg", depth=1),
    "pre": dict(pre_norm=True),
    "pre_regs": dict(pre_norm=True, reg_tokens=2, depth=1),
    "headless": dict(num_classes=0),
    "headless_mean": dict(num_classes=0, global_pool="avg"),
    "wide": dict(img_size=(16, 24)),
    "tall_bare": dict(img_size=(24, 8), patch_size=4, class_token=False, reg_tokens=1, depth=1,
                      global_pool="avg", act_layer="relu", qkv_bias=False),
}
GRIDS = [((2, 3), (3, 2)), ((2, 3), (1, 5)), ((4, 2), (3, 3)), ((3, 3), (2, 6))]
CUTS = [(500, 375), (375, 500), (97, 140), (640, 150), (33, 32)]


class Kept(torch.nn.Module):
    """A layer with its importance: at m = 1 it is the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.m = layer, torch.nn.Parameter(torch.ones(()))

    def forward(self, u, **options):
        return u + self.m * (self.layer(u) - u)


def weight(form, name, shape):
    scale, offset = 0.25, 0.0
    if "norm" in name and name.endswith(".weight"):
        offset = 1.0
    elif name.endswith(("_embed", "_token")):
        scale = 0.5
    return values(f"forms/{form}/{name}", shape, scale, offset)


def network(form, told):
    sizes = dict(img_size=16, patch_size=8, embed_dim=8, num_heads=2, depth=2, mlp_ratio=1.5,
                 num_classes=5)
    sizes.update(told)
    model = VisionTransformer(**sizes)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weight(form, name, tuple(p.shape)))
    for block in model.blocks:
        block.attn, block.mlp.act = Kept(block.attn), Kept(block.mlp.act)
    return model.eval()


def oblongs(out):
    for old, new in GRIDS:
        pos = values("forms/grid", (1, 1 + old[0] * old[1], 8))
        grid = pos[:, 1:].reshape(1, *old, 8).permute(0, 3, 1, 2)
        for name, smooth in (("timm", True), ("deit", False)):
            new_grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False,
                                     antialias=smooth)
            new_pos = torch.cat([pos[:, :1], new_grid.flatten(2).transpose(1, 2)], 1)
            out.add("grid.%dx%d.%dx%d.%s" % (*old, *new, name), new_pos)
            if smooth:                                                        # timm's, in float
                theirs = resample_abs_pos_embed(pos, list(new), list(old))
                assert (theirs - new_pos).abs().max() < 1e-6
    for size in CUTS:
        for net in ((64, 96), (128, 64), (48, 224)):
            scaled = [int(n / 0.875) for n in net]
            picture = torch.zeros(3, size[1], size[0])
            high, wide = ResizeKeepRatio.get_params(picture, scaled, 0.0)
            out.add("cut.%dx%d.%dx%d" % (size + net), [wide, high])


def main():
    out = Fixture("forms.safetensors", "forms of a vision transformer: logits and gradients")
    for form, told in FORMS.items():
        model = network(form, told)
        images = values("forms/images", (3, 3, *model.patch_embed.img_size), 2.0)
        logits = model(images)
        F.cross_entropy(logits, torch.arange(3)).backward()
        out.add(form + ".logits", logits)
        for name, p in model.named_parameters():
            name = name.replace("attn.layer.", "attn.")
            if p.grad is not None and not name.endswith(".m"):
                dot = values("dot/" + name, tuple(p.shape))
                out.add(f"{form}.grad.{name}", (p.grad * dot).sum())
        out.add(form + ".d_attn", torch.stack([b.attn.m.grad for b in model.blocks]))
        out.add(form + ".d_act", torch.stack([b.mlp.act.m.grad for b in model.blocks]))
    oblongs(out)
    out.save_or_compare("--check" in sys.argv[1:])


if __name__ == "__main__":
    main()
