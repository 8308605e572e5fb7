#!/usr/bin/env python3
"""Checks the ONNX files with ONNX's own checker and ONNX Runtime.

    python3 tests/check_onnx.py MODEL.safetensors [TOOL]

MODEL is a dense network such as a pretrained DeiT-Tiny; TOOL is build/boundarydpt. The network, the
same pruned, and the same pruned and fused are exported and compared with what the tool says for the
same pictures, at batches of 1 and 3. Needs onnx, onnxruntime, numpy; nothing of this is needed to
build, run or test the library. Exit status 1 if any difference is above 1e-4.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

PRUNED = ["--attention", "3,7", "--activation", "8,10,11"]


def run(tool, *arguments):
    done = subprocess.run([tool, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arguments}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def pictures(folder, count, side):
    """PPM files of the network's own size, which the tool takes as they are (--fit whole)."""
    draw = np.random.default_rng(1)
    bytes_ = draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    names = []
    for i, pixels in enumerate(bytes_):
        names.append(os.path.join(folder, f"{i}.ppm"))
        with open(names[-1], "wb") as f:
            f.write(b"P6\n%d %d\n255\n" % (side, side) + pixels.tobytes())
    return bytes_, names


def compare(tool, model, path, names, pixels):
    run(tool, "export", model, "--onnx", path)
    onnx.checker.check_model(path, full_check=True)
    meta = {p.key: p.value for p in onnx.load(path).metadata_props}
    mean, std = (np.array(json.loads(meta[k]), np.float32) for k in ("image_mean", "image_std"))
    images = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    said = run(tool, "classify", model, *names, "--fit", "whole", "--json", "--logits")
    wanted = np.array([line["logits"] for line in said])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 3):
        got = session.run(["logits"], {"images": np.ascontiguousarray(images[:batch])})[0]
        worst = max(worst, float(np.abs(got - wanted[:batch]).max()))
    return worst, float(np.abs(wanted).max()), os.path.getsize(path)


def main():
    model = sys.argv[1]
    tool = sys.argv[2] if len(sys.argv) > 2 else "build/boundarydpt"
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        side = run(tool, "info", model, "--json")[0]["image"]
        pixels, names = pictures(folder, 3, side)
        pruned, fused = os.path.join(folder, "p.safetensors"), os.path.join(folder, "f.safetensors")
        run(tool, "prune", model, "--out", pruned, *PRUNED)
        run(tool, "fuse", pruned, "--out", fused, "--images", "256")
        for name, path in (("dense", model), ("pruned", pruned), ("fused", fused)):
            worst, largest, size = compare(tool, path, os.path.join(folder, "x.onnx"), names, pixels)
            print(f"{name:7} {size:9} bytes  largest difference {worst:.2e} (largest logit "
                  f"{largest:.2f}), checker satisfied")
            bad += not worst <= 1e-4
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
