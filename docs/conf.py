"""How Sphinx builds the documentation: `./dev docs`."""

from flask_rooms import __version__

project = "Flask-Rooms"
author = "The Flask-Rooms contributors"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]

# The pages read as well on the repository's own site, so they use what Markdown has.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

default_role = "code"  # of single backticks in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_type_aliases = {"Callback": "Callback", "OneSocket": "OneSocket"}
napoleon_use_rtype = False

copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = f"Flask-Rooms {release}"
