"""Level 5 of byte-pair encoding: whole texts without a loop over words. And many texts, by several processes.

Read in this order:

    text_encoder.py    chooses the path: short texts word by word, long texts by vector_encoder.py
    vector_encoder.py  characters -> words -> ids, with arrays at every step
    many_texts.py      many texts, or one long text, as one array of ids
    processes.py       a parallel map over forked processes
"""
