"""Examples to learn from: files, the shapes of their rows, and batches. To read in order:

1. records.py       files: JSON lines, CSV, TSV
2. rows.py          the shapes of examples: messages, prompt and completion, chosen and rejected ...
3. split.py         which examples are held out for validation
4. encoded.py       the examples of a task: read, divided, encoded
5. row_batches.py   their random order
"""
