"""How well a model predicts, and which tasks it solves. To read in order:

1. loss.py         the mean loss over validation batches, perplexity, bits per byte
2. text.py         the same for a text
3. likelihood.py   how likely one text is after another
4. batched.py      the same for many pairs of texts, several times as fast
5. shared_beginnings.py   which of them are read together
6. perplexity.py   how well whole texts are predicted, in windows that overlap
7. statistics.py   how sure a result is
8. calibration.py  whether probabilities can be believed
9. tasks/          questions with right answers
10. builtin/       questions that a program makes, with simpler models to compare with
11. task_arguments.py       the tasks that are asked for on a command line
12. command.py     python -m llm.evaluation; ranks.py: with a model that is split over ranks
13. experts.py     how evenly a mixture of experts uses them
"""
