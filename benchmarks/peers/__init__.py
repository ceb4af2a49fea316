"""What each library does. A function here takes a Task, prepares it, and returns a function that does one step.

Reading order: training.py, learning.py and decoding.py (what is the same for all libraries), ours.py, pytorch.py,
functional.py (JAX and HIPS autograd), small.py (small graphs), limits.py (what the machine can do at most).
On a GPU: gpu.py and gpu_torch.py, writing.py and writing_torch.py.
"""
