"""The objective reinforce: the model answers the questions of a file, and earns what --reward gives for the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llm.data.errors import DataError
from llm.data.records import Place
from llm.evaluation.loss import Evaluation
from llm.inference.chat_prompt import has_chat_template
from llm.inference.completions import CompletionSettings, complete, stop_ids_of
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from llm.parallel.workers import Workers
from llm.runs.options import Options
from llm.runs.run import Run
from llm.runs.tuning_options import TuningOptions
from llm.training.task import Parts, SampleWriter, Task, kept_tokenizer, with_vocabulary, without_dropout
from llm.tuning.chat.chatml import chat_tokenizer
from llm.tuning.examples.rows import Prompt, Row
from llm.tuning.examples.split import checksum, read_split
from llm.tuning.reinforcement import rewards
from llm.tuning.reinforcement.advantages import mean
from llm.tuning.reinforcement.algorithms import ALGORITHMS, Algorithm
from llm.tuning.reinforcement.batches import SampledBatches, rewards_of
from llm.tuning.reinforcement.objective import PolicyGradient
from llm.tuning.reinforcement.ppo import ProximalPolicy, add_value_head
from llm.tuning.reinforcement.questions import ANSWERABLE, Question, prompt_of, question_of, questions_of
from llm.tuning.reinforcement.reference import ReferencePolicy
from llm.tuning.reinforcement.rewards import Reward, RewardError, answer_of, exact, load_reward
from tokenizer import BaseTokenizer

# Field of TuningOptions -> field of Algorithm
FIELDS = {
    "baseline": "baseline", "advantage_scale": "scale", "ratio": "ratio", "clip_low": "low", "clip_high": "high",
    "normalization": "normalization", "kl": "kl", "beta": "beta", "mask_truncated": "mask_truncated",
}  # fmt: skip
ALONE = {"reinforce", "ppo"}  # algorithms that need no group of completions of the same prompt


class ReinforceTask(Task):
    """Earn rewards."""

    name = "reinforce"
    rows = "completions"

    def __init__(self, options: Options, run: Run):
        training, tuning = options.training, options.tuning
        self.reward, self.algorithm = load_reward(tuning.reward), algorithm_of(tuning)
        self.split = read_split(training.data, tuning.val_data, training.val_fraction, ANSWERABLE)
        if self.reward is exact:
            check_answers(self.split[0] + self.split[1])
        self.tokenizer = tokenizer_for(self.split[0] + self.split[1], options, run)
        self.options = with_vocabulary(without_dropout(options), self.tokenizer)
        self.questions, self.held_out = (
            questions_of(rows, self.tokenizer, options.context, tuning.max_tokens) for rows in self.split
        )
        self.group_size = tuning.group_size or (1 if tuning.algorithm in ALONE else 8)
        if training.batch_size % self.group_size:
            raise ValueError(
                f"--batch-size {training.batch_size} is no multiple of --group-size {self.group_size}, the number of "
                "completions of each prompt; change one of them"
            )
        check_comparable(self.algorithm, self.group_size, training.batch_size)

    def extend(self, model: GPT) -> GPT:
        return add_value_head(model) if self.algorithm.baseline == "value" else model

    def parts(self, model: GPT) -> Parts:
        training, tuning = self.options.training, self.options.tuning
        is_ppo = self.algorithm.baseline == "value"
        reference = ReferencePolicy(model, self.options) if self.algorithm.beta else None
        epochs = tuning.sample_epochs or (4 if is_ppo else 1)
        settings = CompletionSettings(tuning.max_tokens, sampling(tuning.temperature), stop_ids_of(self.tokenizer))
        kind = ProximalPolicy if is_ppo else PolicyGradient
        objective = kind(
            self.algorithm, max_tokens=tuning.max_tokens, temperature=tuning.temperature, fresh=epochs == 1
        )
        batches = SampledBatches(
            model,
            self.tokenizer,
            self.questions,
            self.reward,
            self.algorithm,
            settings,
            prompts_per_step=training.batch_size // self.group_size,
            group_size=self.group_size,
            seed=training.seed,
            epochs=epochs,
            reference=reference,
        )
        count = training.eval_batches * training.batch_size
        validation = GreedyRewards(
            self.tokenizer, self.held_out[:count], self.reward, replace(settings, sampling=sampling(0.0))
        )
        data = self.checksums() | ({} if reference is None else reference.checksums())
        return Parts(objective, batches, validation, data=data, description=self.description(batches))

    def checksums(self) -> dict[str, str]:
        train, val = self.split
        return {"train": checksum(train), "val": checksum(val), **rewards.checksum(self.options.tuning.reward)}

    def description(self, batches: SampledBatches) -> str:
        tuning = self.options.tuning
        updates = "1 update" if batches.epochs == 1 else f"{batches.epochs} updates"
        return (
            f"{len(self.questions):,} questions ({self.options.training.data}), {len(self.held_out):,} for validation\n"
            f"{tuning.algorithm}: {self.group_size} completions of each of {batches.prompts_per_step} questions, "
            f"{updates} with each sample, reward {tuning.reward}"
        )

    def sample(self, model: GPT, write: SampleWriter) -> str:
        """The most likely answer to --prompt, or else to the first question of the validation data."""
        prompt, tuning = self.options.training.prompt, self.options.tuning
        question = asked(prompt, self.tokenizer) if prompt else self.held_out[0]
        settings = CompletionSettings(tuning.max_tokens, sampling(0.0), stop_ids_of(self.tokenizer))
        [answer] = complete(model, self.tokenizer, [question.ids], settings, [0])
        return f"{question.prompt}\n{answer.text}"


def check_answers(rows: Sequence[Row]) -> None:
    """Raise DataError for a row without the right answer, before training begins."""
    for row in rows:
        try:
            answer_of(row.fields)
        except RewardError as error:
            raise DataError(f"{row.place}: {error}; add the answer, or give another --reward") from None


def tokenizer_for(rows: Sequence[Any], options: Options, run: Run) -> BaseTokenizer:
    """That of the run or of the model at --from; with a chat template only if a prompt is a conversation."""
    is_chat = any(not isinstance(prompt_of(row), str) for row in rows)
    kept = None if is_chat else kept_tokenizer(options, run)
    return kept or chat_tokenizer(options, run)


def algorithm_of(tuning: TuningOptions) -> Algorithm:
    """The row of the table that --algorithm names, with the changes that the other options ask for."""
    given: dict[str, Any] = {theirs: getattr(tuning, ours) for ours, theirs in FIELDS.items()}
    changes = {name: value for name, value in given.items() if value is not None and value != "auto"}
    if tuning.algorithm == "ppo" and {"baseline", "scale", "ratio"} & changes.keys():
        raise ValueError("--algorithm ppo has a value head as baseline, and ratios of tokens; leave these options out")
    return replace(ALGORITHMS[tuning.algorithm], **changes)


def check_comparable(algorithm: Algorithm, group_size: int, batch_size: int) -> None:
    """Raise ValueError if completions are compared with no others: all advantages would be 0."""
    baseline, scale = algorithm.baseline, algorithm.scale
    if group_size == 1 and ({baseline, scale} & {"group", "leave_one_out"}):
        raise ValueError(
            "with --group-size 1, a completion has no others of its prompt to be compared with, so nothing would be "
            "learned; give 2 or more, or --baseline batch --advantage-scale none"
        )
    if batch_size == 1 and "batch" in (baseline, scale):
        raise ValueError(
            "with --batch-size 1, a completion has no others to be compared with, so nothing would be learned; give 2 "
            "or more, or --baseline running --advantage-scale none"
        )


def sampling(temperature: float) -> Sampling:
    """All tokens, with the probabilities that the loss has too."""
    return Sampling(temperature=temperature, top_p=1.0)


def asked(prompt: str, tokenizer: BaseTokenizer) -> Question:
    """--prompt as a question: that of a user, if the model chats."""
    turns: Any = [{"role": "user", "content": prompt}] if has_chat_template(tokenizer) else prompt
    return question_of(Prompt(turns, place=Place("--prompt", 1), fields={}), tokenizer)


@dataclass(frozen=True)
class GreedyRewards:
    """How a model is judged: by the mean reward of its most likely answers to questions that it was not trained on."""

    tokenizer: BaseTokenizer
    questions: Sequence[Question]
    reward: Reward
    settings: CompletionSettings

    def evaluate(self, workers: Workers) -> Evaluation:
        ids = [question.ids for question in self.questions]
        completions = complete(workers.model, self.tokenizer, ids, self.settings, [0] * len(ids))
        reward = mean(rewards_of(self.reward, self.questions, completions), axis=None).item()
        if np.isnan(reward):
            raise RewardError("the reward gives None for the answers to all questions for validation")
        lengths, cut_off = zip(*[(len(each.ids), each.cut_off) for each in completions], strict=True)
        metrics = {"reward": reward, "length": float(np.mean(lengths)), "cut_off": float(np.mean(cut_off))}
        return Evaluation(0.0 - reward, metrics=metrics)  # the lowest loss is the best
