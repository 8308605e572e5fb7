#!/usr/bin/env python3
"""Computes reference values for tests/test_merge.c and tests/test_segment.c with PyTorch.

    python3 tests/fixtures_tokens.py             writes tests/fixtures/{merge,segment}.safetensors
    python3 tests/fixtures_tokens.py --check     recomputes and compares, writes nothing

All arithmetic is double, on one thread. Weights and images are streams of numbers made from names
(fixtures/README.md), exact in float. PyTorch 2.13.0 wrote what is committed.
"""
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

from fixtures import FOLDER, values


def weight(name, shape):
    scale, offset = 0.25, 0.0
    if "norm" in name and name.endswith(".weight"):
        offset = 1.0
    elif name.endswith((".bias", "_token", "_embed")):
        scale = 0.5
    return values("merge/" + name, shape, scale, offset)


# --------------------------------------------------------------------------------------------------
# Token merging, image by image, token by token
# --------------------------------------------------------------------------------------------------

IMAGE, PATCH, WIDTH, HEADS, DEPTH, MLP, CLASSES = 28, 4, 24, 3, 5, 40, 5


class Margin:
    """How far the closest decision was from falling the other way."""
    def __init__(self):
        self.least = 1e9

    def see(self, gap):
        self.least = min(self.least, float(gap))


def merge(x, size, keys, r, fixed, margin):
    """x[N,D], size[N], keys[N,d] -> the same for N - r tokens."""
    n = x.shape[0]
    r = min(r, (n - fixed) // 2)
    if r == 0:
        return x, size
    unit = keys / keys.norm(dim=1, keepdim=True)
    a, b = list(range(0, n, 2)), list(range(1, n, 2))
    cosine = unit[a] @ unit[b].T
    cosine[0, :] = -math.inf                   # the class token joins nobody
    if fixed == 2:
        cosine[:, 0] = -math.inf               # nobody joins the distillation token
    score, best = cosine.max(dim=1)
    order = sorted(range(len(a)), key=lambda i: -float(score[i]))
    gone = order[:r]
    if r < len(a) - 1:
        margin.see(score[order[r - 1]] - score[order[r]])
    groups = {j: [j] for j in b}
    for i in gone:
        two = cosine[i].topk(min(2, len(b))).values
        if len(b) > fixed:
            margin.see(two[0] - two[1])
        groups[b[int(best[i])]].append(a[i])
    stay = [t for i, t in enumerate(a) if i not in gone]
    keep = [[t] for t in stay] + [groups[j] for j in b]
    if fixed == 2:                             # class, distillation, rest of A, rest of B
        dist = keep.pop(len(stay))
        keep.insert(1, dist)
    new_x, new_size = [], []
    for group in keep:
        s = size[group]
        new_x.append((x[group] * s[:, None]).sum(0) / s.sum())
        new_size.append(s.sum())
    return torch.stack(new_x), torch.stack(new_size)


def network(images, r, distilled=0, gone=(), form="ln", fitted=(), no_gelu=()):
    margin, side = Margin(), IMAGE // PATCH
    n, out, left = side * side + 1 + distilled, [], 0

    def linear(name, x, o, i):
        return F.linear(x, weight(name + ".weight", (o, i)), weight(name + ".bias", (o,)))

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), weight(name + ".weight", (WIDTH,)),
                            weight(name + ".bias", (WIDTH,)), 1e-6)

    for image in images:
        x = F.conv2d(image[None], weight("patch_embed.proj.weight", (WIDTH, 3, PATCH, PATCH)),
                     weight("patch_embed.proj.bias", (WIDTH,)), stride=PATCH)[0]
        x = [x.flatten(1).T]
        if distilled:
            x.insert(0, weight("dist_token", (1, 1, WIDTH))[0])
        x = torch.cat([weight("cls_token", (1, 1, WIDTH))[0]] + x)
        x = x + weight("pos_embed", (1, n, WIDTH))[0]
        size = torch.ones(n)
        for l in range(DEPTH):
            p = "blocks.%d." % l
            if l in gone:
                x = {"ln": x + norm(p + "norm1", x), "skip": x, "double": 2 * x}[form]
                keys = norm(p + "norm2", x)
            elif l in fitted:
                x = x + linear(p + "attn.fitted", norm(p + "norm1", x), WIDTH, WIDTH)
                keys = norm(p + "norm2", x)
            else:
                qkv = linear(p + "attn.qkv", norm(p + "norm1", x), 3 * WIDTH, WIDTH)
                q, k, v = qkv.reshape(len(x), 3, HEADS, WIDTH // HEADS).permute(1, 2, 0, 3)
                scores = q @ k.transpose(1, 2) / math.sqrt(WIDTH // HEADS) + size.log()
                y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), WIDTH)
                x = x + linear(p + "attn.proj", y, WIDTH, WIDTH)
                keys = k.mean(0)
            x, size = merge(x, size, keys, r, 1 + distilled, margin)
            h = linear(p + "mlp.fc1", norm(p + "norm2", x), MLP, WIDTH)
            h = h if l in no_gelu else F.gelu(h)
            x = x + linear(p + "mlp.fc2", h, WIDTH, MLP)
        assert abs(float(size.sum()) - n) < 1e-9
        y, left = linear("head", norm("norm", x)[0], CLASSES, WIDTH), len(x)
        if distilled:
            y = (y + linear("head_dist", norm("norm", x)[1], CLASSES, WIDTH)) / 2
        out.append(y)
    return torch.stack(out), left, margin.least


