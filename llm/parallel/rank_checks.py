"""What several ranks cannot do: it is refused before anything is computed."""

from __future__ import annotations

from llm.parallel.context.gpt import check_context
from llm.parallel.mesh import complete
from llm.parallel.pipeline.schedules import parts_of
from llm.parallel.shards import check_split
from llm.runs.options import Options
from llm.runs.parallel_options import LARGEST_ZERO
from llm.runs.parsing import flag

OBJECTIVES = ("text", "chat")  # their loss is one call of `GPT.loss`, which each split model has


def sizes(options: Options, ranks: int) -> tuple[int, int, int]:
    """Ranks along the axes data, tensor and pipeline; the axis context is given."""
    parallel, context = options.parallel, options.parallel.context_parallel
    if ranks % context:
        raise ValueError(f"{ranks} ranks cannot be divided among --context-parallel {context}; use a multiple of it")
    return complete(ranks // context, parallel.data_parallel, parallel.tensor_parallel, parallel.pipeline_parallel)


def check(options: Options, ranks: int) -> None:
    """Raise ValueError if the options do not go with so many ranks."""
    data, tensor, pipeline = sizes(options, ranks)
    if options.training.data == "-":
        raise ValueError("--data - does not go with several ranks: only one of them can read it; give a file")
    _check_optimizer(options, data, tensor)
    _check_rows(options, data)
    for name, size in (("tensor_parallel", tensor), ("pipeline_parallel", pipeline)):
        if size > 1:
            _check_objective(options, flag(name))
    if tensor > 1:
        check_split(options.model, tensor)
    elif options.parallel.sequence_parallel:
        raise ValueError("--sequence-parallel needs --tensor-parallel: its ranks divide the tokens")
    if options.parallel.sequence_parallel and options.model.experts is not None:
        raise ValueError("--sequence-parallel does not go with --experts; leave it out")
    parts_of(options.model.layers, pipeline)
    if pipeline > 1:
        _check_pipeline(options)
    if options.parallel.context_parallel > 1:
        _check_context(options, tensor * pipeline)


def _check_optimizer(options: Options, data: int, tensor: int) -> None:
    name, zero = options.training.optimizer, options.parallel.zero
    widths = {options.model.mlp_width(layer) for layer in range(options.model.layers)}
    if name == "muon" and zero and data > 1 and any(width % tensor for width in widths):
        # Then tensor ranks would divide their matrices differently over the data ranks.
        raise ValueError(
            f"--optimizer muon with --zero {zero} needs MLPs whose width {max(widths)} is a multiple of the {tensor} "
            "tensor ranks; use --zero 0"
        )


def _check_rows(options: Options, data: int) -> None:
    training, zero = options.training, options.parallel.zero
    if training.batch_size < data:
        raise ValueError(
            f"--batch-size {training.batch_size} is less than the {data} ranks that divide a batch; each needs at "
            "least one sequence"
        )
    if zero == LARGEST_ZERO and training.batch_size % data:
        raise ValueError(
            f"--zero 3 needs a --batch-size that is a multiple of the {data} ranks that divide a batch, not "
            f"{training.batch_size}: they gather the parameters together, so each must compute as many sequences"
        )
    if zero == LARGEST_ZERO and training.objective == "translate":
        raise ValueError("--zero 3 gathers the blocks of a GPT; with --objective translate use --zero 2")
    if zero == LARGEST_ZERO and training.eval_task:
        raise ValueError("--zero 3 does not go with --eval-task; leave one of them out")


def _check_objective(options: Options, split: str) -> None:
    """`split`: the option that divides the model."""
    objective, tuning = options.training.objective, options.tuning
    if objective not in OBJECTIVES:
        raise ValueError(
            f"--objective {objective} does not go with {split}, which is possible with {' and '.join(OBJECTIVES)}; "
            "use --data-parallel"
        )
    if tuning.has_adapters or tuning.freeze:
        raise ValueError(
            f"{'adapters do' if tuning.has_adapters else '--freeze does'} not go with {split}; use --data-parallel"
        )


def _check_pipeline(options: Options) -> None:
    if options.training.eval_task:
        raise ValueError("--eval-task does not go with --pipeline-parallel; leave one of them out")


def _check_context(options: Options, ranks_of_a_model: int) -> None:
    name, count = flag("context_parallel"), options.parallel.context_parallel
    if ranks_of_a_model > 1:
        raise ValueError(f"{name} does not go with a model that is split; use it with --data-parallel and --zero")
    if options.training.objective != "text":
        raise ValueError(f"{name} does not go with --objective {options.training.objective}; use --data-parallel")
    if options.tuning.has_adapters or options.tuning.freeze:
        raise ValueError(f"{name} does not go with adapters and --freeze; use --data-parallel")
    if options.model.context < count:
        raise ValueError(f"texts of --context {options.model.context} tokens cannot be divided over {count} ranks")
    check_context(options.model)
