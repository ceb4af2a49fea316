"""Constrained generation: only tokens are drawn with which the text can still become a match of a regular expression,
or JSON of a schema.

    pattern or schema  ->  expression  ->  automaton over bytes  ->  for each state, the mask of allowed tokens

To read in order:

1. expressions.py   what an expression consists of: characters, sequences, choices, repetitions
2. regex.py         a regular expression as such an expression; code_points.py: its classes of characters
3. automaton.py     from an expression to the states of an automaton; utf8.py: characters as bytes
4. tokens.py        which tokens are allowed in a state; vocabulary.py: the tokens of a tokenizer
5. constraint.py    Constraint: what a program that generates text uses
6. json_values.py   JSON values as expressions
7. json_schema.py   a schema as an expression; json_types.py: its types, references.py: $ref, exclusive.py: oneOf

Sources: J. A. Brzozowski, "Derivatives of Regular Expressions", 1964, and V. Antimirov, "Partial Derivatives of Regular
Expressions and Finite Automaton Constructions", 1996, for the automaton; Willard and Louf, "Efficient Guided Generation
for Large Language Models", 2023, arXiv 2307.09702, for the masks.
"""

from llm.inference.constrain.constraint import Constraint, State
from llm.inference.constrain.expressions import PatternError

__all__ = ["Constraint", "PatternError", "State"]
