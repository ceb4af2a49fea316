"""The folder that training leaves, and from which training continues and inference reads. To read in order:

1. run.py            the folder: which files are in it, who may write to it; find.py: the newest one, or a new one;
                     versions.py: with what it was made
2. options.py        what was asked for: the options of train.py; presets.py: values that go well together;
                     tuning_options.py: those for tuning a model; parallel_options.py: those for several ranks;
                     parsing.py: from a command line
3. checkpoints.py    what was learned: weights, optimizer and state at a step; how damage is noticed
                     trained.py: which weights these are
4. state.py          the plain values of a checkpoint, and which are possible
5. metrics.py        how it went: losses of all steps; step_lines.py: any such file with a line for a step;
                     loss_picture.py: as a picture, figures.py: as all pictures
                     reading.py: the folder as ranks see it that write nothing
6. load.py           the model and the tokenizer of a run; llm.hub loads those of other people
7. commands.py       a program with several commands
8. files.py          how a file is written so that a kill never leaves half of it
9. errors.py         RunError, whose message is printed without a traceback
"""
