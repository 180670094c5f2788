"""The commands of an installed package: `asr-overlap` is `python -m experiments.overlap`.

Other projects have packages called `experiments` and `configs`, too. So an installed package keeps
ours in a folder of its own, which is looked in while one of our commands runs.
"""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]  # where experiments/ and configs/ lie


def main() -> None:
    """Runs the command that this program is called after."""
    sys.path.insert(0, str(ROOT))
    command = Path(sys.argv[0]).stem.removeprefix("asr-")
    runpy.run_module(f"experiments.{command}", run_name="__main__", alter_sys=True)
