"""Tuning: from a model that continues text to one that answers. To read in order:

1. records.py        files of examples: JSON lines, CSV, TSV
2. rows.py           the shapes of examples: messages, prompt and completion, chosen and rejected ...
3. split.py          which examples are held out for validation
4. masks.py          which part of a conversation is learned
5. conversation.py   an example as token ids, with a mask of those that are learned
6. chatml.py         a chat template for models that have none
7. packing.py        batches of examples of different lengths
8. chat.py           the objective chat: supervised fine-tuning
9. show.py           `python -m llm.tuning show`: which tokens would be learned; command.py and __main__.py: its options
10. tasks.py         the objectives of train.py, a task each (llm/training/task.py says what a task is)
"""
