"""All pictures and tables of the chapter, by name. The same every time."""

from __future__ import annotations

from functools import cache

from llm.model.presets import preset
from llm.parallel.pipeline.timeline import expected_bubble
from llm.parallel.plan.memory import FULL, rank_memory
from llm.parallel.plan.split import Split
from llm.parallel.plan.traffic import rank_traffic
from tools.figures import bars, formulas, picture, timeline
from tools.figures.steps import MIXTURE, ROWS, STAGES, Step, context_step, data_step, pipeline_step, tensor_step

SUM = "sums of gradients, each of the rank that owns the part"
NORM = "the norm of each part of the gradient, for clipping"
LAYER_1, REST = "gradients of layer 1 to their owners, who add them up", "gradients of the rest"
GATHER_0, GATHER_1 = "the weights of layer 0, from their owners", "the weights of layer 1; layer 0 is forgotten"
ROWS_OF_LOSS = ["the largest logit of each token", "three sums for each token: all that the softmax needs"]
X, DX = "sum over the hidden units of all ranks", "sum of the gradients of x"
GIVE, GIVE_BACK, ADD = "all tokens of x", "the gradients of all tokens", "the sum, of which a rank needs its own tokens"
NORMS = "gradients of a norm, which saw some tokens only"

TITLES = {
    "data": "Data parallelism",
    "zero1": "ZeRO 1: the optimizer is divided",
    "zero2": "ZeRO 2: gradients too",
    "zero3": "ZeRO 3: weights too",
    "tensor": "Tensor parallelism",
    "sequence": "Tensor and sequence parallelism",
    "experts": "Expert parallelism",
    "context": "Context parallelism: ring attention",
}
NOTES = {  # what each message of a step is for, in their order
    "data": [LAYER_1, REST, SUM],
    "zero1": [LAYER_1, REST, NORM, "the new weights, each from its owner"],
    "zero2": [LAYER_1, REST, LAYER_1, REST, NORM, "the new weights, each from its owner"],
    "zero3": [
        *(GATHER_0, GATHER_1, LAYER_1, GATHER_0, REST),
        *(GATHER_1, LAYER_1, GATHER_0, REST),
        *(NORM, "new weights outside of layers: the embedding", "and the last norm"),
    ],
    "tensor": ["embeddings: a rank has some tokens of the vocabulary", X, X, *ROWS_OF_LOSS, DX, DX, DX],
    "sequence": [
        *("embeddings: a rank has some tokens of the vocabulary", GIVE, ADD, GIVE, ADD),
        *("all tokens, for the head", *ROWS_OF_LOSS, DX, GIVE_BACK, ADD, NORMS, GIVE_BACK, ADD, NORMS),
        "the gradients of all tokens, for the embedding",
    ],
    "experts": [
        *("embeddings: a rank has some tokens of the vocabulary", X),
        *("which experts the tokens want", "tokens to the ranks of their experts", "what the experts computed, back"),
        *("the sums over the experts of each token, to all", *ROWS_OF_LOSS, DX),
        *("gradients, the way that the tokens came back", "gradients, the way that they came"),
        *("gradients of the numbers of the router", "gradients of the tokens", DX),
    ],
    "context": [
        *["keys and values to the next rank"] * 2,
        *["keys, values and their gradients to the next rank"] * 2,
        *("gradients of keys and values, home", "gradients of all weights to their owners", SUM),
    ],
}


@cache
def steps() -> dict[str, Step]:
    return {
        "data": data_step(0),
        **{f"zero{zero}": data_step(zero) for zero in (1, 2, 3)},
        "tensor": tensor_step(),
        "sequence": tensor_step(sequence=True),
        "experts": tensor_step(MIXTURE),
        "context": context_step(),
        "pipeline": pipeline_step(),
    }


def expected(name: str, step: Step) -> int:
    """Bytes of all ranks together, by formula."""
    if name in ("data", "zero1", "zero2", "zero3"):
        return formulas.data_bytes(step, int(name[-1]) if name[-1].isdigit() else 0)
    if name == "experts":
        return formulas.experts_bytes(step, formulas.away(step))
    return {
        "tensor": formulas.tensor_bytes,
        "sequence": lambda step: formulas.tensor_bytes(step, sequence=True),
        "pipeline": formulas.pipeline_bytes,
        "context": formulas.context_bytes,
    }[name](step)


def pictures() -> dict[str, str]:
    """The text of each picture, by the name of its file."""
    found = {f"{name}.svg": picture.draw(steps()[name], title, NOTES[name]) for name, title in TITLES.items()}
    return found | {"pipeline.svg": timeline.draw(STAGES, ROWS), "memory.svg": bars.draw()}


# --- tables -----------------------------------------------------------------------------------------------------------

GPT2_RANKS, GPT2_BATCH = 4, 32
SPLITS = {
    "data": Split(data=GPT2_RANKS),
    "data, ZeRO 1": Split(data=GPT2_RANKS, zero=1),
    "data, ZeRO 3": Split(data=GPT2_RANKS, zero=3, recompute=True),
    "tensor": Split(tensor=GPT2_RANKS),
    "tensor, sequence": Split(tensor=GPT2_RANKS, sequence=True),
    "pipeline": Split(pipeline=GPT2_RANKS),
}


def bytes_table() -> str:
    names = {"zero1": "ZeRO 1", "zero2": "ZeRO 2", "zero3": "ZeRO 3", "sequence": "tensor and sequence"}
    rows = ["| step | ranks | formula | recorded |", "|---|---:|---:|---:|"]
    return "\n".join(
        [
            *rows,
            *(
                f"| {names.get(name, name)} | {s.ranks} | {expected(name, s):,} | {sum(s.sent):,} |"
                for name, s in steps().items()
            ),
        ]
    )


def gpt2_table() -> str:
    """What a rank sends and takes, the one that sends most, for GPT-2 on 4 ranks."""
    config = preset("gpt2")
    rows = ["| 4 ranks | m | sends | memory | wait |", "|---|---:|---:|---:|---:|"]
    for name, split in SPLITS.items():
        m, each = split.micro_batches(GPT2_BATCH), (config, split, GPT2_BATCH, config.context)
        stages = range(split.pipeline)
        sent = max(rank_traffic(*each, 4, (stage, 0, 0)).total for stage in stages)
        memory = max(rank_memory(*each, FULL, stage).total for stage in stages)
        rows.append(
            f"| {name} | {m} | {sent / 1e9:.2f} GB | {memory / 1e9:.2f} GB | {expected_bubble(split.pipeline, m):.0%} |"
        )
    return "\n".join(rows)


def often(split: Split, micro_batches: int) -> str:
    if split.tensor > 1:
        return "four or more a layer and micro-batch"
    return "two a micro-batch and stage" if split.pipeline > 1 else "one a bucket and step, and one more"


TABLES = {"bytes": bytes_table, "gpt2": gpt2_table}


def with_tables(page: str) -> str:
    """The page with each table between its two comments made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- table: {name} -->\n", f"<!-- end of table: {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{make()}\n{end}{rest.partition(end)[2]}"
    return page
