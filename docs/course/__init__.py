"""A course in fifteen chapters: text beside the source, an experiment, and something broken to repair.

Read the files in this order (the chapters themselves begin with README.md):

    chapters.py     a chapter: its text, its exercise, its experiment and figure
    excerpts.py     the excerpts in a chapter are taken from the source by name
    exercise.py     break, check, hint: a copy of the source with one small fault, and the tests that see it
    plain.py        a chapter in the terminal, its formulas as text
    book.py         all chapters as one page of HTML
"""
