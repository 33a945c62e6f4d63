"""What can be taken along, beside the book: every export from the one model.

- `anki`: a deck of cards.
- `records`: questions and terms as JSON; `*.schema.json` describe them.
- `markdown`: every page as plain Markdown that needs none of our extensions, and `llms.txt`, which lists them.
"""
