"""Reinforcement: the model writes answers, a program rewards them, and what was rewarded becomes more likely.

1. rewards.py         what is good about a completion, as a number: built in, or a function in a file of yours
   judge.py           a reward model as reward
2. questions.py       what it is asked
3. algorithms.py      REINFORCE, RLOO, GRPO and others, each a row of a table: which advantages, and which loss
4. advantages.py      from rewards to advantages: is it better than was to be expected?
5. policy_losses.py   from advantages to a loss: ratios, clipping, divergence from a reference
6. measures.py        what can be seen of it: not the loss, which is near 0
7. objective.py       the loss of a batch, for the trainer
8. ppo.py             PPO: a value head, and an advantage for each token
9. rollout.py         from completions and rewards to the arrays of a batch
10. batches.py        puts all of it together: a batch for each step
11. reference.py      the model before training
12. task.py           the task of train.py --objective reinforce

Guides: Sutton and Barto, "Reinforcement Learning", chapter 13; Schulman et al. 2017 (PPO); Shao et al. 2024 (GRPO).
"""
