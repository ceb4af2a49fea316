"""Where time and memory go, op by op: `minigrad.profile()`.

Reading order:

1. report.py      what a profile has recorded, as plain data: events, live memory, blocks
2. recorder.py    `Profile`, which records it: when an op, a gradient rule or a span begins and ends
3. memory.py      which arrays are alive
4. table.py       the report as a table of times and bytes
5. picture.py     the report as a picture of the live memory, SVG
"""

from minigrad.profiler.recorder import Profile, profile, span
from minigrad.profiler.report import Event, Report

__all__ = ["Event", "Profile", "Report", "profile", "span"]
