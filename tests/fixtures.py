#!/usr/bin/env python3
"""Computes reference values for the tests of boundarydpt.h with PyTorch, timm and Pillow.

    python3 tests/fixtures.py                        every group that needs no download
    python3 tests/fixtures.py model pruned           only these groups
    python3 tests/fixtures.py deit --deit FILE       logits of a pretrained DeiT-Tiny
    python3 tests/fixtures.py --check                recompute and compare, write nothing

Each group becomes one safetensors file in tests/fixtures/. The README there names every tensor.
Nothing of this is needed to build, run or test the library: the files are part of the repository.

Three rules make the files good references.
1. All arithmetic is double, on one thread. A float build is judged against the double truth.
2. Every generated input and weight is exact in float, so a float build starts from the same numbers
   and a difference is a difference of arithmetic, not of the input's rounding. (Smoothed targets
   and settings such as eps are not.)
3. What is large and has no meaning of its own (weights, images) is not stored but generated, by
   `values` below, whose ten-line twin in C stands in the README.
"""
import argparse
import hashlib
import json
import math
import os
import sys

import numpy as np
import PIL
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from timm.data import mixup as timm_mixup
from timm.layers import resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEma

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")


# --------------------------------------------------------------------------------------------------
# Numbers from a name
# --------------------------------------------------------------------------------------------------

def bits(name, count):
    """The 64-bit words 0 .. count-1 of the stream `name`: SplitMix64 seeded with FNV-1a(name)."""
    key, mask = 0xCBF29CE484222325, (1 << 64) - 1
    for byte in name.encode("ascii"):
        key = (key ^ byte) * 0x100000001B3 & mask
    with np.errstate(over="ignore"):
        step = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = np.uint64(key) + step
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(name, shape, scale=1.0, offset=0.0):
    """Uniform in [offset - scale, offset + scale): a multiple of scale * 2^-19, exact in float.

    Only 20 of the 64 bits are used and `scale` must be a power of two. So every step is exact in
    double, a compiler's fused multiply-add changes nothing, and the result fits in a float.
    """
    assert math.frexp(scale)[0] == 0.5, "scale must be a power of two"
    k = (bits(name, math.prod(shape)) >> np.uint64(44)).astype(np.float64)
    v = (k - 524288.0) / 524288.0 * scale + offset
    assert np.array_equal(v, v.astype(np.float32).astype(np.float64)), name + " is not a float"
    return torch.from_numpy(v.reshape(shape))


def byte_values(name, shape):
    """Uniform bytes: the top eight bits of each word."""
    return (bits(name, math.prod(shape)) >> np.uint64(56)).astype(np.uint8).reshape(shape)


# --------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------

