"""Training on one page: text -> tokens -> batches -> loss -> gradient -> AdamW, and a text that the model writes.

    python -m llm.training.simple my.txt

Read this first. train.py does the same in step.py, trainer.py and loop.py: a test says that the weights are equal to
the last bit. What train.py adds: several workers, other losses, evaluation, checkpoints, resuming after a kill,
options, a progress bar, and skipping an update when the loss is not finite.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from llm.data import Batches, open_corpus
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad
from minigrad.nn import Parameter
from minigrad.optim import AdamW, clip_grad_norm
from minigrad.optim.schedules import warmup_cosine
from tokenizer import CharTokenizer

SEED = 1337
BATCH_SIZE = 12  # B, texts in a batch
CONTEXT = 64  # T, tokens in each of them
SIZE: dict[str, Any] = {"context": CONTEXT, "layers": 4, "heads": 4, "dim": 128}  # 0.8 million parameters
# With these choices the model learns faster than with those of GPT-2.
CHOICES: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "qk_norm": True, "bias": False}
LEARNING_RATE = 2e-3
WARMUP = 20  # steps


def train(text: str, steps: int) -> tuple[GPT, CharTokenizer]:
    """A model that has learned to predict the next character of the text."""
    # The simplest tokenizer: each character of the text is a token. `Tokenizer` (byte-pair encoding) has longer tokens,
    # so that the same number of tokens is more text.
    tokenizer = CharTokenizer.train([text])
    tokens = np.array(tokenizer.encode(text))

    # The weights are random: to the model all characters are about equally likely. So the loss begins at
    # log(vocab_size).
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **SIZE, **CHOICES), rng=SEED)

    # Weight decay pulls matrices towards 0, so that they do not grow without need. Norms and biases are left out.
    optimizer = AdamW(model.named_parameters(), betas=(0.9, 0.99), weight_decay=0.1, decay=is_matrix)

    # Windows of CONTEXT tokens, in random order. All are used once before one is used again.
    batches = Batches(tokens, BATCH_SIZE, CONTEXT, SEED)

    for step in range(steps):
        # The target of each token is the token after it: targets[:, :-1] equals inputs[:, 1:]. So a batch has B * T
        # examples. The causal mask of attention hides the answers, which are in the inputs too.
        inputs, targets = batches.batch(step)  # (B, T) each
        # The mean cross-entropy, in nats. Sum and division are separate because train.py divides the rows among several
        # workers: each computes the sum of its rows, and divides by the size of the whole batch.
        loss = model.loss(inputs, targets, reduction="sum") / targets.size

        optimizer.zero_grad()  # backward() adds to the gradients that are there
        loss.backward()

        # A gradient with a norm above 1 is scaled down to 1, so that a single odd batch cannot spoil the weights.
        clip_grad_norm(optimizer, 1.0)

        # The learning rate rises during the warmup, because the averages of AdamW are unreliable until they contain
        # some gradients. Then it falls to 0: large steps make fast progress, and small ones find the bottom at the end.
        optimizer.step(lr=warmup_cosine(step, LEARNING_RATE, total_steps=steps, warmup_steps=WARMUP))

        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:4d}  loss {loss.item():.3f}")
    return model, tokenizer


def is_matrix(p: Parameter) -> bool:
    return p.ndim >= 2


def write(model: GPT, tokenizer: CharTokenizer, prompt: str, length: int, temperature: float = 0.8) -> str:
    """The prompt, and `length` tokens after it: predict the next token, draw it, append it, and repeat."""
    rng = np.random.default_rng(SEED)
    ids = tokenizer.encode(prompt)
    with no_grad():  # no gradients are needed here, so no graph is recorded
        for _ in range(length):
            # A batch of one text goes in, and logits (1, T, V) come out. The last row predicts the next token.
            logits = model(np.array([ids[-CONTEXT:]])).numpy()[0, -1]  # (V,)
            # A temperature below 1 makes likely tokens even more likely. Subtracting the largest logit changes no
            # probability, and exp() cannot overflow.
            e = np.exp((logits - logits.max()).astype(np.float64) / temperature)
            ids.append(int(rng.choice(len(e), p=e / e.sum())))
    return tokenizer.decode(ids)


def main() -> None:
    parser = argparse.ArgumentParser("python -m llm.training.simple", description="Train a small GPT, on one page.")
    parser.add_argument("data", nargs="?", default="python-docs", help="a text file; default: Python's documentation")
    parser.add_argument("--steps", type=int, default=400, help="updates of the weights (default: %(default)s)")
    options = parser.parse_args()
    text = "".join(open_corpus(options.data))
    print(f"{options.steps} steps on {len(text):,} characters ({options.data})")
    model, tokenizer = train(text, options.steps)
    # The prompt is the first character of the text. Any text of characters that the tokenizer knows would do.
    print(write(model, tokenizer, prompt=text[:1], length=300))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"simple: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as shells have it
