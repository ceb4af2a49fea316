"""Writing text with a GPT. To read in order:

1. sampling.py    from the logits of the next token to a token; filters.py and penalties.py are its steps
2. generate.py    one token after the other
   requests.py, slots.py, engine.py   the same for many texts at once; speculation.py guesses tokens ahead
3. text.py        a prompt goes in, and text comes out, piece by piece while it is generated
   stop_strings.py, text_stream.py    what can be shown of a text that is being written
   chat_prompt.py   a conversation as a prompt
4. command.py     the command line of generate.py; model_choice.py: with which model, and how that is best sampled
5. logprobs.py    how likely the model finds each token
6. beam.py        a search for the text that is likeliest as a whole
7. constrain/     only tokens with which the text can still match a pattern, or a JSON schema
8. server/        the same over HTTP, with a page
9. llama2c_sampling.py   another sampler: token for token that of llama2.c
"""
