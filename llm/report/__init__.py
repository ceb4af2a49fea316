"""One HTML file about a run: python -m llm.report RUN [--against RUN] -o report.html. To read in order:

1. command.py      the command: reads runs, puts the chapters together
2. facts.py        what the run is: size, options, versions, speed and memory beside the predicted ones
3. curves.py       losses, learning rate, gradient norm and speed over the steps
4. tokens.py       each token of validation text shaded by its loss; losses by position and by kind of token
5. attention.py    where each head looks, and which known kind of head it resembles
6. lens.py         what each layer would say
7. vectors.py      weights by layer, and embeddings in two dimensions
8. pictures.py     curves and images, as SVG and PNG inside the page

What is measured and what is drawn are separate functions: tests look at the numbers. All texts are escaped by
llm/data/lab/page/html.py.
"""
