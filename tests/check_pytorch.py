#!/usr/bin/env python3
"""Reads files written by the tool with the packages that others use, and compares what comes out.

    python3 tests/check_pytorch.py MODEL.safetensors [TOOL]

MODEL is a pretrained DeiT-Tiny; TOOL is build/boundarydpt. For the same pictures the logits of
  timm          timm's names in F32, F16 and BF16, read by the safetensors package, loaded by name
  transformers  the folder that export --names hf writes, from_pretrained
  loader        examples/load_pruned.py: dense, pruned, pruned and fused, and a distilled network
are compared with what the tool itself says, and the picture that the tool made of a file (resized
and cropped) with what Pillow and torchvision's rule make of it. Needs torch, timm, transformers,
safetensors, numpy, Pillow; nothing of this is needed to build, run or test the library. Exit status
1 if any difference is above 1e-4 (F16 and BF16 are compared with themselves read back).
"""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from unittest.mock import MagicMock

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

STUBS = [n for n in ("torchvision", "torchvision.datasets", "torchvision.transforms",
                     "torchvision.transforms.functional", "torchvision.ops", "torchvision.ops.misc")
         if importlib.util.find_spec("torchvision") is None]
sys.modules.update({n: MagicMock() for n in STUBS})  # timm imports it, and nothing here needs it
import timm
for stub in STUBS:
    del sys.modules[stub]

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples"))
from load_pruned import Network

PRUNED = ["--attention", "3,7", "--activation", "8,10,11"]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BAD = 0


def run(tool, *arguments):
    done = subprocess.run([tool, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def report(name, got, wanted, allowed=1e-4):
    global BAD
    worst = float(np.abs(got.detach().double().numpy() - wanted).max())
    print(f"{name:38} largest difference {worst:.2e} of {np.abs(wanted).max():.2f}")
    BAD += not worst <= allowed


def pictures(folder, sizes):
    """PPM files of several shapes, and what Pillow and torchvision's evaluation make of them."""
    draw, names, ready = np.random.default_rng(2), [], []
    for i, (w, h) in enumerate(sizes):
        y, x = np.mgrid[0:h, 0:w]
        waves = [127 + 90 * np.sin(x / draw.uniform(5, 40) + y / draw.uniform(5, 40)) for _ in "rgb"]
        noise = draw.normal(0, 12, (h, w, 3))
        pixels = np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)
        names.append(os.path.join(folder, f"{i}.ppm"))
        Image.fromarray(pixels).save(names[-1])
        short, full = min(w, h), int(224 / 0.875)
        size = tuple(full if s == short else int(full * s / short) for s in (w, h))
        image = Image.fromarray(pixels).resize(size, Image.BICUBIC)
        left, top = (int(round((s - 224) / 2.0)) for s in size)
        crop = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float64)
        ready.append(((crop / 255 - MEAN) / STD).transpose(2, 0, 1))
    return names, torch.tensor(np.stack(ready), dtype=torch.float32)


def said(tool, model, names):
    lines = run(tool, "classify", model, *names, "--fit", "crop", "--json", "--logits")
    return np.array([line["logits"] for line in lines])


def check_timm(tool, model, folder, names, images):
    net = timm.create_model("deit_tiny_patch16_224", pretrained=False).eval()
    for dtype in ("f32", "f16", "bf16"):
        path = os.path.join(folder, dtype, "model.safetensors")
        os.mkdir(os.path.dirname(path))
        run(tool, "export", model, "--safetensors", path, "--dtype", dtype)
        tensors = load_file(path)
        net.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=True)
        with torch.no_grad():
            report(f"timm, {dtype} ({len(tensors)} tensors, strict)", net(images),
                   said(tool, path, names))
    reference = load_file(model)
    written = load_file(os.path.join(folder, "f32", "model.safetensors"))
    same = reference.keys() == written.keys() and all(
        torch.equal(reference[k].float(), written[k]) for k in reference)
    halves = all(torch.equal(reference[k].to(t), load_file(os.path.join(folder, d,
                 "model.safetensors"))[k]) for k in reference
                 for d, t in (("f16", torch.float16), ("bf16", torch.bfloat16)))
    print(f"{'safetensors package':38} same bits F32: {same}; F16 and BF16 as torch rounds: {halves}")
    global BAD
    BAD += not (same and halves)


def check_transformers(tool, model, folder, names, images):
    for kind, path in (("vit", model), ("deit", make_distilled(folder))):
        out = os.path.join(folder, "hf-" + kind)
        os.mkdir(out)
        run(tool, "export", path, "--safetensors", os.path.join(out, "model.safetensors"),
            "--names", "hf")
        cls = (transformers.ViTForImageClassification if kind == "vit"
               else transformers.DeiTForImageClassificationWithTeacher)
        net, info = cls.from_pretrained(out, output_loading_info=True)
        missing = list(info["missing_keys"]) + list(info["unexpected_keys"])
        with torch.no_grad():
            logits = net.eval()(pixel_values=images).logits
        report(f"transformers {transformers.__version__}, {kind}, missing {missing}", logits,
               said(tool, path, names))


def make_distilled(folder):
    """A distilled DeiT-Tiny with random weights, written by timm and the safetensors package."""
    from safetensors.torch import save_file
    torch.manual_seed(3)
    net = timm.create_model("deit_tiny_distilled_patch16_224", pretrained=False)
    path = os.path.join(folder, "distilled.safetensors")
    save_file({k: v + 0.02 * torch.randn_like(v) for k, v in net.state_dict().items()}, path)
    return path


def check_loader(tool, model, folder, names, images):
    pruned, fused = os.path.join(folder, "p.safetensors"), os.path.join(folder, "f.safetensors")
    dense = os.path.join(folder, "f32", "model.safetensors")  # has our metadata
    distilled = os.path.join(folder, "d", "d.safetensors")
    os.mkdir(os.path.dirname(distilled))
    run(tool, "prune", model, "--out", pruned, *PRUNED)
    skip = os.path.join(folder, "s.safetensors")  # a removed attention layer leaves nothing
    run(tool, "prune", model, "--out", skip, "--start", "skip", *PRUNED)
    run(tool, "fuse", pruned, "--out", fused, "--images", "256")
    run(tool, "export", make_distilled(folder), "--safetensors", distilled)
    for name, path in (("dense", dense), ("pruned", pruned), ("skip", skip), ("fused", fused),
                       ("distilled", distilled)):
        with torch.no_grad():
            report(f"load_pruned.py, {name}", Network(path)(images), said(tool, path, names))


def main():
    model = sys.argv[1]
    tool = sys.argv[2] if len(sys.argv) > 2 else "build/boundarydpt"
    with tempfile.TemporaryDirectory() as folder:
        names, images = pictures(folder, [(224, 224), (500, 375), (333, 500), (97, 140)])
        check_timm(tool, model, folder, names, images)
        check_transformers(tool, model, folder, names, images)
        check_loader(tool, model, folder, names, images)
    sys.exit(BAD > 0)


if __name__ == "__main__":
    main()
