"""24 layers with drawn weights, with and without residuals: how alike tokens become, what is left of a gradient.

Run it from the root of the repository: python -m docs.course.experiments.09_block
"""

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.masks import LayerSettings
from minigrad import Tensor
from tools.figures import chart

LAYERS, T, C = 24, 16, 32
SIZE = 0.55  # of what a matrix makes of a vector of size 1: in GPT-2, before training, 0.02 sqrt(768)


def with_residual(block, x):
    return block(x, LayerSettings())


def without_residual(block, x):
    return block.mlp(block.norm2(block.attention(block.norm1(x), LayerSettings())))


def blocks_of(norm_position):
    """The layers of a model with drawn matrices."""
    config = GPTConfig(vocab_size=2, context=T, layers=LAYERS, heads=4, dim=C, norm_position=norm_position)
    model, rng = GPT(config, rng=0, dtype=np.float64), np.random.default_rng(9)
    for p in model.blocks.parameters():
        if p.ndim == 2:
            p.data[...] = rng.standard_normal(p.shape) * SIZE / np.sqrt(p.shape[1])
    return model.blocks


def likeness(x):
    """The mean cosine of the angle between two tokens of x (1, T, C)."""
    unit = x[0] / np.linalg.norm(x[0], axis=1, keepdims=True)
    return ((unit @ unit.T).sum() - T) / (T * T - T)


def measure(blocks, apply):
    """The likeness of tokens before each layer and behind the last, and the gradient at both ends."""
    x, g = np.random.default_rng(9).standard_normal((2, 1, T, C))
    streams, gradients = [x], [g]
    for block in blocks:
        streams.append(apply(block, Tensor(streams[-1])).data)
    for block, stream in zip(reversed(blocks), streams[-2::-1]):  # the backward pass, block by block
        x = Tensor(stream, requires_grad=True)
        apply(block, x).backward(gradients[-1])
        gradients.append(x.grad.data)
    return [likeness(x) for x in streams], gradients[-1], g


curves = {}
for name, position, apply in (
    ("pre-norm", "pre", with_residual),
    ("post-norm", "post", with_residual),
    ("no residual", "pre", without_residual),
):
    alike, first, last = measure(blocks_of(position), apply)
    curves[name] = np.round(alike, 2)
    length = np.linalg.norm(first) / np.linalg.norm(last)
    cosine = (first * last).sum() / np.linalg.norm(first) / np.linalg.norm(last)
    print(f"{name:12} tokens alike {alike[-1]:.2f}; gradient {length:.2g} times as long, cosine {cosine:.2f}")


def figure() -> str:
    points = {name: list(enumerate(curve)) for name, curve in curves.items()}
    axes = {"x": ("layers", range(0, 25, 6)), "y": ("mean cosine between two tokens", (0, 0.25, 0.5, 0.75, 1))}
    return chart.draw("How alike the tokens become", {name: points[name] for name in reversed(points)}, **axes)
