"""python -m tools.figures: draw the pictures of docs/PARALLEL.md, and compute its tables."""

from __future__ import annotations

from pathlib import Path

from tools.figures.chapter import pictures, with_tables

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "PARALLEL.md", DOCS / "parallel"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (PICTURES / name).write_text(text, "utf-8")
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
