"""Optimizers with the arguments and semantics of `torch.optim`, gradient clipping, and learning-rate schedules.

    optimizer = AdamW(model.named_parameters(), lr=3e-4, weight_decay=0.1, decay=lambda p: p.ndim >= 2)
    for step in range(steps):
        optimizer.zero_grad()
        loss(model).backward()
        norm = clip_grad_norm(optimizer, 1.0)
        optimizer.step(lr=warmup_cosine(step, 3e-4, steps, warmup_steps=100))

Read the files in this order:

1. adamw.py        AdamW: the formula, then the fast version
2. sgd.py          SGD with momentum, likewise
3. schedules.py    the learning rate at each step
4. optimizer.py    what all optimizers share: step, weight decay, saving and loading
5. flat.py         all parameters in one array, all gradients in another
6. blocks.py       going through a large array in blocks, and in several threads
7. clip.py         limiting the norm of the gradient
8. guarded.py      a step that is taken only if the loss and the norm are finite, without a wait for the GPU
9. orthogonal.py   the nearest orthogonal matrix, exactly and by a few products
10. muon.py        Muon: an optimizer for the matrices inside of a model
11. schedule_free.py   AdamW with an average of the weights in place of a schedule
12. together.py    several optimizers as one, each for its own parameters
13. averaged.py    a moving average of the weights, beside any optimizer
"""

from minigrad.optim.adamw import AdamW, adamw_reference
from minigrad.optim.averaged import Averaged
from minigrad.optim.clip import clip_grad_norm
from minigrad.optim.flat import FlatParameters
from minigrad.optim.guarded import step_if_finite
from minigrad.optim.muon import Muon, muon_reference
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedule_free import ScheduleFreeAdamW
from minigrad.optim.schedules import constant, inverse_sqrt, warmup_cosine, warmup_linear, warmup_stable_decay
from minigrad.optim.sgd import SGD, sgd_reference
from minigrad.optim.together import Together

# fmt: off
__all__ = ["SGD", "AdamW", "Averaged", "FlatParameters", "Muon", "Optimizer", "ScheduleFreeAdamW", "Together",
           "adamw_reference", "clip_grad_norm", "constant", "inverse_sqrt", "muon_reference", "sgd_reference",
           "step_if_finite", "warmup_cosine", "warmup_linear", "warmup_stable_decay"]
# fmt: on
