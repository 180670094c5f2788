"""Commands. Figures are saved and none is shown: whatever backend is asked for is not needed."""

import os

os.environ["MPLBACKEND"] = "agg"  # before matplotlib is imported