class Fixture:
    """One file: named tensors in the order they were added, and metadata strings."""

    def __init__(self, file, about):
        self.file, self.tensors = file, {}
        self.metadata = {"format": "pt", "about": about, "torch": torch.__version__,
                         "timm": timm.__version__, "numpy": np.__version__,
                         "pillow": PIL.__version__}

    def add(self, name, value):
        """Adds a tensor, an array, a list or a number; what is not F32 or U8 becomes F64."""
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        value = np.atleast_1d(np.asarray(value))
        if value.dtype not in (np.dtype(np.float32), np.dtype(np.uint8)):
            value = value.astype(np.float64)
        assert name not in self.tensors, name
        self.tensors[name] = np.array(value, order="C")        # a copy: later steps change weights

    def add_all(self, prefix, **tensors):
        for name, value in tensors.items():
            self.add(prefix + "." + name, value)

    def note(self, key, value):
        self.metadata[key] = value if isinstance(value, str) else json.dumps(value)

    def save(self):
        """Writes the file; unlike the safetensors package, the same content to the same bytes."""
        kinds = {"float64": "F64", "float32": "F32", "uint8": "U8"}
        header, body = {"__metadata__": self.metadata}, b""
        for name in sorted(self.tensors, key=lambda n: -self.tensors[n].itemsize):  # aligned
            t = self.tensors[name]
            header[name] = {"dtype": kinds[t.dtype.name], "shape": list(t.shape),
                            "data_offsets": [len(body), len(body) + t.nbytes]}
            body += t.tobytes()
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)
        path = os.path.join(FOLDER, self.file)
        with open(path, "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text + body)
        self.compare(tolerance=0.0)
        print(f"{self.file}: {len(self.tensors)} tensors, {os.path.getsize(path)} bytes")

    def save_or_compare(self, check):
        """Writes the file, or with `check` compares what it has with it."""
        if check:
            worst = self.compare(tolerance=1e-10)
            print(f"{self.file}: equal within {worst:.1g} of each tensor's largest entry")
        else:
            self.save()

    def compare(self, tolerance):
        """Compares with the file on disk, relative to each tensor's largest entry."""
        worst = 0.0
        with safe_open(os.path.join(FOLDER, self.file), "np") as f:
            assert set(f.keys()) == set(self.tensors), self.file + ": other tensor names"
            for name, t in self.tensors.items():
                old = f.get_tensor(name)
                assert old.dtype == t.dtype and old.shape == t.shape, self.file + ": " + name
                gap = np.abs(old.astype(np.float64) - t.astype(np.float64)).max()
                size = np.abs(old.astype(np.float64)).max()
                limit = max(tolerance, 1e-5) if t.dtype == np.float32 and tolerance else tolerance
                assert gap <= limit * max(size, 1e-30) or gap < 1e-15 and tolerance, \
                    f"{self.file}: {name} differs by {gap:g} of {size:g}"
                worst = max(worst, gap / max(size, 1e-30))
        return worst


def checksum(name, t):
    """Five numbers that pin a tensor: sum, sum of absolutes, sum of squares, largest absolute,
    and the scalar product with values("probe/" + name), which notices swapped entries."""
    probe = values("probe/" + name, t.shape)
    return torch.stack([t.sum(), t.abs().sum(), (t * t).sum(), t.abs().max(), (t * probe).sum()])


# --------------------------------------------------------------------------------------------------
# Group 1: single operations
# --------------------------------------------------------------------------------------------------

def differentiate(out, case, function, inputs, extra=None):
    """Stores a case: every input, y = function(inputs), dy, and the gradient of sum(y * dy)."""
    leaves = {k: v.clone().requires_grad_(True) for k, v in inputs.items()}
    y = function(**leaves)
    dy = values("ops/" + case + ".dy", y.shape) if y.ndim else torch.ones(())
    y.backward(dy)
    out.add_all(case, **inputs, **(extra or {}), y=y, dy=dy)
    out.add_all(case, **{"d" + k: v.grad for k, v in leaves.items()})


def attention(qkv):
    """Packed [B,N,3,h,d] -> [B,N,h*d], by the formula, so that no fused kernel is trusted."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)                                            # [B,h,N,d]
    p = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)              # [B,h,N,N]
    return (p @ v).transpose(1, 2).flatten(2)


def patch_embedding(x, w, b):
    return F.conv2d(x, w, b, stride=w.shape[-1]).flatten(2).transpose(1, 2)


def soft_cross_entropy(logits, targets):
    """The mean over the batch of -sum t log p, as timm's SoftTargetCrossEntropy."""
    return (-targets * F.log_softmax(logits, -1)).sum(-1).mean()


def smooth_targets(labels, classes, lam, smoothing):
    """timm's mixup_target: smoothed one-hot rows, mixed with the batch in reverse order."""
    return timm_mixup.mixup_target(torch.tensor(labels), classes, lam, smoothing)


def soft_distillation(student, teacher, tau, kind):
    """KL(teacher || student) at temperature tau, times tau^2.
    'deit' divides by the number of logits, as DeiT's code does; 'batchmean' by the batch."""
    total = F.kl_div(F.log_softmax(student / tau, 1), F.log_softmax(teacher / tau, 1),
                     reduction="sum", log_target=True) * tau * tau
    return total / (student.numel() if kind == "deit" else student.shape[0])


def group_ops():
    out = Fixture("ops.safetensors", "single operations: inputs, outputs, gradients of sum(y * dy)")

    def value(name, shape, scale=1.0, offset=0.0):
        return values("ops/" + name, shape, scale, offset)

    shapes = [(1, 1, 1), (3, 1, 5), (1, 7, 3), (5, 9, 4), (17, 33, 19)]
    for i, (rows, n_in, n_out) in enumerate(shapes):
        c = f"linear.{i}"
        differentiate(out, c, lambda x, w, b: F.linear(x, w, b),
                      {"x": value(c + ".x", (rows, n_in)), "w": value(c + ".w", (n_out, n_in)),
                       "b": value(c + ".b", (n_out,))})
    c = "linear.big"                                    # larger than any tile of a fast kernel
    x, w, b = (value(c + n, s).requires_grad_(True)
               for n, s in ((".x", (131, 70)), (".w", (93, 70)), (".b", (93,))))
    y = F.linear(x, w, b)
    y.backward(value(c + ".dy", (131, 93)))
    for name, t in {"y": y.detach(), "dx": x.grad, "dw": w.grad, "db": b.grad}.items():
        out.add(f"{c}.{name}.sums", checksum(f"{c}.{name}", t))

    shapes = [(1, 1, 1e-6), (3, 1, 1e-12), (1, 5, 1e-6), (4, 60, 1e-6), (7, 33, 1e-12),
              (4, 60, 1e-12)]
    for i, (rows, d, eps) in enumerate(shapes):
        c = f"layer_norm.{i}"
        far = i == 5                              # a mean far from 0 defeats E[x^2] - E[x]^2
        differentiate(out, c, lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, eps),
                      {"x": value(c + ".x", (rows, d), 4.0 if far else 2.0, 64.0 if far else 0.0),
                       "w": value(c + ".w", (d,), 0.25, 1.0), "b": value(c + ".b", (d,))},
                      {"eps": eps})

    z = torch.cat([torch.arange(-96, 97) / 8.0, torch.tensor([2.0**-30, -2.0**-30, 2.0**-12])])
    for i, z in enumerate([z, value("gelu.1.x", (1,)), value("gelu.2.x", (7, 9), 4.0)]):
        exact = [0.5 * v * math.erfc(-v / math.sqrt(2.0)) for v in z.flatten().tolist()]
        differentiate(out, f"gelu.{i}", F.gelu, {"x": z},
                      {"y_erfc": torch.tensor(exact).reshape(z.shape)})

    for i, (rows, n) in enumerate([(1, 1), (3, 1), (1, 7), (5, 33), (2, 197), (3, 11)]):
        c = f"softmax.{i}"
        x = value(c + ".x", (rows, n), 4.0)
        if i == 5:                                # exp overflows unless the maximum is subtracted
            x = (x * 1024).round() / 1024 + 1024
        differentiate(out, c, lambda x: x.softmax(-1), {"x": x})

    shapes = [(1, 1, 1, 1), (2, 1, 2, 3), (2, 7, 3, 5), (1, 16, 2, 8), (1, 19, 2, 13)]
    for i, (b, n, h, d) in enumerate(shapes):
        c = f"attention.{i}"
        qkv = value(c + ".qkv", (b, n, 3, h, d), 2.0)
        reference = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        assert (reference.transpose(1, 2).flatten(2) - attention(qkv)).abs().max() < 1e-13
        differentiate(out, c, attention, {"qkv": qkv})

    shapes = [(2, 3, 18, 18, 6, 7), (1, 1, 4, 4, 4, 1), (1, 3, 8, 12, 4, 5), (1, 2, 3, 3, 1, 3),
              (2, 3, 10, 5, 5, 4)]
    for i, (b, channels, high, wide, p, d) in enumerate(shapes):
        c = f"patch_embed.{i}"
        differentiate(out, c, patch_embedding, {"x": value(c + ".x", (b, channels, high, wide)),
                                                "w": value(c + ".w", (d, channels, p, p)),
                                                "b": value(c + ".b", (d,))})

    shapes = [(1, 1, 1, False), (3, 4, 5, False), (2, 9, 6, True), (1, 1, 7, True)]
    for i, (b, n, d, distilled) in enumerate(shapes):
        c = f"tokens.{i}"
        heads = ["cls", "dist"] if distilled else ["cls"]

        def tokens(patches, pos, **prefix):
            rows = [t.expand(patches.shape[0], -1, -1) for t in prefix.values()]
            return torch.cat(rows + [patches], 1) + pos
        differentiate(out, c, tokens, {"patches": value(c + ".patches", (b, n, d)),
                                       "pos": value(c + ".pos", (1, n + len(heads), d)),
                                       **{t: value(c + "." + t, (1, 1, d)) for t in heads}})

    for i, (shape, m) in enumerate([((1, 1), 1.0), ((3, 4), 0.0), ((2, 5, 6), 1.0),
                                    ((4, 1, 3), 0.3125), ((1, 9), -0.75)]):
        c = f"mix.{i}"
        differentiate(out, c, lambda f, r, m: m * f + (1.0 - m) * r,
                      {"f": value(c + ".f", shape), "r": value(c + ".r", shape),
                       "m": torch.tensor([m])})

    keep = torch.tensor([1.0, 0.0, 1.0, 1.0])                  # one draw per sample, as timm's
    differentiate(out, "drop_path.0", lambda x: x * (keep / 0.75)[:, None, None],
                  {"x": value("drop_path.0.x", (4, 3, 5))}, {"keep": keep, "keep_prob": 0.75})

    labels = [[0], [3], [0, 0, 0, 0, 0], [9, 0, 4, 4], [99, 7, 50]]
    for i, (rows, lam, smoothing) in enumerate(zip(labels, [1.0, 1.0, 0.5, 0.3125, 0.875],
                                                   [0.0, 0.1, 0.1, 0.1, 0.1])):
        b, classes = len(rows), [1, 7, 1, 10, 100][i]
        targets = smooth_targets(rows, classes, lam, smoothing)
        out.add_all(f"mixup_target.{i}", labels=rows, classes=classes, lam=lam,
                    smoothing=smoothing, y=targets)
        c = f"soft_ce.{i}"
        differentiate(out, c, lambda x: soft_cross_entropy(x, targets),
                      {"x": value(c + ".x", (b, classes), 4.0)}, {"targets": targets})
    targets = value("soft_ce.5.targets", (3, 6), 0.5, 0.5)      # rows that do not sum to 1
    differentiate(out, "soft_ce.5", lambda x: soft_cross_entropy(x, targets),
                  {"x": value("soft_ce.5.x", (3, 6), 64.0)}, {"targets": targets})

    for i, (b, classes, alpha, tau) in enumerate([(1, 1, 0.5, 1.0), (1, 5, 0.5, 1.0),
                                                  (4, 10, 0.5, 3.0), (3, 7, 0.125, 2.0),
                                                  (6, 3, 1.0, 4.0)]):
        x = {"cls": value(f"distill.{i}.cls", (b, classes), 4.0),
             "dist": value(f"distill.{i}.dist", (b, classes), 4.0)}
        teacher = value(f"distill.{i}.teacher", (b, classes), 4.0)
        hard = teacher.argmax(1)
        targets = smooth_targets([j % classes for j in range(b)], classes, 0.75, 0.1)
        extra = {"teacher": teacher, "targets": targets, "alpha": alpha, "tau": tau}

        def distil(kd):
            return lambda cls, dist: (1 - alpha) * soft_cross_entropy(cls, targets) \
                + alpha * kd(dist)
        differentiate(out, f"hard_distill.{i}", distil(lambda d: F.cross_entropy(d, hard)), x,
                      {**extra, "teacher_labels": hard})
        for kind in ("deit", "batchmean"):
            differentiate(out, f"soft_distill_{kind}.{i}",
                          distil(lambda d: soft_distillation(d, teacher, tau, kind)), x,
                          {**extra, "kd": soft_distillation(x["dist"], teacher, tau, kind)})

    for i, shape in enumerate([(1,), (3, 4), (2, 5, 8), (1, 17, 6), (2, 3, 4, 5)]):
        y = value(f"match.{i}.y", shape, 2.0)
        differentiate(out, f"match.{i}", lambda x: ((x - y) ** 2).sum() / (y ** 2).sum(),
                      {"x": value(f"match.{i}.x", shape, 2.0)}, {"target": y})

    out.add("hash.values", values("hash", (16,)))
    out.add("hash.scaled", values("hash", (16,), 0.25, 1.0))
    out.add("hash.bytes", byte_values("hash", (16,)))
    return out


