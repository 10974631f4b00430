"""Opens pages in a real browser, for the tests of reports."""

import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def browse(page, tmp_path, *options):
    """Return what a headless Chromium makes of a page: the document on stdout, what the console says on stderr."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", *options, f"file://{page}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
