"""One version: of the library, of what is installed, and of the newest entry of the changelog."""

import re
import subprocess
import sys
from pathlib import Path

import asr_jax

ROOT = Path(__file__).parents[1]


def test_library_package_and_changelog_say_the_same_version():
    command = [sys.executable, "setup.py", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    newest = re.search(r"^## \[?([^]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    assert said.split()[-1] == newest == asr_jax.__version__
