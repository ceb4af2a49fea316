"""Conversations: what a model learns of them. To read in order:

1. masks.py          which part of a conversation is learned
2. conversation.py   an example as token ids, with a mask of those that are learned
3. chatml.py         a chat template for models that have none
4. packing.py        batches of examples of different lengths
5. task.py           the task of train.py --objective chat
6. show.py           `python -m llm.tuning show`: which tokens would be learned
"""
