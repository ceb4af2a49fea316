"""Tuning: from a model that continues text to one that answers. To read in order:

1. records.py        files of examples: JSON lines, CSV, TSV
2. rows.py           the shapes of examples: messages, prompt and completion, chosen and rejected ...
3. split.py          which examples are held out for validation
4. masks.py          which part of a conversation is learned
5. conversation.py   an example as token ids, with a mask of those that are learned
6. tasks.py          the objectives of train.py, a task each (llm/training/task.py says what a task is)
"""
