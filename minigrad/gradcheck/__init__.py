"""Gradients checked against finite differences: for users, for the tests, and `python -m minigrad.gradcheck`.

check.py has the check itself, catalogue.py an example generator for every differentiable function of minigrad,
__main__.py the command.
"""

from minigrad.gradcheck.check import Errors, GradientError, gradcheck

__all__ = ["Errors", "GradientError", "gradcheck"]
