"""The site: Sphinx, MyST, notebooks that run in the build. `make docs` builds it; every warning is an error there."""

import os
import sys
from pathlib import Path

from corpuscle import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Corpuscle"
author = "The Corpuscle authors"
release = version = __version__
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated_pages",
    "plain_properties",
    "repository_links",
]
# Tables under published/claims and mixture-on-cells are parts of the pages that include them.
exclude_patterns = ["_build", "_ext", "published/claims", "mixture-on-cells/*"]

html_theme = "furo"
html_title = f"Corpuscle {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["deflist"]
# Links such as (study-file.md#quality) mean what they mean where the repository is looked at.
myst_heading_anchors = 4
# Texts of the package are code in single backticks.
default_role = "code"
smartquotes = False

nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "executed")
nb_execution_raise_on_error = True
nb_execution_timeout = 120
# Progress, and a remark of tqdm's on notebooks without widgets. What fails raises, and ends the build.
nb_output_stderr = "remove"
# As on a worker: what a page shows must not depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

nitpicky = True
# Other packages' classes, and what is in the package's rooms rather than offered by it, are named without a link.
nitpick_ignore_regex = [("py:.*", r"(?!corpuscle\.).*"), ("py:.*", r"corpuscle\.\w+\..*")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
