"""Level 5 of byte-pair encoding: whole texts at once, without a loop over words; and many texts, by several processes.

Read in this order:

    text_encoder.py    chooses: short texts word by word, long texts by the vectorised path
    vector_encoder.py  the vectorised path: characters -> words -> ids, with arrays at every step
    many_texts.py      many texts, or one long text, as one array of ids
    processes.py       a parallel map over forked processes
"""
