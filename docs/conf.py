"""How Sphinx builds these pages: from Markdown, without the network."""

from __future__ import annotations

from airflow_synapse import __version__

project = "airflow-synapse"
author = "the authors of airflow-synapse"
copyright = "The authors of airflow-synapse, Apache-2.0"  # noqa: A001  # Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# The signature tells names, defaults and types; the list below it what they mean.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = f"airflow-synapse {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sourcelink = False

pygments_style = "friendly"
pygments_dark_style = "github-dark"

_PAGE_OF = {
    "../README.md": "index.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../benchmarks/README.md": "benchmarks.md",
}
"""Files outside of this folder that are a page here. Links name the file, so that they also work where
the Markdown is read as it is."""


def setup(app):
    app.connect("source-read", _link_pages)


def _link_pages(app, docname, source):
    for path, page in _PAGE_OF.items():
        source[0] = source[0].replace(f"]({path}", f"]({page}")
