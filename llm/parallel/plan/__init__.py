"""What a split over ranks takes, by formulas; and the search for the fastest one: python -m llm.parallel plan.

1. split.py         how a job is split, and what each rank holds of the model
2. memory.py        memory of a rank
3. traffic.py       bytes that a rank sends in a step
4. timing.py        the time of a step
5. search.py        all splits that fit, the fastest first
6. table.py         plans as a table and as a picture; command.py: the command line; dry_run.py: lines for train.py
7. published.py     runs of Megatron-LM, and the errors of these formulas
"""
