#!/usr/bin/env python3
"""Writes checkpoints as other programs do, for tests/test_checkpoint.c.

    python3 tests/fixtures_checkpoint.py [--old PYTHON]      writes tests/fixtures/checkpoint/
    python3 tests/fixtures_checkpoint.py --check             recomputes the logits, writes nothing

Needs PyTorch, timm, transformers and safetensors (2.13.0, 1.0.31, 5.23.0 and 0.8.0 wrote what is
committed). --old names an interpreter with PyTorch 1.13 (Debian 12: /usr/bin/python3 with the
package python3-torch); it writes the layouts of its time, and files without it stay as they are.
The README in the folder says what each file is for. Nothing of this is needed to run the tests.

The networks are tiny and their weights are streams of numbers made from names (fixtures/README.md),
exact in float, so that the logits, computed in double, do not depend on a random generator.
"""
import argparse
import functools
import json
import math
import os
import subprocess
import sys
from collections import OrderedDict
from unittest.mock import MagicMock

import numpy as np
import torch

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "checkpoint")
DEIT = dict(image=12, patch=4, width=12, depth=2, heads=3, mlp=20, classes=5, distilled=True)
VIT = dict(image=8, patch=4, width=8, depth=1, heads=2, mlp=12, classes=3, distilled=False)
MINI = dict(image=4, patch=2, width=4, depth=1, heads=1, mlp=4, classes=2, distilled=False)
WIDE = dict(image=(8, 12), patch=4, width=8, depth=1, heads=2, mlp=12, classes=3, distilled=False)
TALL = dict(image=(12, 8), patch=4, width=12, depth=2, heads=3, mlp=20, classes=5, distilled=True)


def sides(c):
    return c["image"] if isinstance(c["image"], tuple) else (c["image"], c["image"])


def values(name, shape, scale, offset=0.0):
    """Uniform in [offset - scale, offset + scale), exact in float: SplitMix64 of FNV-1a(name)."""
    key, mask = 0xCBF29CE484222325, (1 << 64) - 1
    for byte in name.encode("ascii"):
        key = (key ^ byte) * 0x100000001B3 & mask
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(
            0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    v = ((z >> np.uint64(44)).astype(np.float64) - 524288.0) / 524288.0 * scale + offset
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def shapes(c):
    """timm's names and shapes."""
    high, wide = sides(c)
    d, tokens = c["width"], high // c["patch"] * (wide // c["patch"]) + 1 + c["distilled"]
    s = OrderedDict(cls_token=(1, 1, d), pos_embed=(1, tokens, d))
    if c["distilled"]:
        s["dist_token"] = (1, 1, d)
    s["patch_embed.proj.weight"] = (d, 3, c["patch"], c["patch"])
    s["patch_embed.proj.bias"] = (d,)
    for i in range(c["depth"]):
        for name, out, into in (("norm1", d, 0), ("attn.qkv", 3 * d, d), ("attn.proj", d, d),
                                ("norm2", d, 0), ("mlp.fc1", c["mlp"], d), ("mlp.fc2", d, c["mlp"])):
            s["blocks.%d.%s.weight" % (i, name)] = (out, into) if into else (out,)
            s["blocks.%d.%s.bias" % (i, name)] = (out,)
    for name in ("norm",):
        s[name + ".weight"], s[name + ".bias"] = (d,), (d,)
    for name in ("head", "head_dist") if c["distilled"] else ("head",):
        s[name + ".weight"], s[name + ".bias"] = (c["classes"], d), (c["classes"],)
    return s


def weights(c, stream):
    out = OrderedDict()
    for name, shape in shapes(c).items():
        norm = "norm" in name and name.endswith("weight")
        out[name] = values(stream + "/" + name, shape, 0.25 if norm else 0.5, 1.0 if norm else 0.0)
    return out


def images(c, stream):
    return values(stream + "/images", (2, 3, *sides(c)), 2.0)


# ---- The same weights in the other names ---------------------------------------------------------

def hf_names(sd, depth, prefix, five):
    """timm's names as transformers 5 has them in memory, or as it and its forebears save them."""
    out = OrderedDict()
    fixed = {"cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token",
             "pos_embed": "embeddings.position_embeddings"}
    heads = {"head": "cls_classifier" if "dist_token" in sd else "classifier",
             "head_dist": "distillation_classifier"}
    layer = {"norm1": "layernorm_before", "norm2": "layernorm_after",
             "attn.proj": "attention.o_proj" if five else "attention.output.dense",
             "mlp.fc1": "mlp.fc1" if five else "intermediate.dense",
             "mlp.fc2": "mlp.fc2" if five else "output.dense"}
    qkv = (["attention.%s_proj" % x for x in "qkv"] if five else
           ["attention.attention." + x for x in ("query", "key", "value")])
    for name, t in sd.items():
        stem, _, kind = name.rpartition(".")
        if name in fixed:
            out[prefix + fixed[name]] = t
        elif stem in heads:
            out[heads[stem] + "." + kind] = t
        elif stem == "norm":
            out[prefix + "layernorm." + kind] = t
        elif stem == "patch_embed.proj":
            out[prefix + "embeddings.patch_embeddings.projection." + kind] = t
        else:
            _, i, part = stem.split(".", 2)
            where = prefix + ("layers." if five else "encoder.layer.") + i + "."
            if part == "attn.qkv":
                for new, third in zip(qkv, t.chunk(3)):
                    out[where + new + "." + kind] = third.clone()
            else:
                out[where + layer[part] + "." + kind] = t
    return out


def hf_model(c, eps):
    import transformers
    a = dict(hidden_size=c["width"], num_hidden_layers=c["depth"], num_attention_heads=c["heads"],
             intermediate_size=c["mlp"], image_size=c["image"], patch_size=c["patch"],
             num_labels=c["classes"], layer_norm_eps=eps, attn_implementation="sdpa")  # eager rounds to float
    if c["distilled"]:
        return transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**a))
    return transformers.ViTForImageClassification(transformers.ViTConfig(**a))


