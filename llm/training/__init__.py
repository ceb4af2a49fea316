"""Training a GPT. To read in order:

1. simple.py        all of it on one page, without what the other files add
2. step.py          one update of the weights: gradient, clipping, AdamW
3. objectives.py    the loss of a batch: next-token prediction
4. trainer.py       updates one after the other, evaluation, and the state from which a run can be resumed
5. loop.py          the training loop: metrics, evaluations, samples, checkpoints
6. signals.py       Ctrl-C: finish the update, then stop
7. task.py          what a run learns: data, tokenizer, objective, validation; text.py: the task of plain text
8. setup.py         from options to a trainer: task, model; optimizers.py: AdamW or Muon; base.py: --from
9. checks.py        what can be checked before the first step; mixed_precision.py: --precision
10. command.py      the command line of train.py
11. messages.py     what is said at the end
12. display.py      progress bars; dry_run.py: --dry-run; memory.py: how much is needed; trained.py: of what is
                    trained; profiling.py: --profile; records.py: what a report needs; eval_tasks.py: --eval-task;
                    words.py: the command of a run
13. captured.py     train_step as one launch on a GPU, which setup.py chooses where nothing is against it

The path of one gradient, from the command to the weights:

    train.py  main                          reads the options: command.parse, then command.start
    setup.py  set_up                        opens task, model and checkpoint, and makes the Trainer
    loop.py  train > Loop.advance           calls update, then evaluates, prints and saves when it is time
    trainer.py  Trainer.update              takes the batch and the learning rate of this step
    step.py  train_step                     sets gradients to zero, calls `accumulate`, then clips and updates (below)
    parallel/workers.py  accumulate         divides the rows of the batch among the workers
    parallel/workers.py  compute_gradient   computes the loss of one worker's rows, and then its gradient
    objectives.py  NextToken.loss_sum       calls model/gpt.py  GPT.loss: every operation records its gradient rule
    parallel/shared_gradients.py  backward  calls minigrad/backward.py  backpropagate: from the loss to the parameters
    minigrad/nn/module.py  accumulate       adds the gradient of one parameter to the flat gradient of the optimizer
    minigrad/optim  clip_grad_norm, AdamW   scale the flat gradient if it is too long, and update the weights

llm/parallel explains how several workers compute one gradient. llm/runs explains what training writes to disk.
"""
