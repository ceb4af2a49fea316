"""Evaluate a model whose every layer is split over ranks: mpiexec -n 2 python -m llm.evaluation runs/large --task ...

All ranks compute the same outcomes, because the logits have the same bits on all of them. Rank 0 prints and writes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from llm.console import errors_as_sentences
from llm.evaluation.command import PROGRAM, Evaluate
from llm.inference.model_choice import LoadedModel
from llm.inference.ranks import PATIENCE, load_split, refuse
from llm.parallel.communicators.alone import Alone
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.ending import ending_together
from llm.parallel.find_job import find_job
from llm.runs.parsing import read_options

ALONE = Alone()


@dataclass(frozen=True)
class EvaluateOnRanks(Evaluate):
    """As `Evaluate`, on one of several ranks."""

    ranks: Communicator = ALONE

    def load(self, path: str) -> LoadedModel:
        return load_split(path, self.ranks, self.tokenizer)


def on_ranks(options: Evaluate, ranks: Communicator) -> EvaluateOnRanks:
    """What this rank does."""
    given = {field.name: getattr(options, field.name) for field in fields(Evaluate)}
    return EvaluateOnRanks(**given | {"json": options.json if ranks.rank == 0 else None}, ranks=ranks)


def check(options: Evaluate) -> Evaluate:
    """The options. Raises ValueError if they ask for what a model on several ranks cannot do."""
    others = {
        "--out": options.out is not None, "--checkpoint best": options.checkpoint == "best",
        "--device": options.device not in ("auto", "cpu"),
    }  # fmt: skip
    refuse(others)
    return options


def main_of_rank(arguments: list[str]) -> int:
    """The command, on one of the ranks that mpiexec has started. Returns the exit status."""
    with ending_together(PROGRAM), errors_as_sentences(PROGRAM, "use more ranks, or a smaller model"):
        job = find_job()
        options = job.on_first(lambda: check(read_options(Evaluate, arguments, program=PROGRAM)))
        job.world.patience = PATIENCE
        on_ranks(options, job.world).start()
        return job.end(0)
