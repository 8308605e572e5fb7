"""Network("net.safetensors")(images): a network pruned by boundarydpt, in plain PyTorch."""
import json, torch
from safetensors import safe_open
from torch.nn import functional as F
class Network(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        with safe_open(path, "pt") as f:
            tensors, meta = {k: f.get_tensor(k).float() for k in f.keys()}, f.metadata()
        self.p = torch.nn.ParameterDict({k.replace(".", "_"): v for k, v in tensors.items()})
        self.m = m = {k: json.loads(v) if v[0] == "[" or v.isdecimal() else v for k, v in meta.items()}
        assert m["attn_form"] != "double" and m["extra_gelu"] == "none" and not m["fitted_attn_list"]
    def two(self, name): return self.p[name + "_weight"], self.p[name + "_bias"] if name + "_bias" in self.p else None
    def linear(self, x, name): return F.linear(x, *self.two(name))
    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], *self.two(name), float(self.m["layer_norm_eps"]))
    def block(self, x, l):
        b, m, gone = f"blocks_{l}_", self.m, l in self.m["drop_attn_list"]
        y = 0 if gone and m["attn_form"] == "skip" else self.norm(x, b + "norm1")
        if not gone:  # a removed layer leaves nothing, or LN1(x)
            qkv = self.linear(y, b + "attn_qkv").unflatten(2, (3, m["num_heads"][l], -1))
            y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), scale=m["attn_scale"][l])
            y = self.linear(y.transpose(1, 2).flatten(2), b + "attn_proj")
        x, z = x + y, self.norm(x + y, b + "norm2")
        if l in m["fused_mlp_list"] + m["fitted_mlp_list"]: return x + self.linear(z, b + "mlp_fused")
        z = self.linear(z, b + "mlp_fc1")
        return x + self.linear(z if l in m["drop_act_list"] else self.act(z), b + "mlp_fc2")
    def act(self, z):
        kind = self.m.get("act_layer", "gelu")
        if kind == "quick_gelu": return z * torch.sigmoid(1.702 * z)
        return F.relu(z) if kind == "relu" else F.gelu(z, approximate="tanh" if kind == "gelu_tanh" else "none")
    def pool(self, x, first):  # what the class head reads
        kind = self.m.get("global_pool", "token")
        if kind == "avg_fc_norm": return self.norm(x[:, first:].mean(1), "fc_norm")
        x = self.norm(x, "norm")
        if kind == "token": return x[:, 0]
        mean = x[:, first:].mean(1)
        return mean if kind == "avg" else torch.cat((x[:, 0], mean), 1)
    def forward(self, images):  # [B, 3, H, W], normalised -> logits [B, classes]
        x = F.conv2d(images, *self.two("patch_embed_proj"), stride=self.m["patch_size"])
        first = [self.p[k].expand(len(x), -1, -1) for k in ("cls_token", "dist_token", "reg_token") if k in self.p]
        x = torch.cat(first + [x.flatten(2).transpose(1, 2)], 1) + self.p["pos_embed"]
        if "norm_pre_weight" in self.p: x = self.norm(x, "norm_pre")
        for l in range(self.m["depth"]): x = self.block(x, l)
        y = [self.pool(x, sum(t.shape[1] for t in first))]
        if self.m["distilled"]: y.append(self.norm(x, "norm")[:, 1])
        if not self.m.get("no_head"): y = [self.linear(z, n) for z, n in zip(y, ("head", "head_dist"))]
        return sum(y) / len(y)
