"""A pipeline: the layers of a model divided among ranks, which work on different micro-batches at the same time.

1. schedules.py     in which order a rank computes its micro-batches, forwards and backwards
2. stages.py        the part of a model that a rank has
   split_stages.py  the same, with each layer split over tensor ranks too
3. executor.py      a training step: the actions of the schedule, and the messages between them
   ranks.py         several pipelines, each with some rows of the batch
4. timeline.py      who computed what, and when: computed, measured, drawn
"""