# --------------------------------------------------------------------------------------------------
# Group 2: a whole network of odd sizes
# --------------------------------------------------------------------------------------------------

ODD = dict(img_size=18, patch_size=6, in_chans=3, embed_dim=60, num_heads=5, depth=3,
           mlp_hidden=152, num_classes=7, distilled=True, norm_eps=1e-6, qkv_bias=True)
WEIGHT_RULE = (
    "value('odd/' + name, i, scale, offset), first match: '*norm*.weight' 0.25 + 1; '*.bias' 0.125;"
    " 'pos_embed', 'cls_token', 'dist_token' 0.5; 'patch_embed.proj.weight' 0.125; all else 0.25")


def odd_weight(name, shape):
    """The generated weight of one parameter; WEIGHT_RULE says the same in words."""
    if "norm" in name and name.endswith(".weight"):
        scale, offset = 0.25, 1.0
    elif name.endswith(".bias"):
        scale, offset = 0.125, 0.0
    elif name in ("pos_embed", "cls_token", "dist_token"):
        scale, offset = 0.5, 0.0
    elif name == "patch_embed.proj.weight":
        scale, offset = 0.125, 0.0
    else:
        scale, offset = 0.25, 0.0
    return values("odd/" + name, shape, scale, offset)


def odd_model():
    model = VisionTransformerDistilled(
        img_size=18, patch_size=6, embed_dim=60, num_heads=5, depth=3, num_classes=7,
        mlp_ratio=152.0 / 60.0 + 1e-9, qkv_bias=True,
        norm_layer=lambda d, **kw: torch.nn.LayerNorm(d, eps=1e-6, **kw))
    for block in model.blocks:
        block.attn.fused_attn = False
        assert block.mlp.fc1.out_features == 152
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(odd_weight(name, tuple(p.shape)))
    model.set_distilled_training(True)
    return model


