#!/usr/bin/env python3
"""Computes the importance of every unit of width with PyTorch and timm, for tests/test_width.c.

    python3 tests/fixtures_width.py            writes tests/fixtures/width.safetensors
    python3 tests/fixtures_width.py --check    recomputes and compares, writes nothing

The network is the odd one of fixtures.py, a distilled DeiT of 3 blocks. Its weights, and the bytes
of 77 images, are generated streams ("width/images"); image i has label i mod 7. Gradients are those
of the cross-entropy of the mean of both heads, summed over all images. The scores are group Taylor
as Torch-Pruning computes it for Isomorphic Pruning, written out here layer by layer: `embedding`
[60], `hidden` [3,152] and `features` [3,60], the last head after head.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from fixtures import Fixture, byte_values, odd_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def batch():
    pixels = torch.from_numpy(byte_values("width/images", (77, 3, 18, 18)).astype(np.float64)) / 255
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels - mean) / std, torch.arange(77) % 7


def rows(layer):
    """|w dL/dw| summed over the inputs of each output."""
    product = (layer.weight * layer.weight.grad).abs()
    return product.flatten(1).sum(1) if product.ndim > 1 else product                 # a norm's


def columns(layer):
    return (layer.weight * layer.weight.grad).abs().sum(0)


def group(scores):
    """The mean over the coupled layers, divided by the mean over the units."""
    score = torch.stack(scores).mean(0)
    return score / score.mean()


def main():
    model = odd_model().eval()
    images, labels = batch()
    F.cross_entropy(model(images), labels, reduction="sum").backward()
    stream = [rows(model.patch_embed.proj), rows(model.norm), columns(model.head),
              columns(model.head_dist)]
    hidden, features = [], []
    for block in model.blocks:
        qkv, proj, mlp = block.attn.qkv, block.attn.proj, block.mlp
        stream += [rows(block.norm1), columns(qkv), rows(proj), rows(block.norm2),
                   columns(mlp.fc1), rows(mlp.fc2)]
        hidden.append(group([rows(mlp.fc1), columns(mlp.fc2)]))
        features.append(group(list(rows(qkv).reshape(3, -1)) + [columns(proj)]))
    out = Fixture("width.safetensors", "importance of units of width, group Taylor")
    out.add("embedding", group(stream))
    out.add("hidden", torch.stack(hidden))
    out.add("features", torch.stack(features))
    out.save_or_compare("--check" in sys.argv[1:])


if __name__ == "__main__":
    main()
