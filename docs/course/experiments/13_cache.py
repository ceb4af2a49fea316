"""The same text with and without a cache, and what it costs; and how temperature and top-p change what is drawn.

Run it from the root of the repository: python -m docs.course.experiments.13_cache
"""

import numpy as np

from llm.inference.filters import keep_top_p
from llm.inference.sampling import apply_temperature, softmax
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from tools.figures import chart

config = GPTConfig(vocab_size=50, context=64, layers=2, heads=4, dim=32, positions="rope", tied_head=False)
model = GPT(config, rng=13, dtype=np.float64).eval()
model.head.weight.data *= 20  # a new model finds all tokens about equally likely; this one has opinions
prompt, NEW = [3, 1, 4, 1, 5], 40


def write(cache):
    """The most likely token, again and again. Returns the ids, and how many tokens the model has read for them."""
    ids, new, read = list(prompt), list(prompt), 0
    with no_grad():
        for _ in range(NEW):
            logits = model(np.array([new]), cache=cache).data[0, -1]
            read += len(new)
            ids.append(int(logits.argmax()))
            new = ids if cache is None else ids[-1:]  # the cache holds what was before
    return ids, read


(plain, plain_read), (cached, cached_read) = write(None), write(cache := KVCache(model.config))
weights = sum(p.data.nbytes for p in model.parameters())
print(f"the same text: {plain == cached}; tokens read without a cache {plain_read}, with it {cached_read}")
print(f"the cache holds {cache.length} tokens, and has room for 64, in {cache.nbytes:,} bytes; weights {weights:,}")

with no_grad():
    logits = np.sort(model(np.array([prompt])).data[0, -1])[::-1]  # of the most likely token first
curves, kept = {}, {}
for temperature in (0.5, 1.0, 2.0):
    probabilities = softmax(apply_temperature(logits, temperature))
    curves[temperature] = probabilities[:20]
    kept[temperature] = int((keep_top_p(probabilities, 0.9) > 0).sum())
    print(
        f"temperature {temperature}: the most likely {probabilities[0]:.2f}, top-p 0.9 keeps {kept[temperature]} of 50"
    )


def figure() -> str:
    points = {f"temperature {name}": list(enumerate(np.log10(curve).round(2), 1)) for name, curve in curves.items()}
    axes = {
        "x": ("rank of the token", (1, 5, 10, 15, 20)),
        "y": ("probability: its logarithm to the base 10", range(-6, 1)),
    }
    return chart.draw("One row of logits, three temperatures", points, **axes)
