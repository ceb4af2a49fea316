"""Preferences: of two answers, people chose one. To read in order:

1. losses.py        losses that learn from such pairs: one table; pairs.py: what they read
2. completions.py   how likely a model finds whole completions: what the losses are computed from
3. reference.py     what the model at the beginning says about them
4. task.py          the task of train.py --objective preference
5. reward_loss.py   the loss of a model that judges answers
6. reward_task.py   the task of train.py --objective reward
"""
