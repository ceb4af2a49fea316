"""How good a model is: see loss.py."""
