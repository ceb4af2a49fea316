"""Examples to learn from: the rows of files, and batches. To read in order:

1. fields.py        what a field of a record holds: a text, messages, tools
2. rows.py          the shapes of examples: messages, prompt and completion, chosen and rejected ...
3. split.py         which examples are held out for validation
4. encoded.py       the examples of a task: read, divided, encoded
5. row_batches.py   their random order

Files are read by llm/data/records.py.
"""
