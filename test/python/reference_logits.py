"""Runs the reference implementation over the tokens of a golden file: says how far the logits in the file are from its own,
and with --write puts its own in their place. For a checkpoint that is new; no test runs it.

    python3 -m venv reference && reference/bin/pip install "recurrentgemma[full]==1.0.1" torch==2.11.0 safetensors
    reference/bin/python test/python/reference_logits.py models/pocket test/golden/pocket/golden.safetensors --write

The checkpoint is in Hugging Face's layout, with weights in bf16; all is computed in f32, token by token.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from recurrentgemma import common
from recurrentgemma.torch import griffin
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_weights

KINDS = {"recurrent": common.TemporalBlockType.RECURRENT, "attention": common.TemporalBlockType.ATTENTION}
#: The reference's names of what a layer has, and Hugging Face's.
LAYER = {
    "temporal_pre_norm.scale": "temporal_pre_norm.weight",
    "channel_pre_norm.scale": "channel_pre_norm.weight",
    "mlp_block.ffw_down.weight": "mlp_block.down_proj.weight",
    "mlp_block.ffw_down.bias": "mlp_block.down_proj.bias",
}
RECURRENT = {
    **{
        f"{name}.{kind}": f"{name}.{kind}"
        for name in ("linear_x", "linear_y", "linear_out")
        for kind in ("weight", "bias")
    },
    "conv_1d.b": "conv_1d.bias",
    "rg_lru.a_param": "rg_lru.recurrent_param",
    "rg_lru.input_gate.w": "rg_lru.input_gate_weight",
    "rg_lru.input_gate.b": "rg_lru.input_gate_bias",
    "rg_lru.a_gate.w": "rg_lru.recurrent_gate_weight",
    "rg_lru.a_gate.b": "rg_lru.recurrent_gate_bias",
}
ATTENTION = {
    "proj_q.weight": "q_proj.weight",
    "proj_k.weight": "k_proj.weight",
    "proj_v.weight": "v_proj.weight",
    "proj_final.weight": "o_proj.weight",
    "proj_final.bias": "o_proj.bias",
}


def reference(folder: Path) -> griffin.Griffin:
    """The reference's model with the weights of a folder."""
    config = json.loads((folder / "config.json").read_text())
    pattern, layers = config["block_types"], config["num_hidden_layers"]
    kinds = [pattern[layer % len(pattern)] for layer in range(layers)]
    model = griffin.Griffin(
        common.GriffinConfig(
            vocab_size=config["vocab_size"],
            width=config["hidden_size"],
            mlp_expanded_width=config["intermediate_size"] // 2,
            num_heads=config["num_attention_heads"],
            lru_width=config["lru_width"],
            block_types=tuple(KINDS[kind] for kind in kinds),
            embeddings_scale_by_sqrt_dim=True,
            attention_window_size=config["attention_window_size"],
            logits_soft_cap=config["logits_soft_cap"],
        ),
        device="cpu",
        dtype=torch.float32,
    )
    weights = {name: each.float() for name, each in load_weights(folder / "model.safetensors").items()}
    state = {
        "embedder.input_embedding": weights["model.embed_tokens.weight"],
        "final_norm.scale": weights["model.final_norm.weight"],
    }
    for layer, kind in enumerate(kinds):
        of, block = f"model.layers.{layer}.", f"blocks.{layer}."
        state |= {block + ours: weights[of + theirs] for ours, theirs in LAYER.items()}
        mlp = [
            (weights[f"{of}mlp_block.{name}.weight"], weights[f"{of}mlp_block.{name}.bias"])
            for name in ("gate_proj", "up_proj")
        ]
        state[f"{block}mlp_block.ffw_up.w"] = torch.stack([weight.T for weight, _ in mlp])
        state[f"{block}mlp_block.ffw_up.b"] = torch.stack([bias for _, bias in mlp])[:, None, None]
        names = RECURRENT if kind == "recurrent" else ATTENTION
        state |= {
            f"{block}{kind}_block.{ours}": weights[f"{of}temporal_block.{theirs}"] for ours, theirs in names.items()
        }
        if kind == "recurrent":
            state[f"{block}recurrent_block.conv_1d.w"] = weights[f"{of}temporal_block.conv_1d.weight"][:, 0].T
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.no_grad()
def logits_of(model: griffin.Griffin, tokens: np.ndarray) -> np.ndarray:
    """f32 [T, V] behind every one of `tokens` [T], through the reference's own cache."""
    cache, rows = None, []
    for position, token in enumerate(tokens.tolist()):
        logits, cache = model(torch.tensor([[token]]), torch.tensor([[position]]), cache)
        rows.append(logits[0, 0].numpy())
    return np.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--write", action="store_true", help="put the reference's logits into the file")
    given = parser.parse_args()
    golden = load_file(given.golden)
    logits = logits_of(reference(given.checkpoint), golden["tokens"])
    print(f"{given.golden}: at most {np.abs(logits - golden['logits']).max():.1e} from the reference's logits")
    if given.write:
        save_file(golden | {"logits": logits}, given.golden)


if __name__ == "__main__":
    main()
