"""Batches that the model writes itself: questions are drawn, completions are sampled and rewarded, and their advantages
computed. A sample is used for one update, or for `epochs` of them.

    step 0      1            2            3             with epochs = 3
    sample      the same     the same     sample again

A step of the trainer is always one update. What later updates need of a sample is in `state_dict`, which goes into the
checkpoints: a run that is killed between two updates of a sample goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llm.inference.completions import Completion, CompletionSettings, complete, seeds_of
from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from llm.tuning.examples.row_batches import RowBatches
from llm.tuning.reinforcement.advantages import RunningMean
from llm.tuning.reinforcement.algorithms import Algorithm
from llm.tuning.reinforcement.measures import MEASURES, measures_of
from llm.tuning.reinforcement.objective import PolicyBatch
from llm.tuning.reinforcement.questions import Question
from llm.tuning.reinforcement.rewards import Reward
from llm.tuning.reinforcement.rollout import Reference, roll_out, with_advantages
from tokenizer import BaseTokenizer


@dataclass
class SampledBatches:
    """A source of batches (llm/training/task.py). A batch depends on the seed, the step, and the weights of the step.

    Each step uses `prompts_per_step` questions, and `group_size` completions of each.
    """

    model: GPT
    tokenizer: BaseTokenizer
    questions: Sequence[Question]
    reward: Reward
    algorithm: Algorithm
    settings: CompletionSettings
    prompts_per_step: int
    group_size: int
    seed: int
    epochs: int = 1
    reference: Reference | None = None
    running: RunningMean = field(default_factory=RunningMean)
    sample: PolicyBatch | None = None  # the newest one
    measures: dict[str, float] = field(default_factory=dict)  # of it

    def batch(self, step: int) -> Batch:
        if step % self.epochs == 0 or self.sample is None:
            self.sample = self._new_sample(step)
        return tuple(self.sample)

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a resumed run needs of this one, besides the weights."""
        state = {"running": np.array([self.running.mean, self.running.count])}
        if self.epochs > 1 and self.sample is not None:
            state |= {**self.sample._asdict(), "measures": np.array(list(self.measures.values()))}
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        mean, count = state["running"].tolist()
        self.running = RunningMean(mean, int(count))
        if "ids" in state:
            self.sample = PolicyBatch(*(state[name] for name in PolicyBatch._fields))
            self.measures = dict(zip(MEASURES, state["measures"].tolist(), strict=True))

    def _new_sample(self, step: int) -> PolicyBatch:
        chosen = self.chosen(step // self.epochs)
        seeds = seeds_of(self.seed, step, len(chosen))
        completions = complete(self.model, self.tokenizer, [q.ids for q in chosen], self.settings, seeds)
        rewards = rewards_of(self.reward, chosen, completions).reshape(-1, self.group_size)  # (P, G)
        # A single update computes the log-probabilities itself, under the same weights.
        has_penalty = self.reference is not None and self.algorithm.kl_in == "reward"
        rollout = roll_out(
            self.model,
            completions,
            self.settings.sampling.temperature,
            self.reference,
            mask_truncated=self.algorithm.mask_truncated,
            needs_old=self.epochs > 1 or has_penalty or self.algorithm.baseline == "value",
        )
        batch = with_advantages(rollout, rewards, self.algorithm, self.running.mean)
        self.measures = measures_of(rewards, completions)
        self.running.add(rewards)  # after they were compared with the mean of the earlier ones
        return batch

    def chosen(self, number: int) -> list[Question]:
        """The questions of a sample, each `group_size` times. In each epoch all are used, in a random order."""
        order = RowBatches(self.questions, self.prompts_per_step, self.seed, make_batch=lambda _: ())
        return [self.questions[i] for i in order.indices(number) for _ in range(self.group_size)]


def rewards_of(reward: Reward, questions: Sequence[Question], completions: Sequence[Completion]) -> np.ndarray:
    """The reward of each completion, (R,) float64; NaN where the reward is None."""
    texts = [each.text for each in completions]
    rewards = reward([each.prompt for each in questions], texts, [each.row for each in questions])
    return np.array([np.nan if each is None else each for each in rewards], dtype=np.float64)
