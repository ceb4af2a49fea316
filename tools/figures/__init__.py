"""The figures of docs/PARALLEL.md, made from real steps of training: python -m tools.figures

1. recording.py    ranks that note what they compute and what they send
2. steps.py        a step of each kind of parallelism, recorded
3. formulas.py     the bytes of these steps, as the chapter counts them
4. picture.py      a recorded step as a picture (SVG); timeline.py: a pipeline; bars.py: memory
5. tables.py       the tables of the chapter

Nothing here depends on the machine or on the time that anything takes, so the files are always the same.
"""
