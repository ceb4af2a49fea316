"""A GPT on one page of plain NumPy: the forward pass, and the loop that writes text with it.

    python -m llm.model.textbook runs/default-1 "Once upon a time"

No autograd, no training, no batch and no cache. T token ids go in, and for each of them a row of V logits comes out:
scores for the token that follows. The page supports GPT-2 and models like Llama (RoPE, RMSNorm, SwiGLU, grouped
queries). gpt.py computes the same numbers for batches, faster, and can be trained; a test says that they are equal.

    T tokens     V vocabulary         C width of the model     F width of the MLP
    H heads      K key-value heads    D width of a head

`w` holds the weights by name. The weight matrix of a linear layer is (out, in), as in PyTorch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits

from llm.model.arrays import load_arrays
from llm.model.config import GPTConfig
from tokenizer import BaseTokenizer


def gpt(ids, w, config):
    """Token ids (T,) -> logits (T, V)."""
    x = w["embedding.weight"][ids]  # (T, C): one vector for each token, looked up in a table
    if config.positions == "learned":
        # One vector for each position too: attention alone does not know in which order the tokens stand.
        x = x + w["positions.weight"][: len(ids)]
    for layer in range(config.layers):
        x = block(x, weights_with_prefix(f"blocks.{layer}.", w), config)
    x = norm(x, "norm", w, config)
    head = w["embedding.weight"] if config.tied_head else w["head.weight"]  # (V, C)
    # The head has one row for each token of the vocabulary. A token gets a high score if its row is similar to x.
    return x @ head.T  # (T, V)


def block(x, w, config):
    # x is called the residual stream. A sublayer reads a normalised copy of it and adds its own output to it. Because x
    # itself passes through unchanged, gradients reach the first layer of a deep model without becoming small.
    x = x + attention(norm(x, "norm1", w, config), w, config)  # tokens exchange information
    return x + mlp(norm(x, "norm2", w, config), w, config)  # each token is processed on its own


def attention(x, w, config):
    """x (T, C) -> (T, C)."""
    T, H, K, D = len(x), config.heads, config.key_heads, config.head_size
    # Each token makes a query (what it looks for), a key (what it can be found by) and a value (what it passes on).
    qkv = linear(x, "attention.qkv", w).reshape(T, H + 2 * K, D).swapaxes(0, 1)  # (H + 2 K, T, D)
    q, k, v = qkv[:H], qkv[H : H + K], qkv[H + K :]  # (H, T, D), (K, T, D), (K, T, D)
    if config.qk_norm:  # all queries and keys get about the same length, so that no score can become very large
        q = rms_norm(q, w["attention.query_norm.weight"], config.norm_eps)
        k = rms_norm(k, w["attention.key_norm.weight"], config.norm_eps)
    if config.positions == "rope":
        q, k = rotate(q, config.rope_base), rotate(k, config.rope_base)
    k, v = np.repeat(k, H // K, axis=0), np.repeat(v, H // K, axis=0)  # (H, T, D): H / K query heads share a key head
    scores = q @ k.swapaxes(1, 2) / np.sqrt(D)  # (H, T, T): how well the query of each row fits the key of each column
    causal = np.tri(T, dtype=bool)  # (T, T): True where the key is not later than the query
    # exp(-inf) is 0, so a token puts no weight on later tokens. The weights in a row add up to 1.
    weights = softmax(np.where(causal, scores, -np.inf))  # (H, T, T)
    y = weights @ v  # (H, T, D): each token gets a weighted mean of the values
    y = y.swapaxes(0, 1).reshape(T, H * D)  # (T, H D): the results of all heads side by side
    return linear(y, "attention.out", w)  # (T, C): one matrix combines the heads


def mlp(x, w, config):
    """x (T, C) -> (T, C)."""
    x = ACTIVATIONS[config.mlp](linear(x, "mlp.up", w))  # (T, F)
    return linear(x, "mlp.down", w)


def linear(x, name, w):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)  # some models have no biases


def norm(x, name, w, config):
    """Scale each vector to a standard size. In the residual stream, vectors grow from layer to layer."""
    weight, bias = w[f"{name}.weight"], w.get(f"{name}.bias", 0)
    if config.norm == "rmsnorm":
        return rms_norm(x, weight, config.norm_eps)
    # LayerNorm is RMSNorm after the mean has been subtracted: the mean square is then the variance.
    return rms_norm(x - x.mean(axis=-1, keepdims=True), weight, config.norm_eps) + bias


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight  # eps: no division by 0


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))  # subtracting the maximum changes nothing, and exp cannot overflow
    return e / e.sum(axis=-1, keepdims=True)


def rotate(x, base):
    """Rotary positions: x (..., T, D) -> (..., T, D)."""
    # Elements j and j + D/2 are the coordinates of a point in the plane. The point is rotated by an angle proportional
    # to the position of the token. So the product of a query and a key depends only on the distance of their tokens.
    T, D = x.shape[-2:]
    angle = np.arange(T)[:, None] * base ** (-np.arange(0, D, 2) / D)  # (T, D / 2): smaller angles for later pairs
    a, b = np.split(x, 2, axis=-1)  # (..., T, D / 2)
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], axis=-1)


def gelu_tanh(x):  # GPT-2: about 0 for very negative x, about x for large x, smooth between
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def relu_squared(x):
    return np.maximum(x, 0) ** 2


def swiglu(x):  # Llama: the first half of the elements (the gate) decides how much of the second half passes
    gate, up = np.split(x, 2, axis=-1)
    return gate / (1 + np.exp(-gate)) * up


ACTIVATIONS = {"gelu_tanh": gelu_tanh, "relu_squared": relu_squared, "swiglu": swiglu}


def weights_with_prefix(prefix, w):
    """The weights whose names begin with `prefix`, with the prefix removed from the names."""
    return {name.removeprefix(prefix): array for name, array in w.items() if name.startswith(prefix)}


def write(ids, length, w, config, rng, temperature=0.8):
    """`ids` and `length` more tokens: predict the next token, draw it, append it, and repeat."""
    for _ in range(length):
        # Row t predicts token t + 1. Only the token after the last row is not known yet, so only that row is used.
        logits = gpt(ids[-config.context :], w, config)[-1]  # (V,)
        probabilities = softmax(logits / temperature)  # a temperature below 1 makes likely tokens even more likely
        ids = [*ids, int(rng.choice(len(probabilities), p=probabilities))]
    return ids


# --- the command line -------------------------------------------------------------------------------------------------

# The values that this page supports. With others it would compute wrong numbers, so they are refused.
SUPPORTED: dict[str, tuple[Any, ...]] = {
    "positions": ("learned", "rope", "none"),
    "rope_interleaved": (False,),
    "norm_position": ("pre",),
    "mlp": tuple(ACTIVATIONS),
    "window": (None,),
    "soft_cap": (None,),
}
# Of the choices that single families have made, none is supported, except which layers have biases: `linear` adds those
# that it finds.
BIASES = ("qkv_bias", "out_bias", "mlp_bias", "norm_bias")
SUPPORTED |= {name: (default,) for name, default in GPTConfig.further_fields().items() if name not in BIASES}


def check_supported(config: GPTConfig) -> None:
    for name, values in SUPPORTED.items():
        value, choices = getattr(config, name), " or ".join(map(repr, values))
        if value not in values:
            raise ValueError(
                f"this page does not support a model with {name}={value!r}, only {choices}; "
                "generate.py writes with any model"
            )


def load(run: str) -> tuple[dict[str, np.ndarray], GPTConfig, BaseTokenizer]:
    """Weights, configuration and tokenizer of a run. Raises ValueError with a sentence when they cannot be used."""
    folder = Path(run)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    tokenizer_path = folder / "tokenizer.json"
    paths = (config_path, weights_path, tokenizer_path)
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ValueError(f"{run} has no {' and no '.join(missing)}; give the folder of a run that train.py has made")
    try:
        config = GPTConfig.from_json(json.loads(config_path.read_text("utf-8"))["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config_path} is not the configuration of a run ({error})") from None
    check_supported(config)
    try:
        weights = load_arrays(weights_path)
    except SafetensorError as error:
        raise ValueError(f"{weights_path} does not hold weights ({error})") from None
    # The files hold float32. This page computes in float64, because it is there to be right, not to be fast.
    return {name: a.astype(np.float64) for name, a in weights.items()}, config, BaseTokenizer.load(tokenizer_path)


def main(arguments: list[str]) -> None:
    program, description = "python -m llm.model.textbook", "Write text with a GPT, by NumPy alone."
    parser = argparse.ArgumentParser(program, description=description)
    parser.add_argument("run", metavar="RUN", help="folder of a run that train.py has made, such as runs/default-1")
    parser.add_argument("prompt", metavar="PROMPT", help="what the text begins with")
    parser.add_argument("--tokens", type=at_least_zero, default=60, help="how many to write (default: %(default)s)")
    parser.add_argument("--seed", type=at_least_zero, default=0, help="the same seed gives the same text")
    if not arguments:
        parser.exit(2, parser.format_help())
    options = parser.parse_args(arguments)
    if not {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        # A small model gains nothing from more threads, and waits for them where other programs use the cores.
        threadpool_limits(1)
    try:
        w, config, tokenizer = load(options.run)
        ids = tokenizer.encode_ordinary(options.prompt)
        if not ids:
            raise ValueError("the prompt is empty; give at least one character to continue")
        if len(ids) > config.context:
            note = f"the prompt has {len(ids):,} tokens, and the model reads the last {config.context:,} of them"
            print(f"textbook: {note}", file=sys.stderr)
    except (ValueError, OSError) as error:
        sys.exit(f"textbook: {error}")
    except MemoryError as error:
        sys.exit(f"textbook: not enough memory for this model ({error}); end other programs, or use a smaller model")
    try:
        ids = write(ids, options.tokens, w, config, np.random.default_rng(options.seed))
    except MemoryError as error:
        sys.exit(f"textbook: not enough memory for this text ({error}); end other programs, or give a shorter prompt")
    except (KeyError, IndexError, ValueError) as error:
        sys.exit(f"textbook: the files in {options.run} do not belong together ({error!r})")
    print(tokenizer.decode(ids))


def at_least_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return int(text)


if __name__ == "__main__":
    main(sys.argv[1:])
