"""Training on one page: text -> tokens -> batches -> loss -> gradient -> AdamW, and a text that the model writes.

    python -m llm.training.simple my.txt

Read this first. The real thing does the same in step.py, trainer.py and loop.py; a test compares the weights, which are
equal to the last bit. It adds several workers, other losses, evaluation, checkpoints, resuming after a kill, options, a
progress bar, and it skips updates whose loss is not finite.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from llm.data import Batches, open_corpus
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad
from minigrad.optim import AdamW, clip_grad_norm
from minigrad.optim.schedules import warmup_cosine
from tokenizer import CharTokenizer

SEED = 1337
BATCH_SIZE = 12  # B, texts in a batch
CONTEXT = 64  # T, tokens in each of them
SIZE: dict[str, Any] = {"context": CONTEXT, "layers": 4, "heads": 4, "dim": 128}  # 0.8 million parameters
CHOICES: dict[str, Any] = {
    "positions": "rope",
    "norm": "rmsnorm",
    "qk_norm": True,
    "bias": False,
}  # they learn faster than GPT-2's
LEARNING_RATE, WARMUP = 2e-3, 20


def train(text: str, steps: int) -> tuple[GPT, CharTokenizer]:
    """A model that has learned to predict the next character of the text."""
    # The simplest tokenizer: each character that occurs is a token. `Tokenizer` joins frequent pairs of bytes to larger
    # tokens, so that a model sees more text at once.
    tokenizer = CharTokenizer.train([text])
    tokens = np.array(tokenizer.encode(text))

    # Before training the weights are random, and all characters seem equally likely: the loss is log(vocab_size).
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **SIZE, **CHOICES), rng=SEED)

    # Weight decay pulls matrices towards 0, which keeps them from growing without need. Biases and the scales of norms
    # have one dimension, and are left alone.
    decay = lambda p: p.ndim >= 2
    optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.99), weight_decay=0.1, decay=decay)

    # Pieces of CONTEXT tokens in random order. Each is seen once before any is seen again.
    batches = Batches(tokens, BATCH_SIZE, CONTEXT, SEED)

    for step in range(steps):
        # The target of each token is the token after it: targets[:, :-1] equals inputs[:, 1:]. So a batch has B * T
        # examples, and the causal mask of attention hides the answers.
        inputs, targets = batches.batch(step)  # (B, T) each
        loss = model.loss(inputs, targets, reduction="sum") / targets.size  # mean cross-entropy, in nats

        optimizer.zero_grad()  # backward() adds to the gradients that are there
        loss.backward()

        # If the gradient is longer than 1, it is shortened to 1: a rare batch cannot throw the weights far off.
        clip_grad_norm(optimizer, 1.0)

        # The learning rate rises at first, while AdamW has seen few gradients, and falls to 0 at the end, where small
        # steps settle what large steps would jump over.
        optimizer.step(lr=warmup_cosine(step, LEARNING_RATE, total_steps=steps, warmup_steps=WARMUP))

        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:4d}  loss {loss.item():.3f}")
    return model, tokenizer


def write(model: GPT, tokenizer: CharTokenizer, prompt: str, length: int, temperature: float = 0.8) -> str:
    """The prompt, and `length` tokens after it: predict the next token, draw it, append it, and again."""
    rng = np.random.default_rng(SEED)
    ids = tokenizer.encode(prompt)
    with no_grad():  # nothing will be differentiated, so no graph is recorded
        for _ in range(length):
            logits = model(np.array([ids[-CONTEXT:]])).numpy()[0, -1]  # (V,): what may follow the last token
            # A temperature below 1 makes likely tokens likelier. The largest logit is subtracted so that exp() cannot
            # overflow; that changes no probability.
            weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
            ids.append(int(rng.choice(len(weights), p=weights / weights.sum())))
    return tokenizer.decode(ids)


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "python-docs"  # the language reference that comes with Python
    text = "".join(open_corpus(source))
    model, tokenizer = train(text, steps=400)
    print(write(model, tokenizer, text[:1], length=300))