def timm_model(c, eps):
    import transformers  # noqa: F401  before the stand-ins, which it would take for the package
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".ops", ".ops.misc",
                 ".models", ".models.feature_extraction"):  # timm imports it; we do not need it
        sys.modules.setdefault("torchvision" + name, MagicMock())
    import timm.models.deit as deit
    from timm.models.vision_transformer import VisionTransformer
    kind = deit.VisionTransformerDistilled if c["distilled"] else VisionTransformer
    return kind(img_size=c["image"], patch_size=c["patch"], embed_dim=c["width"], depth=c["depth"],
                num_heads=c["heads"], mlp_ratio=c["mlp"] / c["width"], num_classes=c["classes"],
                norm_layer=functools.partial(torch.nn.LayerNorm, eps=eps))


def logits(model, sd, x):
    """In double. Both heads of a distilled network are averaged, in either library."""
    missing = model.load_state_dict(sd, strict=True)
    assert not missing.missing_keys and not missing.unexpected_keys
    model = model.double().eval()
    with torch.no_grad():
        y = model(x.double())
    return (y if isinstance(y, torch.Tensor) else y.logits).numpy()


# ---- Writing -------------------------------------------------------------------------------------

def path(name):
    full = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    return full


def training(full):
    """What a training program saves; with `full` also an average of the weights and an optimiser."""
    sd = weights(DEIT, "deit")
    args = argparse.Namespace(lr=5e-4, model="deit_test", sched="cosine", betas=[0.9, 0.999],
                              seed=None, drop=0.0, resume=True, big=2 ** 70, minus=-3, n=70000)
    obj = {"model": sd, "epoch": 299, "args": args, "scaler": {"scale": 65536.0}}
    if full:
        a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(3))
        opt = torch.optim.SGD([a, b], lr=0.1, momentum=0.9)
        (a.sum() + b.sum()).backward()
        opt.step()
        obj["model_ema"] = weights(DEIT, "ema")
        obj["optimizer"] = opt.state_dict()
        obj["seen"] = {1, 2}
    return obj


def save(obj, name, legacy=False):
    torch.save(obj, path(name), _use_new_zipfile_serialization=not legacy)


def awkward():
    """A bare state dict of views, transposes, parameters and a counter."""
    sd = weights(DEIT, "deit")
    flat = torch.cat([sd[n].flatten() for n in sd if "norm" in n])
    at = 0
    for name in sd:
        if "norm" in name:                                     # all norms in one storage
            sd[name], at = flat[at:at + sd[name].numel()], at + sd[name].numel()
        elif sd[name].dim() == 2:                              # column by column
            sd[name] = sd[name].t().contiguous().t()
        elif sd[name].dim() == 4:                              # channels last
            sd[name] = torch.nn.Parameter(sd[name].contiguous(memory_format=torch.channels_last))
        elif sd[name].dim() == 3:
            sd[name] = torch.nn.Parameter(sd[name])
    sd["blocks.0.bn.num_batches_tracked"] = torch.tensor(7)
    sd["note"] = "not a tensor"
    return sd


def lightning():
    sd = OrderedDict(("model." + k, v) for k, v in weights(VIT, "vit").items())
    sd.update(("model_ema.module." + k, v) for k, v in weights(VIT, "ema").items())
    sd["criterion.weight"] = torch.ones(3)
    return {"state_dict": sd, "global_step": 5, "hyper_parameters": {"lr": 0.1}}


