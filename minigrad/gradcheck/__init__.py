"""Gradients checked against finite differences: for users, for the tests, and as `python -m minigrad.gradcheck`.

Reading order:

1. check.py       the check itself: `gradcheck(f, inputs)`
2. choices.py     `Choices`, a source of random shapes, axes and arrays
3. examples/      for each differentiable function of minigrad, how an example of a call is made from choices
4. catalogue.py   all these functions in one table, for the tests and the command
5. __main__.py    the command
"""

from minigrad.gradcheck.check import Errors, GradientError, gradcheck

__all__ = ["Errors", "GradientError", "gradcheck"]
