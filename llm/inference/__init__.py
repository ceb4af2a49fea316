"""Writing text with a GPT. To read in order:

1. sampling.py      from the logits of the next token to a token; filters.py and penalties.py are its steps
2. generate.py      one token after the other
3. engine/          the same for many texts at once; all programs write with it
   captured.py      a token in one launch, on a GPU
4. text.py          a prompt goes in, and text comes out, piece by piece; chat_prompt.py: a conversation as a prompt
   completions.py  completions of many prompts at once
5. constrain/       only tokens with which the text can still match a pattern, or a JSON schema
6. options.py, command.py   the command line; model_choice.py: which model, and how best to sample
   terminal/        what generate.py does at a terminal: texts, chats, probabilities; nesting.py: bad input
   ranks.py        the same with a model that is split over several ranks
7. server/          the same over HTTP, with a page
8. inspection.py    what happens inside the model while it reads: where it looks, what each layer would say
9. logprobs.py      how likely the model finds each token
10. beam.py         a search for the text that is likeliest as a whole
11. translation.py  from a source to its translation, greedy or with beams
12. llama2c_sampling.py   another sampler: token for token that of llama2.c
13. classify.py     texts to classes, with a classifier in place of a model that writes
"""
