"""One HTML file about a run: python -m llm.report RUN [--against RUN] -o report.html. To read in order:

1. command.py      the command
2. opened.py       opening a run: its model, its lines, and a text for the model to read
3. page.py         the chapters one below the other, and two runs side by side; style.py
4. facts.py        what the run is: size, options, versions, speed and memory beside the predicted ones
5. curves.py       losses, learning rate, gradient norm and speed over the steps
6. layers.py       norms of weights, gradients and updates by layer
7. samples.py      what it wrote, step by step
8. tokens.py       each token of a text shaded by its loss; losses by position and by kind of token
9. attention.py    where each head looks, and which known kind of head it resembles; where a translator looks
10. lens.py        what each layer would predict next
11. units.py       units of the feed-forward networks that are dead or linear
12. vectors.py     weights by layer, and embeddings in two dimensions
13. tables.py      rows and columns
14. pictures.py    curves and images, as SVG and PNG inside the page

What is measured and what is drawn are separate functions: tests look at the numbers. All texts are escaped by
llm/data/lab/page/html.py.
"""
