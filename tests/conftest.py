"""What tests of several files use."""

import os
import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

from scalepred.cli import main

# on a busy machine any example may take long, which says nothing of the code
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

os.environ.setdefault("RAY_worker_niceness", "0")
"""Ray's workers give way to all else that runs, so on a busy machine they would hardly come to run at all."""


def pytest_collection_modifyitems(items):
    """Take files with slow tests first: with several workers, those that are quick fill up what is left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch, tmp_path_factory):
    """Keep all tests, and the processes that they start, away from the user's own defaults for options."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-settings"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["scalepred", *map(str, arguments)])
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return code, *capsys.readouterr()

    return call
