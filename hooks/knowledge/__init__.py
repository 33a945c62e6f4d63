"""The knowledge base, which knows nothing of MkDocs: data in, Markdown and JSON out.

In the order in which the data runs through it:

- `mistakes`, `reading`: what a mistake is; YAML into frozen dataclasses, with lines.
- `prose`: what stands in a Markdown source.
- `concepts`, `questions`, `terms`, `references`, `corrections`, `notebooks`, `publishing`: one kind of data each, its
  type and its reader.
- `model`: all of it in one, checked against each other.
- `mathematics`: TeX into SVG, MathML and plain text; the allow-list of commands.
- `links`, `citations`, `equations`, `term_links`: Markdown extensions.
- `plaintext`, `structured_data`, `search`, `ageing`, `policy`: the data in other forms.
- `pages`, `templates/`: the generated pages.
- `book`: the chapters as PDF and EPUB.
- `exports`, `archive`: flash cards, JSON, plain Markdown; ZIP files.
- `downloads`: which files can be taken along, and what makes each.
- `build`: the only module that knows MkDocs; hooks and scripts call it.
"""
