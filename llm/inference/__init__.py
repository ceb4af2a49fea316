"""Writing text with a GPT. To read in order:

1. sampling.py    from the logits of the next token to a token; filters.py and penalties.py are its steps
2. generate.py    one token after the other
3. requests.py, slots.py, engine.py    the same for many texts at once
   speculation.py    tokens guessed ahead, and checked all in one call of the model
4. text.py        a prompt goes in, and text comes out, piece by piece while it is generated
   stop_strings.py, text_stream.py    what can be shown of a text that is being written
5. command.py     what generate.py does; options.py, and model_choice.py: with which model
   text_writer.py    one text after another; terminal.py, token_output.py: how they are shown
   chat.py           a chat; conversation.py, chat_prompt.py: what the model reads in it
6. constrain/     only tokens with which the text can still match a pattern, or a JSON schema
7. inspection.py  what happens inside the model while it reads: where it looks, what each layer would say
   inspection_views.py    a table and a picture of that
8. server/        the same over HTTP, with a page
9. logprobs.py    how likely the model finds each token
10. beam.py       a search for the text that is likeliest as a whole
11. llama2c_sampling.py   another sampler: token for token that of llama2.c
"""
