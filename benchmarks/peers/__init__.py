"""The pieces of work, library by library. Each public function takes a Task and returns a function that does one step
of it.
"""
