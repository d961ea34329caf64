"""The site's settings. `docs/build.py` gathers the pages and then calls Sphinx with these."""

import sys
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import NbElementRenderer
from sphinx.parsers import Parser
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))
from formulas import FONT, glue, mathml  # noqa: E402

project = "layermatch_lite"
html_title = "layermatch_lite"
language = "en"
extensions = ["myst_nb"]
suppress_warnings = ["toc.not_included"]  # docs/index.md includes the README's table; the README itself is not in a menu

nb_execution_mode = "off"  # shown as committed
nb_output_stderr = "remove"  # progress bars
nb_render_markdown_format = "myst"  # formulas in what a cell shows
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static", str(FONT)]
html_css_files = ["course.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False
html_use_index = html_domain_indices = False
html_show_search_summary = False  # would be fetched page by page, which browsers refuse to pages opened as files
html_math_renderer = "mathml"


def visit_formula(self, node):
    """No script, no network: the formula stands in the page. One that cannot be converted is a warning, so the build fails."""
    try:
        self.body.append(mathml(node.astext(), isinstance(node, nodes.math_block)))
    except Exception as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
    raise nodes.SkipNode


def keep_alt_text(render_image):
    """myst-nb drops the alt text that comes with a notebook's picture; this keeps it."""

    def render(self, data):
        images = render_image(self, data)
        for image in images:
            image["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
        return images

    return render


class SourceParser(Parser):
    """A source file that a page links to becomes a page: its name and its highlighted text."""

    supported = ("python",)

    def parse(self, text, document):
        env = document.settings.env  # of this page
        name = env.docname + ".py"
        section = nodes.section("", nodes.title(name, name), ids=["source"])
        section += nodes.literal_block(text, text, language="python")
        document += section
        # Left out of the menus and of the search results, which are for the lessons.
        env.metadata[env.docname].update(orphan=True, nosearch=True)


def glue_formulas(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = glue(context["body"])


def setup(app):
    NbElementRenderer.render_image = keep_alt_text(NbElementRenderer.render_image)
    app.add_html_math_renderer("mathml", (visit_formula, None), (visit_formula, None))
    app.add_source_suffix(".py", "python")
    app.add_source_parser(SourceParser)
    app.connect("html-page-context", glue_formulas)
