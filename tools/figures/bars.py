"""Memory of a rank with each stage of ZeRO, by the plan (llm/parallel/plan/memory.py), as bars."""

from __future__ import annotations

from llm.model.presets import preset
from llm.parallel.plan.memory import FULL, RankMemory, rank_memory
from llm.parallel.plan.split import Split
from tools.figures import svg

MODEL, RANKS, GIGABYTE = "gpt2", 8, 1e9
KINDS = {"weights": "a", "gradients": "b", "optimizer": "c", "activations": "d", "rest": "e"}


def memory(zero: int) -> RankMemory:
    config = preset(MODEL)
    return rank_memory(config, Split(data=RANKS, zero=zero, recompute=zero == 3), RANKS, config.context, FULL)


def parts_of(zero: int) -> dict[str, int]:
    """Bytes by kind. `rest`: logits, what the backward pass works with, and messages."""
    found = memory(zero)
    rest = found.logits + found.working + found.messages
    return {name: getattr(found, name) for name in list(KINDS)[:-1]} | {"rest": rest}


def draw() -> str:
    rows = [parts_of(zero) for zero in range(4)]
    unit, y = (svg.WIDTH - 90) / max(sum(row.values()) for row in rows), 48.0
    parts = [
        svg.text(8, 20, f"Memory of a rank: {MODEL}, {RANKS} data ranks", "title"),
        svg.text(8, 36, "float32, one text of 1,024 tokens on each rank; by the formulas of the plan", "quiet small"),
    ]
    for zero, row in enumerate(rows):
        x = 8.0
        parts.append(
            svg.text(8, y + 13, f"--zero {zero}" + (" (layers computed again)" if zero == 3 else ""), "strong")
        )
        for name, kind in KINDS.items():
            parts.append(svg.rect(x, y + 19, unit * row[name], 20, kind))
            x += unit * row[name]
        parts.append(svg.text(x + 6, y + 34, f"{sum(row.values()) / GIGABYTE:.2f} GB"))
        y += 52
    for number, (name, kind) in enumerate(KINDS.items()):
        x = 8 + 86 * number
        parts += [svg.rect(x, y, 12, 12, kind), svg.text(x + 17, y + 10, name, "small")]
    return svg.picture(y + 24, parts, "Memory of a rank with ZeRO 0 to 3, by kind")
