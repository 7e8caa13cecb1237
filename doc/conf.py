"""How Sphinx builds the documentation; ``bin/check`` runs it."""

import sys
from pathlib import Path

from firstlight import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "firstlight"
author = "The firstlight developers"
copyright = author  # noqa: A001 - Sphinx's word
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_from_code"]
exclude_patterns = ["_extensions", "**/*.inc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "py:obj"
smartquotes = False  # two hyphens are an option of a command

myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 140
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"firstlight {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
