"""Dates to translate: --data dates. "Saturday, 23rd of May 1998" becomes "1998-05-23".

The order of the parts changes, so the picture of attention is no diagonal. The year of "5/23/98" is to be guessed from
its last two digits, and the names of days are to be ignored. Each date is there once, so those that are held out for
validation were never seen, in no form.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)  # one century, so that two digits are enough for a year
COUNT = 30_000  # pairs, of 36,525 dates
# Written out: those of the module calendar are in the language of the user.
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]  # fmt: skip
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def dates(count: int = COUNT, seed: int = 0) -> list[tuple[str, str]]:
    """Different dates, each in a form that was drawn, and in ISO 8601."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation((LAST - FIRST).days + 1)[:count]
    days = [FIRST + timedelta(days=int(number)) for number in numbers]
    return [(forms(day)[int(form)], day.isoformat()) for day, form in zip(days, rng.integers(0, 8, count))]


def forms(day: date) -> list[str]:
    """How people write it."""
    month, name, nth = MONTHS[day.month - 1], DAYS[day.weekday()], f"{day.day}{ending(day.day)}"
    return [
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{name}, {nth} of {month} {day.year}",
        f"{name[:3]} {day.day} {month[:3]} {day.year}",
        f"the {nth} of {month}, {day.year}",
        f"{month[:3]} {nth} '{day.year % 100:02}",
        f"{day.month}/{day.day}/{day.year % 100:02}",
        f"{name}, {day.day}.{day.month}.{day.year}",
    ]


def ending(number: int) -> str:
    """Of 1st, 2nd, 3rd, 4th ..."""
    return "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