def odd_batch():
    """Four images, soft targets for the class head, teacher labels for the distillation head.

    Adam divides a gradient by its own size, so entries that happen to lie near 0 turn rounding
    into steps of a full learning rate. Stream 10 is the one of 60 tried that has the fewest: noise
    of 1e-6 of each gradient's largest entry moves no tensor by more than 1.3e-5 of its largest
    entry in five steps, where most other streams move by 1e-4 to 7e-3.
    """
    images = values("odd/images10", (4, 3, 18, 18), 2.0)
    return images, smooth_targets([6, 2, 0, 3], 7, 0.75, 0.1), torch.tensor([1, 5, 5, 0])


def odd_loss(heads, targets, labels):
    return 0.5 * soft_cross_entropy(heads[0], targets) + 0.5 * F.cross_entropy(heads[1], labels)


def five_steps(model, batch, no_decay):
    """Five AdamW steps on one batch. Returns the loss before each step and after the last."""
    images, targets, labels = batch
    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=no_decay)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = odd_loss(model(images), targets, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses + [odd_loss(model(images), targets, labels).item()]


def group_model():
    out = Fixture("model.safetensors", "a distilled DeiT of odd sizes: logits, gradients, AdamW")
    out.note("config", ODD)
    out.note("weights", WEIGHT_RULE)
    model, (images, targets, labels) = odd_model(), odd_batch()
    out.add_all("batch", soft_targets=targets, hard_labels=labels)

    model.eval()
    out.add("eval.logits", model(images))
    model.train()
    cls, dist = model(images)
    loss = odd_loss((cls, dist), targets, labels)
    loss.backward()
    out.add_all("train", cls=cls, dist=dist, loss=loss)
    for name, p in model.named_parameters():
        out.add("weight_sums." + name, checksum(name, p.detach()))
        out.add("grad." + name, p.grad)

    no_decay = model.no_weight_decay()
    out.add("adamw.losses", five_steps(model, odd_batch(), no_decay))
    for name, p in model.named_parameters():
        out.add("adamw." + name, p)
    undecayed = [n for n, p in model.named_parameters()
                 if p.ndim <= 1 or n.endswith(".bias") or n in no_decay]
    out.note("adamw", "5 steps, lr 1e-3, betas .9 .999, eps 1e-8, weight decay 0.05")
    out.note("no_weight_decay", sorted(no_decay))
    out.note("undecayed", undecayed)

    quirk = odd_model().train()
    out.add("adamw_quirk.losses", five_steps(quirk, odd_batch(), {"pos_embed", "cls_token"}))
    out.add("adamw_quirk.dist_token", quirk.dist_token)
    return out


# --------------------------------------------------------------------------------------------------
# Group 3: the same network with layers removed
# --------------------------------------------------------------------------------------------------

class Pruning:
    """Which layers are gone, and what stands in their place.

    form    'ln': x + LN1(x)    'skip': x    'double': 2x            (attention removed)
    gelu    'none': the paper   'both': a GELU on the residual stream after a block that lost
            attention and activation   'always': after every block that lost its activation
    m_attn, m_act   one factor per layer when they are to be differentiated, else None
    """

    def __init__(self, attn=(), act=(), form="ln", gelu="none", m_attn=None, m_act=None):
        self.attn, self.act, self.form, self.gelu = attn, act, form, gelu
        self.m_attn, self.m_act = m_attn, m_act


def pruned_forward(p, images, how, depth=3, heads=5):
    """Both heads' logits from a dictionary of parameters, written out without timm."""
    def norm(x, name):
        return F.layer_norm(x, (x.shape[-1],), p[name + ".weight"], p[name + ".bias"], 1e-6)

    def linear(x, name):
        return F.linear(x, p[name + ".weight"], p[name + ".bias"])

    x = patch_embedding(images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"])
    prefix = [p[t].expand(x.shape[0], -1, -1) for t in ("cls_token", "dist_token")]
    x = torch.cat(prefix + [x], 1) + p["pos_embed"]
    for i in range(depth):
        block = f"blocks.{i}."
        gone_attn, gone_act = i in how.attn, i in how.act
        u = norm(x, block + "norm1")
        replacement = {"ln": u, "skip": torch.zeros_like(x), "double": x}[how.form]
        if gone_attn and how.m_attn is None:
            branch = replacement
        else:
            qkv = linear(u, block + "attn.qkv").unflatten(-1, (3, heads, -1))
            branch = linear(attention(qkv), block + "attn.proj")
            if how.m_attn is not None:
                branch = how.m_attn[i] * branch + (1.0 - how.m_attn[i]) * replacement
        x = x + branch
        z = linear(norm(x, block + "norm2"), block + "mlp.fc1")
        s = z if gone_act and how.m_act is None else F.gelu(z)
        if how.m_act is not None:
            s = how.m_act[i] * s + (1.0 - how.m_act[i]) * z
        x = x + linear(s, block + "mlp.fc2")
        if gone_act and (how.gelu == "always" or how.gelu == "both" and gone_attn):
            x = F.gelu(x)
    x = norm(x, "norm")
    return linear(x[:, 0], "head"), linear(x[:, 1], "head_dist")


def fresh_parameters():
    return {n: p.detach().clone().requires_grad_(True) for n, p in odd_model().named_parameters()}


def importance(m_attn, m_act, form):
    """dL/dm for every layer, m taken as a real number, at the given binary point."""
    m_attn = torch.tensor(m_attn, requires_grad=True)
    m_act = torch.tensor(m_act, requires_grad=True)
    images, targets, labels = odd_batch()
    how = Pruning(form=form, m_attn=m_attn, m_act=m_act)
    odd_loss(pruned_forward(fresh_parameters(), images, how), targets, labels).backward()
    return m_attn.grad, m_act.grad


def group_pruned():
    out = Fixture("pruned.safetensors", "the network of model.safetensors with layers removed")
    out.note("config", ODD)
    out.note("weights", WEIGHT_RULE)
    images, targets, labels = odd_batch()
    for name, mode in (("cls", 0), ("dist", 1)):
        gap = odd_model().train()(images)[mode] - pruned_forward(fresh_parameters(), images,
                                                                 Pruning())[mode]
        assert gap.abs().max() < 1e-12, "the written-out network is not timm's: " + name

    variants = {
        "attn_ln": Pruning(attn=(1,), form="ln"),
        "attn_skip": Pruning(attn=(1,), form="skip"),
        "attn_double": Pruning(attn=(1,), form="double"),
        "act": Pruning(act=(2,)),
        "both_paper": Pruning(attn=(1,), act=(1, 2)),
        "both_gelu_both": Pruning(attn=(1,), act=(1, 2), gelu="both"),
        "both_gelu_always": Pruning(attn=(1,), act=(1, 2), gelu="always"),
    }
    for variant, how in variants.items():
        p = fresh_parameters()
        cls, dist = pruned_forward(p, images, how)
        loss = odd_loss((cls, dist), targets, labels)
        loss.backward()
        out.add_all(variant, logits=(cls + dist) / 2, cls=cls, dist=dist, loss=loss)
        for name, t in p.items():
            if t.grad is None:
                continue                                     # a tensor this network does not use
            out.add(f"{variant}.grad_sums.{name}", checksum(name, t.grad))
            if t.numel() <= 1000:
                out.add(f"{variant}.grad.{name}", t.grad)
        out.note("variant." + variant, {"drop_attn_list": how.attn, "drop_act_list": how.act,
                                        "attn_form": how.form, "extra_gelu": how.gelu})

    p = fresh_parameters()
    for i in variants["both_paper"].act:
        w1, b1, w2, b2 = (p[f"blocks.{i}.mlp.{t}"] for t in
                          ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"))
        out.add(f"fused.blocks.{i}.mlp.fused.weight", w2 @ w1)
        out.add(f"fused.blocks.{i}.mlp.fused.bias", w2 @ b1 + b2)

    points = {form: ([1.0] * 3, [1.0] * 3, form) for form in ("ln", "skip", "double")}
    points["masked"] = ([1.0, 0.0, 1.0], [1.0, 1.0, 0.0], "ln")
    for name, (m_attn, m_act, form) in points.items():
        d_attn, d_act = importance(m_attn, m_act, form)
        out.add_all("importance." + name, m_attn=m_attn, m_act=m_act, d_attn=d_attn, d_act=d_act)
    return out


# --------------------------------------------------------------------------------------------------
# Group 4: bicubic resizing
# --------------------------------------------------------------------------------------------------

def cubic_matrix(n_in, n_out, a, antialias):
    """The [n_out, n_in] matrix of one bicubic pass. An independent statement of what Pillow and
    PyTorch compute, with which both are checked below.

    antialias: the kernel is stretched by max(n_in / n_out, 1), cut at the border, renormalised.
    otherwise: four taps, indices clamped to the border, so that border pixels are counted twice.
    """
    def kernel(t):
        t = abs(t)
        if t < 1.0:
            return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
        return (((t - 5.0) * t + 8.0) * t - 4.0) * a if t < 2.0 else 0.0

    m, ratio = np.zeros((n_out, n_in)), n_in / n_out
    for o in range(n_out):
        center = (o + 0.5) * ratio
        if antialias:
            stretch = max(ratio, 1.0)
            first = max(int(center - 2.0 * stretch + 0.5), 0)
            last = min(int(center + 2.0 * stretch + 0.5), n_in)
            for i in range(first, last):
                m[o, i] = kernel((i - center + 0.5) / stretch)
            m[o] /= m[o].sum()
        else:
            base = math.floor(center - 0.5)
            for i in range(base - 1, base + 3):
                m[o, min(max(i, 0), n_in - 1)] += kernel(center - 0.5 - i)
    return m


def resize_bytes(image, high, wide):
    """Pillow's arithmetic: a = -1/2, weights rounded to 2^-22 (half away from zero), the
    horizontal pass first, each pass rounded to the nearest integer and clipped to 0 .. 255.
    A pass that would keep its size is left out."""
    def one_pass(x, n):                                                   # along the second axis
        m = cubic_matrix(x.shape[1], n, -0.5, True) * 2.0**22
        m = np.trunc(m + np.where(m < 0, -0.5, 0.5)).astype(np.int64)
        total = np.einsum("oi,yic->yoc", m, x.astype(np.int64)) + (1 << 21)
        return np.clip(total >> 22, 0, 255).astype(np.uint8)
    x = image if image.shape[1] == wide else one_pass(image, wide)
    return x if x.shape[0] == high else one_pass(x.swapaxes(0, 1), high).swapaxes(0, 1)


def group_resize():
    out = Fixture("resize.safetensors", "bicubic resizing of 8-bit images and position embeddings")
    sizes = [((32, 32), (64, 64)), ((32, 32), (48, 48)), ((64, 64), (32, 32)),
             ((37, 50), (31, 24)), ((1, 5), (4, 3)), ((7, 9), (7, 4)), ((32, 32), (224, 224))]
    for i, ((h, w), (high, wide)) in enumerate(sizes):
        image = byte_values(f"resize/image.{i}", (h, w, 3))
        result = np.asarray(Image.fromarray(image).resize((wide, high), Image.BICUBIC))
        assert np.array_equal(result, resize_bytes(image, high, wide)), "Pillow differs from us"
        out.add_all(f"image.{i}", input=image, output=result)

    for old, new in ((5, 3), (14, 4), (14, 24)):
        for prefix in (1, 2):
            c = f"pos.{old}to{new}.prefix{prefix}"
            pos = values("resize/" + c, (1, prefix + old * old, 8))
            grid = pos[:, prefix:].reshape(1, old, old, 8).permute(0, 3, 1, 2)
            out.add(c + ".input", pos)
            for kind, a, antialias in (("timm", -0.5, True), ("deit", -0.75, False)):
                r = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False,
                                  antialias=antialias)
                m = torch.from_numpy(cubic_matrix(old, new, a, antialias))
                ours = torch.einsum("yi,xj,bcij->bcyx", m, m, grid)
                assert (r - ours).abs().max() < 1e-14, "PyTorch's bicubic differs from ours"
                r = torch.cat([pos[:, :prefix], r.permute(0, 2, 3, 1).flatten(1, 2)], 1)
                if kind == "timm":               # timm goes through float: up to 2.3e-6 off
                    timms = resample_abs_pos_embed(pos, [new, new], num_prefix_tokens=prefix)
                    assert (r - timms).abs().max() < 1e-5
                out.add(c + "." + kind, r)
    out.note("checked", "Pillow and PyTorch antialiased: a = -0.5; PyTorch plain: a = -0.75")
    return out


# --------------------------------------------------------------------------------------------------
# Group 5: schedules and augmentation arithmetic
# --------------------------------------------------------------------------------------------------

def cosine_values(count, lr, epochs, warmup, lr_min, prefix):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, lr_min=lr_min, warmup_t=warmup,
                                 warmup_lr_init=1e-6, warmup_prefix=prefix, cycle_limit=1)
    return [schedule._get_lr(t)[0] for t in range(count)]


def cutmix_box(shape, lam, cy, cx):
    """timm's rand_bbox with its two draws replaced by the given centre."""
    draws, draw = iter([cy, cx]), np.random.randint
    np.random.randint = lambda low, high, size=None: next(draws)
    try:
        return timm_mixup.rand_bbox(shape, lam)
    finally:
        np.random.randint = draw


def classic_box(shape, lam, cy, cx):
    """The box of the CutMix paper and of older timm (0.9.12 among them): both halves cut // 2."""
    (h, w), ratio = shape[-2:], np.sqrt(1 - lam)
    dy, dx = int(h * ratio) // 2, int(w * ratio) // 2
    return max(cy - dy, 0), min(cy + dy, h), max(cx - dx, 0), min(cx + dx, w)


def group_schedule():
    out = Fixture("schedule.safetensors", "learning rates, mixup, cutmix, names without decay")
    cases = {"deit30": (5e-4, 30, 5, 1e-5, False), "paper400": (4e-4, 400, 10, 1e-5, False),
             "prefix30": (5e-4, 30, 5, 1e-5, True), "plain4": (1e-3, 4, 0, 0.0, False)}
    for name, case in cases.items():
        out.add("cosine." + name, cosine_values(case[1] + 11, *case))
        out.note("cosine." + name, dict(zip(("lr", "epochs", "warmup", "lr_min", "warmup_prefix"),
                                            case), warmup_lr=1e-6))

    rows = []
    for h, w in ((32, 32), (18, 18), (31, 24), (1, 5)):
        for lam in (0.0, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0):
            for cy, cx in ((h // 2, w // 2), (0, w - 1), (h - 1, w // 3)):
                new = [int(v) for v in cutmix_box((3, h, w), lam, cy, cx)]
                old = [int(v) for v in classic_box((3, h, w), lam, cy, cx)]
                corrected = [1.0 - (b[1] - b[0]) * (b[3] - b[2]) / (h * w) for b in (new, old)]
                rows.append([h, w, lam, cy, cx] + new + corrected[:1] + old + corrected[1:])
    out.add("cutmix.boxes", rows)
    out.note("cutmix.columns", "h w lam cy cx | timm: y0 y1 x0 x1 lam | classic: y0 y1 x0 x1 lam")

    x, lam = values("schedule/mix.input", (4, 3, 6, 5)), 0.3125
    out.add_all("mix", input=x, lam=lam, mixup=x * lam + x.flip(0) * (1 - lam))
    y0, y1, x0, x1 = (int(v) for v in classic_box(x.shape, lam, 1, 4))
    cut = x.clone()
    cut[:, :, y0:y1, x0:x1] = x.flip(0)[:, :, y0:y1, x0:x1]
    out.add_all("mix", cutmix=cut, box=[y0, y1, x0, x1],
                cutmix_lam=1 - (y1 - y0) * (x1 - x0) / (6 * 5))

    for name in ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"):
        model = timm.create_model(name)
        skip = model.no_weight_decay()
        groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=skip)
        names = {id(p): n for n, p in model.named_parameters()}
        undecayed = [names[id(p)] for g in groups if g["weight_decay"] == 0 for p in g["params"]]
        out.note("undecayed." + name, undecayed)
        out.note("no_weight_decay." + name, sorted(skip))
        out.add("undecayed." + name, [len(undecayed), len(names)])
    return out


# --------------------------------------------------------------------------------------------------
# Group 6: a real pretrained network
# --------------------------------------------------------------------------------------------------

def group_deit(path):
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    with safe_open(path, "pt") as f:
        state = {n: f.get_tensor(n) for n in f.keys()}
    out = Fixture("deit_tiny.safetensors", "logits of a pretrained deit_tiny_patch16_224")
    out.note("checkpoint.sha256", digest)
    for size in (224, 64):
        images = values(f"deit/images{size}", (2, 3, size, size), 2.0)
        for kind in ("timm", "deit") if size != 224 else ("",):
            for dtype, suffix in ((torch.float64, "f64"), (torch.float32, "f32")):
                weights = {n: t.to(dtype) for n, t in state.items()}
                if kind:                         # in `dtype`, where timm always goes through float
                    pos = weights["pos_embed"]
                    grid = pos[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
                    grid = F.interpolate(grid, size=(size // 16, size // 16), mode="bicubic",
                                         align_corners=False, antialias=kind == "timm")
                    weights["pos_embed"] = torch.cat(
                        [pos[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
                model = timm.create_model("deit_tiny_patch16_224", img_size=size).to(dtype).eval()
                model.load_state_dict(weights)
                for block in model.blocks:
                    block.attn.fused_attn = False
                with torch.no_grad():
                    logits = model(images.to(dtype))
                out.add(f"logits{size}{'_' + kind if kind else ''}.{suffix}", logits)
    return out


# --------------------------------------------------------------------------------------------------
# Group 7: parameter counts
# --------------------------------------------------------------------------------------------------

def group_counts():
    out = Fixture("counts.safetensors", "parameter counts of timm's networks")
    with torch.device("meta"):
        for name in ("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224",
                     "deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224",
                     "deit_base_distilled_patch16_224", "deit_base_patch16_384"):
            model = timm.create_model(name)
            out.add(name, sum(p.numel() for p in model.parameters()))
    model = {n: p.numel() for n, p in odd_model().named_parameters()}
    out.add("odd", sum(model.values()))
    assert [int(out.tensors[f"deit_{s}_patch16_224"][0]) for s in ("tiny", "small", "base")] == \
        [5717416, 22050664, 86567656]

    with torch.device("meta"):                      # the paper's DeiT-B: layers actually deleted
        model = timm.create_model("deit_base_distilled_patch16_224")
        for i in (0, 3, 7, 8, 11):
            model.blocks[i].attn = torch.nn.Identity()
        out.add("paper_base_pruned", sum(p.numel() for p in model.parameters()))
        for i in (2, 7, 8, 10, 11):
            model.blocks[i].mlp = torch.nn.Linear(768, 768)
        out.add("paper_base_fused", sum(p.numel() for p in model.parameters()))
    assert out.tensors["paper_base_pruned"] == 75526352
    assert out.tensors["paper_base_fused"] == 54867152
    return out


# --------------------------------------------------------------------------------------------------
# Group 8: optimiser steps
# --------------------------------------------------------------------------------------------------

def group_optim():
    out = Fixture("optim.safetensors", "AdamW, gradient clipping, exponential moving average")
    shapes = {"decayed": (2, 3), "plain": (5,)}
    p = {n: values("optim/" + n, s).requires_grad_(True) for n, s in shapes.items()}
    groups = [{"params": [p["decayed"]]}, {"params": [p["plain"]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    lrs = [1e-6, 1e-3, 5e-4, 1e-2, 0.0, 2e-4, 1e-3]
    decays = [0.05, 0.05, 0.5, 0.0, 0.05, 0.05, 0.3]
    for step in range(7):
        groups = optimizer.param_groups
        groups[0]["lr"] = groups[1]["lr"] = lrs[step]
        groups[0]["weight_decay"] = decays[step]
        for name, t in p.items():
            t.grad = values(f"optim/grad.{name}.{step}", tuple(t.shape), 2.0 ** (step - 3))
            t.grad.view(-1)[0] = 0.0                       # never a gradient: decay alone moves it
            if name == "plain":
                t.grad[1] = 2.0**-30                       # of the size of eps
            if step == 0:
                out.add(f"adamw.{name}.start", t)
            out.add(f"adamw.{name}.grad.{step}", t.grad)
        optimizer.step()
        for name, t in p.items():
            out.add(f"adamw.{name}.after.{step}", t)
    for name, t in p.items():
        state = optimizer.state[t]
        out.add_all("adamw." + name, m=state["exp_avg"], v=state["exp_avg_sq"])
    out.add_all("adamw", lr=lrs, weight_decay=decays, betas=[0.9, 0.999], eps=1e-8)

    for i, limit in enumerate((1.0, 100.0, 0.25)):
        shapes = ((3, 4), (1,), (7,))
        tensors = [values(f"optim/clip.{i}.{j}", s, 4.0) for j, s in enumerate(shapes)]
        leaves = [torch.zeros_like(t).requires_grad_(True) for t in tensors]
        for leaf, t in zip(leaves, tensors):
            leaf.grad = torch.zeros_like(t) if i == 2 else t.clone()
        for j, leaf in enumerate(leaves):
            out.add(f"clip.{i}.grad.{j}", leaf.grad)
        norm = torch.nn.utils.clip_grad_norm_(leaves, limit)
        out.add_all(f"clip.{i}", max_norm=limit, norm=norm)
        for j, leaf in enumerate(leaves):
            out.add(f"clip.{i}.clipped.{j}", leaf.grad)

    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(values("optim/ema.0", (2, 3)))
        model.bias.zero_()
    ema = ModelEma(model, decay=0.875)
    out.add("ema.start", model.weight)
    out.add("ema.decay", 0.875)
    for step in range(5):
        with torch.no_grad():
            model.weight.copy_(values(f"optim/ema.{step + 1}", (2, 3)))
        ema.update(model)
        out.add(f"ema.weight.{step}", model.weight)
        out.add(f"ema.after.{step}", ema.ema.weight)
    return out


# --------------------------------------------------------------------------------------------------

GROUPS = {"ops": group_ops, "model": group_model, "pruned": group_pruned, "resize": group_resize,
          "schedule": group_schedule, "counts": group_counts, "optim": group_optim}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="ops model pruned resize schedule counts optim"
                        " deit; without any: all but deit, and deit too if --deit is given")
    parser.add_argument("--deit", metavar="FILE", help="pretrained DeiT-Tiny, safetensors")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    groups = args.groups or list(GROUPS) + (["deit"] if args.deit else [])
    for name in groups:
        if name not in GROUPS and name != "deit":
            parser.error(f"no group '{name}'; there are {' '.join(GROUPS)} deit")
        if name == "deit" and not args.deit:
            parser.error("the group deit needs --deit FILE")
    os.makedirs(FOLDER, exist_ok=True)
    for name in groups:
        out = group_deit(args.deit) if name == "deit" else GROUPS[name]()
        out.save_or_compare(args.check)
    return 0


if __name__ == "__main__":
    sys.exit(main())