CASES = {
    "r0": dict(r=0), "r3": dict(r=3), "r8": dict(r=8), "r11": dict(r=11), "r40": dict(r=40),
    "dist_r0": dict(r=0, distilled=1), "dist_r4": dict(r=4, distilled=1),
    "dist_r9": dict(r=9, distilled=1), "dist_r40": dict(r=40, distilled=1),
    "ln": dict(r=6, gone=(0, 2)), "skip": dict(r=6, gone=(0, 2), form="skip"),
    "double": dict(r=6, gone=(0, 2), form="double"), "fitted": dict(r=6, fitted=(1, 3)),
    "both": dict(r=7, gone=(1, 3), no_gelu=(2, 3), distilled=1),
}


def group_merge():
    """Images are taken from the first stream in which no decision is closer than 1e-3."""
    out = {}
    for name, how in CASES.items():
        for stream in range(1000):
            images = values("merge/%s.%d" % (name, stream), (3, 3, IMAGE, IMAGE), 2.0)
            logits, left, margin = network(images, **how)
            if margin > 1e-3:
                break
        else:
            raise SystemExit(name + ": every stream has a close decision")
        out[name + ".logits"] = logits.numpy()
        out[name + ".stream"] = np.array([float(stream)])
        out[name + ".tokens"] = np.array([float(left)])
    return out


# --------------------------------------------------------------------------------------------------
# Dense prediction
# --------------------------------------------------------------------------------------------------

def trunk(images, p, distilled):
    """What bdpt_features returns, from parameters p: [B, patches, WIDTH]."""
    x = F.conv2d(images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=PATCH)
    front = [p["cls_token"]] + ([p["dist_token"]] if distilled else [])
    x = torch.cat([t.expand(len(images), -1, -1) for t in front] + [x.flatten(2).transpose(1, 2)],
                  dim=1) + p["pos_embed"]
    n = x.shape[1]

    def linear(name, x):
        return F.linear(x, p[name + ".weight"], p[name + ".bias"])

    def norm(name, x):
        return F.layer_norm(x, (WIDTH,), p[name + ".weight"], p[name + ".bias"], 1e-6)

    for l in range(DEPTH):
        b = "blocks.%d." % l
        qkv = linear(b + "attn.qkv", norm(b + "norm1", x))
        q, k, v = qkv.reshape(-1, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, n, WIDTH)
        x = x + linear(b + "attn.proj", y)
        x = x + linear(b + "mlp.fc2", F.gelu(linear(b + "mlp.fc1", norm(b + "norm2", x))))
    return norm("norm", x[:, 1 + distilled:])


def parameters(distilled):
    n = (IMAGE // PATCH) ** 2 + 1 + distilled
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, n, WIDTH),
              "patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
              "patch_embed.proj.bias": (WIDTH,),
              "norm.weight": (WIDTH,), "norm.bias": (WIDTH,),
              "head.weight": (CLASSES, WIDTH), "head.bias": (CLASSES,)}
    if distilled:
        shapes["dist_token"] = (1, 1, WIDTH)
    for l in range(DEPTH):
        for name, o, i in (("norm1", WIDTH, 0), ("attn.qkv", 3 * WIDTH, WIDTH),
                           ("attn.proj", WIDTH, WIDTH), ("norm2", WIDTH, 0),
                           ("mlp.fc1", MLP, WIDTH), ("mlp.fc2", WIDTH, MLP)):
            shapes["blocks.%d.%s.weight" % (l, name)] = (o, i) if i else (o,)
            shapes["blocks.%d.%s.bias" % (l, name)] = (o,)
    return {k: weight(k, v).requires_grad_() for k, v in shapes.items()}


