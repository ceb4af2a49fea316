"""What all tests share: hypothesis profiles, marks that skip with a reason, and where the real data is."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import fake_cupy

# A test that takes longer waits for something that will never come. Slow ones are given more.
MOST_SECONDS, MOST_SECONDS_IF_SLOW = 300, 3600

quiet = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}  # a shared two-core machine is slow at times
settings.register_profile("default", max_examples=10, **quiet)  # each run draws others
settings.register_profile("ci", max_examples=20, **quiet)
# For tools/mutate.py: each change gets new examples, none from a file. To make them smaller would take long.
phases = [Phase.explicit, Phase.generate]
settings.register_profile("mutate", max_examples=20, database=None, phases=phases, **quiet)
settings.register_profile("long", max_examples=500, **quiet)  # pytest --hypothesis-profile=long
# A negative control expects that its check fails. To find the smallest example takes longer than to find one.
NOT_SHRUNK = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl-C ignored, which children inherit; tests that send one need it to be
    heard.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let a test that waits for ever fail, where it waits, so that it does not keep all others from running."""
    if not hasattr(signal, "SIGALRM"):  # Windows
        return (yield)
    seconds = MOST_SECONDS_IF_SLOW if item.get_closest_marker("slow") else MOST_SECONDS

    def fail(*_: Any) -> None:
        pytest.fail(f"the test did not end within {seconds} seconds")

    handler, pipe_handler = signal.signal(signal.SIGALRM, fail), signal.getsignal(signal.SIGPIPE)
    signal.alarm(seconds)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        # A program that a test runs in this process may let a closed pipe end the process: a later test would.
        signal.signal(signal.SIGPIPE, pipe_handler)


@pytest.fixture(autouse=True)
def _no_shrinking_in_controls(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.node.get_closest_marker("control"):
        yield
        return
    before = settings()
    settings.register_profile("control", before, phases=NOT_SHRUNK, max_examples=max(20, before.max_examples))
    settings.load_profile("control")
    yield
    settings.register_profile("before", before)
    settings.load_profile("before")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of small files are written. What a disk keeps when the power fails, no test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _programs_are_compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where Python is told to write no bytecode, each program that a test starts would compile all of the source."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_the_module_alone() -> None:
    """As `pytest_collection_finish`, for what earlier modules have imported and keep."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out everything that exists now: modules, PyTorch, the tests themselves.

    Many tests call `gc.collect()` for each example, to see that nothing is left in reference cycles. It takes 1 ms
    instead of 50 so.
    """
    gc.collect()
    gc.freeze()


def _gpu_is_usable() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    from minigrad.backend import pick_device

    return pick_device("auto") == "cuda"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not any(item.get_closest_marker("gpu") for item in items) or _gpu_is_usable():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs CuPy and a GPU"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why tests were skipped, with -q too: one line for each reason, the most frequent first."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        re.sub(r"could not import '(\w+).*", r"needs \1", report.longrepr[2].removeprefix("Skipped: "), flags=re.DOTALL)
        for report in skipped
    )
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number} skipped: {reason}")
    if reasons:
        terminalreporter.write_line("CONTRIBUTING.md says how to get what these tests need")


@pytest.fixture(scope="module", params=["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The strict stand-in for CuPy, and where there is a GPU the real one."""
    if request.param == "gpu":
        yield pytest.importorskip("cupy")
    else:
        with fake_cupy.installed() as module:
            yield module


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real weights, vocabularies and texts; tests that need it are marked `shared`."""
    folder = Path(os.environ.get("MINIGRAD_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("needs the real data: set MINIGRAD_DATA to the folder that holds it")
    return folder
