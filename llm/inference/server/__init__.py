"""Texts over HTTP: `python generate.py --serve`. It speaks OpenAI's API, so programs that were made for it work.

The folder needs Starlette and uvicorn (the extra `serve`), and nothing outside it imports them. To read in order:

1. app.py          which path is answered by what
2. completions.py  /v1/completions; chat.py: /v1/chat/completions
   fields.py, checks.py, request_parameters.py   what a body may contain; errors.py: what is answered if it does not
   json_text.py               values as JSON
   answers.py, choices.py     from tokens to an answer, in one piece or, by streaming.py, as a stream
   logprobs.py, token_names.py   how likely the tokens were
3. service.py      what comes before: texts become tokens; worker.py: the thread that owns the engine
4. embeddings.py   /v1/embeddings; tokenization.py: /tokenize, /detokenize, /tokenizer_info
   status.py       /v1/models, /health and /metrics, whose numbers metrics.py keeps
5. page_files.py   the page at /, whose files are in page/; page_data.py, page_model.py: what the page asks for
6. guard.py        who may use the server; bodies.py, connections.py: how much, and for how long
7. run.py          the program, and options.py its options
"""
