"""The knowledge base as a book: from the same Markdown as the site, through HTML, to Typst and EPUB.

- `volumes`: which books there are, and the parts and chapters of each, as Markdown; the words are in `templates/book/`.
- `typesetting`: the HTML of the chapters as Typst markup; `formulas` does the mathematics in it, from MathML.
- `book.typ`: the look of the book.
- `pdf`: Typst's compiler, and smaller files.
- `epub`: the same chapters as an EPUB 3.
"""
