"""Four runs of a small model on a language whose entropy is known: what do their curves say?

Run it from the root of the repository: python -m docs.course.experiments.12_curves
"""

import random

import numpy as np

from llm.data import Batches
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad
from minigrad.optim import AdamW, clip_grad_norm
from minigrad.optim.schedules import warmup_cosine
from tokenizer import CharTokenizer
from tools.figures import chart

B, T, STEPS = 8, 32, 240
rng = random.Random(12)
WORDS = ["".join(rng.choice("bdgklmnrst") + rng.choice("aeiou") for _ in range(rng.choice([2, 3]))) for _ in range(50)]
WEIGHTS = np.array([1 / rank for rank in range(1, len(WORDS) + 1)])
text = lambda length: " ".join(rng.choices(WORDS, WEIGHTS, k=length)) + " "

short, long, other = text(150), text(8000), text(400)
tokenizer = CharTokenizer.train([long])
p = WEIGHTS / WEIGHTS.sum()
entropy = -(p * np.log(p)).sum() / sum(p * [len(word) + 1 for word in WORDS])  # nats per letter
letters = np.unique(list(long), return_counts=True)[1] / len(long)
marks = {
    "log V": np.log(tokenizer.vocab_size),
    "letters alone": -(letters * np.log(letters)).sum(),
    "the language": entropy,
}


def run(training, lr):
    """The loss on the training batch and on other text, every 10 steps."""
    model = GPT(
        GPTConfig(tokenizer.vocab_size, context=T, layers=2, heads=4, dim=32, positions="rope"), rng=1, dtype=np.float64
    )
    optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.99), weight_decay=0.1, decay=lambda p: p.ndim >= 2)
    data, check = (np.array(tokenizer.encode(x)) for x in (training, other))
    batches, held_out = Batches(data, B, T, 0), Batches(check, 16, T, 0).batch(0)
    curve = []
    for step in range(STEPS + 1):
        inputs, targets = batches.batch(step)
        optimizer.zero_grad()
        loss = model.loss(inputs, targets)
        if step % 10 == 0:
            with no_grad():
                curve.append((loss.item(), model.loss(*held_out).item()))
        loss.backward()
        clip_grad_norm(optimizer, 1.0)
        optimizer.step(lr=warmup_cosine(step, lr=lr, warmup_steps=20, total_steps=STEPS, min_lr=lr / 10))
    return np.round(curve, 2)


RUNS = {
    "long text": (long, 0.01),
    "short text": (short, 0.01),
    "small steps": (long, 0.0005),
    "large steps": (long, 0.3),
}


def main() -> None:
    print("marks:", *(f"{name} {value:.2f}" for name, value in marks.items()), sep="  ")
    for name, (training, lr) in RUNS.items():
        shown = [
            f"{a:.2f} / {b:.2f} after {10 * i}" for i, (a, b) in enumerate(run(training, lr)) if i in (0, 2, 6, 12, 24)
        ]
        print(f"{name:12} training / other text:", *shown, sep="   ")


def figure() -> str:
    """Of the first two runs. The last one is chaotic: it ends differently on each kind of processor."""
    steps, points = range(0, STEPS + 1, 10), {}
    for name in ("short text", "long text"):
        training, other = zip(*run(*RUNS[name]))
        points |= {f"{name}: training": list(zip(steps, training)), f"{name}: other": list(zip(steps, other))}
    axes = {"x": ("steps", range(0, 241, 60)), "y": ("loss, nats per letter", (0, 1, 2, 3))}
    return chart.draw("A short text and a long one", points, **axes, marks=marks)


if __name__ == "__main__":
    main()
