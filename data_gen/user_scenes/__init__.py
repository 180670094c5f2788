"""A user's own images: a folder of pictures, an .npz file of arrays, or an .npy stack.

`find` says what is there, `load` reads it all, `split` divides it.
"""

from data_gen.user_scenes.door import find, load, split
from data_gen.user_scenes.found import Found

__all__ = ["Found", "find", "load", "split"]
