"""Training a GPT. To read in order:

    simple.py        the whole of it on one page, without what follows
    step.py          one update of the weights: gradient, clipping, AdamW
    objectives.py    the loss of a batch: next-token prediction
    trainer.py       updates one after the other, evaluation, the state to continue from
    loop.py          the training loop: metrics, samples, checkpoints; signals.py: Ctrl-C
    setup.py         from options to a trainer: text, tokenizer, model, optimizer
    command.py       the command line of train.py
    display.py       progress bars; dry_run.py: --dry-run; profiling.py: --profile

How several workers compute one gradient is in llm/parallel, the folder that a run leaves in llm/runs.
"""
