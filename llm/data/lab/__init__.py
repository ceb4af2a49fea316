"""From raw text to training text, with a record of what was dropped and why. To read in order:

1. verdict.py        what a rule says about a text
2. rules/            the rules and edits, and presets of them
3. command.py        the commands
4. clean.py          documents are edited, and dropped where a rule says so; choice.py: by which rules
                     inputs.py: the files that are read; pipeline.py: what happens to their texts
                     batches.py, workers.py: many of them together, by several processes or machines
                     account.py: what is counted
                     folder.py: what is written, and how work goes on after a kill
5. dedup.py          documents that repeat others; how they are found: duplicates/
6. contamination.py  test sets in training text
7. train_filter.py   a filter that is learned from examples: filters/
                     problem_count.py: what could not be read
8. mix.py            several sources, by weight; drawing.py: which document comes at which place
                     source.py: documents on the disk, any of which can be read
9. show.py           a page about what was dropped: page/; sample.py: which documents are its examples
"""
