"""Settings of Sphinx: python -m sphinx -W -b html docs docs/_build/html"""

import ast
import dataclasses
import inspect
import re

import asr_jax

project = "asr-jax"
release = asr_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "results"]
myst_enable_extensions = ["amsmath", "dollarmath"]
default_role = "py:obj"  # `name` in a docstring is code, and a link where it is documented
smartquotes_action = "D"  # dashes only: dots and quotes stay as they are in the source

autoclass_content = "both"
autodoc_default_options = {"exclude-members": "replace"}  # every Flax struct has it
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as in the source, not a path of this machine
autodoc_type_aliases = {"Params": "Params"}  # not what it stands for, Any
autodoc_typehints_format = "short"
napoleon_use_rtype = False
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "asr-jax"


def complete_docstring(app, what, name, obj, options, lines):
    """Adds the fields of structs as they stand in the source: shapes and units are comments."""
    lines[:] = [re.sub(r"\|(?=\w)", r"\\|", line) for line in lines]  # |x| is a number, no markup
    if what == "class" and (dataclasses.is_dataclass(obj) or hasattr(obj, "_fields")):
        source = inspect.getsource(obj)
        body = ast.parse(source).body[0].body
        fields = [node for node in body if isinstance(node, ast.AnnAssign)]
        rows = source.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno]
        lines += ["", ".. code-block:: python", "", *rows, ""]


def link_public_name(app, env, node, content):
    """Links `asr_jax.model.Model`, which annotations name, to `asr_jax.Model` in the reference."""
    name = node["reftarget"].rpartition(".")[-1]
    if node.get("refdomain") == "py" and name in asr_jax.__all__:
        python = env.domains.python_domain
        return python.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"asr_jax.{name}", node, content
        )


def setup(app):
    app.connect("autodoc-process-docstring", complete_docstring)
    app.connect("missing-reference", link_public_name)