def write_oblong():
    """Inputs that are no squares: transformers' folder, and timm's as push_to_hf_hub makes it."""
    from safetensors.torch import save_file
    model = hf_model(WIDE, 1e-6)
    model.load_state_dict(hf_names(weights(WIDE, "wide"), 1, "vit.", True))
    model.save_pretrained(path("wide.hf4"))
    save_file(weights(TALL, "tall"), path("tall.timm/model.safetensors"), {"format": "pt"})
    config = {"architecture": "deit_tiny_distilled_patch16_224", "num_classes": 5,
              "num_features": 12, "pretrained_cfg": {
                  "input_size": [3, *sides(TALL)], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
                  "crop_pct": 0.9, "interpolation": "bicubic"}, "model_args": {"num_heads": 3}}
    with open(path("tall.timm/config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


def write_new():
    from safetensors.torch import save_file
    write_oblong()
    for name, c, prefix in (("deit", DEIT, "deit."), ("vit", VIT, "vit.")):
        sd = weights(c, name)
        save_file(sd, path(name + ".timm.safetensors"), {"format": "pt"})
        model = hf_model(c, 1e-6)
        model.load_state_dict(hf_names(sd, c["depth"], prefix, True))
        model.save_pretrained(path(name + ".hf4"))             # it saves under the old names
        five = OrderedDict((k, v.contiguous()) for k, v in model.state_dict().items())
        os.makedirs(path(name + ".hf5"), exist_ok=True)
        save_file(five, path(name + ".hf5/model.safetensors"), {"format": "pt"})
        with open(path(name + ".hf4/config.json")) as f:
            config = f.read()
        with open(path(name + ".hf5/config.json"), "w") as f:
            f.write(config)
    save(training(True), "train.zip.pth")
    save(training(True), "train.legacy.pth", True)
    save(awkward(), "awkward.zip.pth")
    save(lightning(), "lightning.zip.pth")
    save(OrderedDict((k, v.half()) for k, v in weights(DEIT, "deit").items()), "half.zip.pth")
    save(OrderedDict((k, v.bfloat16()) for k, v in weights(DEIT, "deit").items()),
         "bfloat16.legacy.pth", True)
    save(OrderedDict((k, v.double()) for k, v in weights(VIT, "vit").items()), "double.zip.pth")
    five = hf_model(VIT, 1e-6)
    five.load_state_dict(hf_names(weights(VIT, "vit"), 1, "vit.", True))
    save(five.state_dict(), "vit.hf5.zip.pth")
    save(torch.nn.Linear(2, 2), "module.zip.pth")              # a whole object, not its weights
    torch.save({"model": weights(MINI, "mini")}, path("protocol4.pth"), pickle_protocol=4)
    mini = weights(MINI, "mini")
    save({"model": mini, "args": argparse.Namespace(lr=0.1)}, "mini.zip.pth")
    save({"model": mini, "args": argparse.Namespace(lr=0.1)}, "mini.legacy.pth", True)
    save_file(hf_names(mini, 1, "vit.", False), path("mini.hf4.safetensors"), {"format": "pt"})


def expected():
    """Logits in double for every network above, checked between timm and transformers."""
    out = {}
    for name, c, prefix in (("deit", DEIT, "deit."), ("vit", VIT, "vit."), ("mini", MINI, "vit."),
                            ("wide", WIDE, "vit."), ("tall", TALL, "deit.")):
        sd, x = weights(c, name), images(c, name)
        out[name + ".images"] = x.numpy()
        for eps in (1e-6, 1e-12):
            ours = logits(timm_model(c, eps), sd, x)
            theirs = logits(hf_model(c, eps), hf_names(sd, c["depth"], prefix, True), x)
            assert np.abs(ours - theirs).max() < 1e-12, np.abs(ours - theirs).max()
            out["%s.logits.%g" % (name, eps)] = ours
    x = images(DEIT, "deit")
    for name, kind in (("half", torch.float16), ("bfloat16", torch.bfloat16)):
        sd = OrderedDict((k, v.to(kind).float()) for k, v in weights(DEIT, "deit").items())
        out["deit.logits." + name] = logits(timm_model(DEIT, 1e-6), sd, x)
    out["deit.logits.ema"] = logits(timm_model(DEIT, 1e-6), weights(DEIT, "ema"), x)
    out["vit.logits.ema"] = logits(timm_model(VIT, 1e-6), weights(VIT, "ema"), images(VIT, "vit"))
    return {k: v.astype(np.float32 if "images" in k else np.float64) for k, v in out.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--old", metavar="PYTHON", help="an interpreter with PyTorch 1.13")
    p.add_argument("--as-old", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    if a.as_old:
        save(training(False), "old.zip.pth")
        save(training(False), "old.legacy.pth", True)
        print("PyTorch " + torch.__version__ + " wrote old.zip.pth, old.legacy.pth")
        return
    from safetensors.numpy import load_file, save_file
    torch.set_num_threads(1)
    want, file = expected(), path("expected.safetensors")
    if a.check:
        have = load_file(file)
        assert sorted(have) == sorted(want)
        worst = max(float(np.abs(have[k] - want[k]).max()) for k in want)
        print("largest difference %.3g" % worst)
        sys.exit(worst > 1e-10)
    write_new()
    save_file(want, file, {"torch": torch.__version__})
    if a.old:
        subprocess.run([a.old, os.path.abspath(__file__), "--as-old"], check=True)


if __name__ == "__main__":
    main()
