"""Where time and memory go, op by op: `minigrad.profile()`.

Reading order: events.py (what is attributed to what), memory.py (which arrays are alive), table.py and picture.py.
"""

from minigrad.profiler.events import Event, Profile, Report, profile, span

__all__ = ["Event", "Profile", "Report", "profile", "span"]