def grids(x, h, high, wide):
    """The tokens' layout [B, hw, K] around PyTorch's interpolate."""
    b, n, k = x.shape
    y = F.interpolate(x.transpose(1, 2).reshape(b, k, h, n // h), (high, wide), mode="bilinear",
                      align_corners=False)
    return y.flatten(2).transpose(1, 2)


def labels(name, count, classes, ignored):
    """Whole numbers 0 .. classes-1, and -1 where `ignored` of 8 say so."""
    v = ((values(name, (count,)) + 1) / 2 * classes).floor()
    gone = ((values(name + "/ignored", (count,)) + 1) / 2 * 8).floor() < ignored
    return torch.where(gone, -1.0, v)


def group_segment():
    out = {}
    for i, (b, h, w, k, high, wide) in enumerate(((1, 1, 1, 1, 3, 2), (2, 2, 3, 3, 7, 5),
                                                  (1, 4, 4, 2, 16, 16), (2, 5, 3, 4, 2, 3),
                                                  (1, 7, 7, 3, 14, 21), (1, 3, 6, 2, 3, 6))):
        c = "upsample.%d." % i
        x = values("segment/" + c + "x", (b, h * w, k)).requires_grad_()
        y = grids(x, h, high, wide)
        dy = values("segment/" + c + "dy", y.shape)
        (y * dy).sum().backward()
        out.update({c + "size": np.array([b, h, w, k, high, wide], float),
                    c + "y": y.detach().numpy(), c + "dx": x.grad.numpy()})
    for i, (rows, k, ignored) in enumerate(((1, 1, 0), (7, 3, 0), (40, 21, 2), (33, 5, 7))):
        c = "pixel_loss.%d." % i
        x = values("segment/" + c + "x", (rows, k), 4.0).requires_grad_()
        t = labels("segment/" + c + "labels", rows, k, ignored)
        assert (t >= 0).any()
        y = F.cross_entropy(x, t.long(), ignore_index=-1)
        y.backward()
        out.update({c + "shape": np.array([rows, k, ignored], float), c + "y": y.detach().reshape(1).numpy(),
                    c + "dx": x.grad.numpy()})
    for distilled in (0, 1):
        c = "whole.%d." % distilled
        p = parameters(distilled)
        images = values("segment/" + c + "images", (2, 3, IMAGE, IMAGE), 2.0)
        t = labels("segment/" + c + "labels", 2 * IMAGE * IMAGE, CLASSES, 2)
        x = trunk(images, p, distilled)
        z = grids(F.linear(x, p["head.weight"], p["head.bias"]), IMAGE // PATCH, IMAGE, IMAGE)
        loss = F.cross_entropy(z.reshape(-1, CLASSES), t.long(), ignore_index=-1)
        loss.backward()
        out.update({c + "features": x.detach().numpy()[:1], c + "loss": loss.detach().reshape(1)
                    .numpy()})
        for name in ("head.weight", "norm.weight", "blocks.1.attn.qkv.bias",
                     "blocks.3.mlp.fc1.bias", "cls_token", "pos_embed"):
            out[c + "grad." + name] = p[name].grad.numpy()
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def main():
    groups = {"merge": group_merge, "segment": group_segment}
    worst = 0.0
    for group, make in groups.items():
        file, want = os.path.join(FOLDER, group + ".safetensors"), make()
        if "--check" in sys.argv[1:]:
            have = load_file(file)
            assert sorted(have) == sorted(want)
            worst = max([worst] + [float(np.abs(have[k] - want[k]).max()) for k in want])
        else:
            save_file(want, file, {"torch": torch.__version__})
            print(group, os.path.getsize(file), "bytes")
    if "--check" in sys.argv[1:]:
        print("largest difference %.3g" % worst)
        sys.exit(worst > 1e-10)


if __name__ == "__main__":
    main()
