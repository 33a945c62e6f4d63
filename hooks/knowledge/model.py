"""The one model: reads all the data, checks each against the others, and answers who refers to whom."""

from __future__ import annotations

import graphlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from knowledge import concepts, mathematics, notebooks, prose, publishing, questions, references
from knowledge.concepts import Area, Concept, Planned, Taxonomy
from knowledge.corrections import Correction
from knowledge.mistakes import Mistake, Text, at, unknown
from knowledge.notebooks import Notebook
from knowledge.publishing import Published
from knowledge.questions import Dropped, Question, QuestionIndex, SeedDocument
from knowledge.reading import read
from knowledge.references import Reference
from knowledge.terms import Matcher, Term

T = TypeVar("T")

DATA = "docs/_data/"
#: The data files that must exist, and what each holds; the bibliography is no YAML.
FILES: Mapping[str, Any] = {
    "taxonomy.yml": Taxonomy,
    "questions.yml": QuestionIndex,
    "terms.yml": tuple[Term, ...],
    "corrections.yml": tuple[Correction, ...],
    "seeds.yml": tuple[SeedDocument, ...],
    "published.yml": Published,
    "references.bib": None,
}


@dataclass(frozen=True, kw_only=True)
class KnowledgeBase:
    """Everything that the knowledge base knows, by id, in the order of the files."""

    areas: Mapping[str, Area]
    planned: Mapping[str, Planned]
    concepts: Mapping[str, Concept]
    questions: Mapping[str, Question]
    dropped: tuple[Dropped, ...]
    terms: Mapping[str, Term]
    references: Mapping[str, Reference]
    corrections: Mapping[str, Correction]
    seeds: Mapping[str, SeedDocument]
    notebooks: Mapping[str, Notebook]
    published: Published
    #: The other written pages, such as the notation, by path.
    pages: Mapping[str, Text]

    #: Ids whose records are too broken to read; known, so that nobody is told that they are unknown.
    broken: frozenset[str] = frozenset()

    @property
    def shared(self) -> tuple[object, ...]:
        """What any page may show or link to, beside its own text: a change of it changes every page."""
        return (
            self.areas,
            self.terms,
            self.references,
            [(c.id, c.title, c.path, c.labels, c.checks) for c in self.concepts.values()],
            self.planned,
            list(self.questions),
            [(n.id, n.title, n.concepts) for n in self.notebooks.values()],
        )

    def area_of(self, question: Question) -> str:
        """Return the id of the area that the question's concept lies in."""
        return (self.concepts.get(question.concept) or self.planned[question.concept]).area

    def concept_title(self, concept_id: str) -> str:
        """Return the title of a concept, written or planned."""
        return (self.concepts.get(concept_id) or self.planned[concept_id]).title

    @cached_property
    def matcher(self) -> Matcher:
        """The matcher of the glossary's terms."""
        return Matcher(self.terms.values())

    @cached_property
    def labels(self) -> Mapping[str, tuple[Concept, int]]:
        """The page and the number of each labelled equation."""
        return {label: (c, n) for c in self.concepts.values() for n, label in enumerate(c.labels, 1)}

    @cached_property
    def by_prerequisites(self) -> tuple[Concept, ...]:
        """The concepts, prerequisites first, else in the order of the areas and titles."""
        order = {area: i for i, area in enumerate(self.areas)}
        sorter = graphlib.TopologicalSorter(
            {c.id: [p for p in c.prerequisites if p in self.concepts] for c in self.concepts.values()}
        )
        sorter.prepare()
        found: list[Concept] = []
        while sorter.is_active():
            ready = [self.concepts[c] for c in sorter.get_ready()]
            ready.sort(key=lambda c: (order[c.area], c.title))
            found += ready
            sorter.done(*(c.id for c in ready))
        return tuple(found)

    def in_area(self, area: str) -> tuple[Concept, ...]:
        """Return the written concepts of an area, prerequisites first."""
        return tuple(c for c in self.by_prerequisites if c.area == area)

    @cached_property
    def by_topic(self) -> Mapping[str, tuple[Question, ...]]:
        """The questions of each area that has some: basic ones first, then in the order of the index."""
        topics: dict[str, list[Question]] = {area: [] for area in self.areas}
        for level in concepts.LEVELS:
            for question in self.questions.values():
                if question.level == level:
                    topics[self.area_of(question)].append(question)
        return {area: tuple(found) for area, found in topics.items() if found}

    def leads_to(self, concept: Concept) -> tuple[Concept, ...]:
        """Return the written concepts that name this one as a prerequisite."""
        return tuple(c for c in self.by_prerequisites if concept.id in c.prerequisites)

    def way_to(self, concept: Concept) -> tuple[Concept, ...]:
        """Return the shortest way to a concept: all that it rests on, directly or not, in an order to read it in."""
        needed: set[str] = set()
        todo = [concept]
        while todo:
            new = [p for p in todo.pop().prerequisites if p in self.concepts and p not in needed]
            needed.update(new)
            todo += [self.concepts[p] for p in new]
        return tuple(c for c in self.by_prerequisites if c.id in needed)

    def notebooks_of(self, concept_id: str) -> tuple[Notebook, ...]:
        """Return the experiments that are evidence for a concept page."""
        return tuple(n for n in self.notebooks.values() if concept_id in n.concepts)

    def questions_of(self, concept_id: str) -> tuple[Question, ...]:
        """Return the questions that belong to a concept."""
        return tuple(q for q in self.questions.values() if q.concept == concept_id)

    @cached_property
    def most_asked(self) -> tuple[Question, ...]:
        """The questions, those first that the most of the seed documents' questions ask."""
        return tuple(sorted(self.questions.values(), key=lambda q: -len(q.seeds)))

    @cached_property
    def term_uses(self) -> Mapping[str, tuple[Concept | Question, ...]]:
        """The concept pages and questions that mention each term."""
        uses: defaultdict[str, list[Concept | Question]] = defaultdict(list)
        places: tuple[Concept | Question, ...] = (*self.by_prerequisites, *self.questions.values())
        for place in places:
            text = prose.without_mathematics(place.body if isinstance(place, Concept) else place.answer)
            for term in sorted({m.term for m in self.matcher.mentions(text)}):
                uses[term].append(place)
        return {term: tuple(found) for term, found in uses.items()}

    @cached_property
    def mentions(self) -> Mapping[str, tuple[Concept, ...]]:
        """For each concept the other pages that link to it or use a term that it treats."""
        found: dict[str, tuple[Concept, ...]] = {}
        for concept in self.concepts.values():
            users = {
                place.id
                for term in self.terms.values()
                if term.concept == concept.id
                for place in self.term_uses.get(term.id, ())
                if isinstance(place, Concept)
            }
            users |= {
                c.id
                for c in self.concepts.values()
                if f"concept:{concept.id}" in {link.partition("#")[0] for link in prose.id_links(c.body)}
            }
            found[concept.id] = tuple(c for c in self.by_prerequisites if c.id in users - {concept.id})
        return found

    @cached_property
    def cited_in(self) -> Mapping[str, tuple[Concept | Notebook | Question | Correction, ...]]:
        """Where each reference is cited."""
        places: defaultdict[str, list[Concept | Notebook | Question | Correction]] = defaultdict(list)
        pages: tuple[Concept | Notebook, ...] = (*self.by_prerequisites, *self.notebooks.values())
        for page in pages:
            for key in dict.fromkeys(map(str, prose.citations(page.body))):
                places[key].append(page)
        for question in self.questions.values():
            for key in question.sources:
                places[key].append(question)
        for correction in self.corrections.values():
            for key in correction.sources:
                places[key].append(correction)
        return {key: tuple(found) for key, found in places.items()}

    def asked_in(self, question: Question) -> tuple[SeedDocument, ...]:
        """Return the seed documents that ask a question."""
        return tuple(d for d in self.seeds.values() if set(d.questions) & set(question.seeds))

    @cached_property
    def answered_by(self) -> Mapping[str, Question]:
        """The canonical question that covers each raw question."""
        return {seed: q for q in self.questions.values() for seed in q.seeds}


def load(
    files: Mapping[str, bytes], formula_mistakes: Callable[[str, bool], list[str]]
) -> tuple[KnowledgeBase | None, list[Mistake]]:
    """Read the knowledge base.

    Args:
        files: the contents of the data, the Markdown pages and the twins, by path from the project's root.
        formula_mistakes: what is wrong with a formula, given its TeX and whether it is displayed.

    Returns:
        The model, or None if anything is wrong, and all the mistakes, sorted by place.
    """
    mistakes: list[Mistake] = []
    broken: set[str] = set()

    def keep(result: tuple[T, list[Mistake]]) -> T:
        mistakes.extend(result[1])
        return result[0]

    data: dict[str, Any] = {}
    for name, kind in FILES.items():
        path = DATA + name
        if path not in files:
            mistakes.append(Mistake(path, 1, "missing file: restore it"))
        else:
            reading = read(files[path], kind, path) if kind else references.load(path, files[path])
            data[name] = keep((reading.value, reading.mistakes))
            broken |= reading.broken
    pages = {}
    for path in sorted(filter(_PAGE.fullmatch, files)):
        page = keep(concepts.load(path, files[path], files.get(path.removesuffix(".md") + ".py")))
        pages[path] = page
        if page is None:
            broken.add(path.split("/")[-1].removesuffix(".md"))
    experiments = [
        keep(notebooks.load(path, files[path], files.get(path.removesuffix(".md") + ".py")))
        for path in sorted(filter(notebooks.PAGE.fullmatch, files))
    ]
    if len(data) < len(FILES) or any(value is None for value in data.values()):
        return None, sorted(mistakes)  # without a whole file the others cannot be checked against it
    kb = KnowledgeBase(
        areas=keep(_by_id(data["taxonomy.yml"].areas)),
        planned=keep(_by_id(data["taxonomy.yml"].planned)),
        concepts=keep(_by_id([page for page in pages.values() if page])),
        questions=keep(_by_id(data["questions.yml"].questions)),
        dropped=data["questions.yml"].dropped,
        terms=keep(_by_id(data["terms.yml"])),
        references=data["references.bib"],
        corrections=keep(_by_id(data["corrections.yml"])),
        seeds=keep(_by_id(data["seeds.yml"])),
        notebooks=keep(_by_id([experiment for experiment in experiments if experiment])),
        published=data["published.yml"],
        pages=keep(_other_pages(files)),
        broken=frozenset(broken),
    )
    for check in _CHECKS:
        mistakes += check(kb)
    mistakes += _formulas(kb, formula_mistakes)
    return (None if mistakes else kb), sorted(set(mistakes))


_PAGE = re.compile(r"docs/concepts/[^/]+/(?!index\.md)[^/]+\.md")


def _other_pages(files: Mapping[str, bytes]) -> tuple[dict[str, Text], list[Mistake]]:
    pages, mistakes = {}, []
    for path, content in files.items():
        if path.endswith(".md") and not _PAGE.fullmatch(path) and not notebooks.PAGE.fullmatch(path):
            try:
                pages[path] = Text(content.decode("utf-8"), path, 1)
            except UnicodeDecodeError:
                mistakes.append(Mistake(path, 1, "not UTF-8: save the file as UTF-8"))
    return pages, mistakes


def _by_id(things: Iterable[T]) -> tuple[dict[str, T], list[Mistake]]:
    known: dict[str, T] = {}
    mistakes = []
    for thing in things:
        name: str = thing.id  # type: ignore[attr-defined]
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            mistakes.append(at(name, f"“{name}” is no id: lower-case letters, digits and single dashes"))
        if name in known:
            first = known[name].id  # type: ignore[attr-defined]
            mistakes.append(at(name, f"duplicate id “{name}”: the first is on {first.path}:{first.line}"))
        known.setdefault(name, thing)
    return known, mistakes


def normalized(wording: str) -> str:
    """Return a wording as wordings are compared: without case and punctuation."""
    return " ".join(re.findall(r"\w+", wording.casefold()))


def _one_owner(kind: str, remedy: str, named: Iterable[tuple[str, str]]) -> Iterator[Mistake]:
    """Yield a mistake for each (name, owner) whose name another owner, or the same one, had before."""
    first: dict[str, tuple[str, str]] = {}
    for name, owner in named:
        key = normalized(name)
        if key in first:
            other, where = first[key]
            yield at(
                name,
                f"the {kind} “{name}” of “{owner}” belongs to “{other}” already"
                f" (line {getattr(where, 'line', '?')}): {remedy}",
            )
        first.setdefault(key, (owner, name))


def _wordings(kb: KnowledgeBase) -> Iterator[Mistake]:
    yield from _one_owner(
        "wording", "keep it under one question", ((w, q.id) for q in kb.questions.values() for w in q.wordings)
    )
    for question in kb.questions.values():
        yield from questions.check_lengths(question)


def _term_names(kb: KnowledgeBase) -> Iterator[Mistake]:
    # Case tells terms apart ("GloVe", "glove"), so names with capitals are compared as they stand.
    yield from _one_owner(
        "name",
        "keep it under one term",
        ((name, t.id) for t in kb.terms.values() for name in t.names if name == name.casefold()),
    )


def _known(kb: KnowledgeBase, kind: str, known: Iterable[str], names: Iterable[str]) -> Iterator[Mistake]:
    """Yield a mistake for each name that is not known."""
    known = set(known)
    yield from (unknown(name, kind, known) for name in names if name not in known and name not in kb.broken)


def _known_ids(kb: KnowledgeBase) -> Iterator[Mistake]:
    all_concepts = {**kb.planned, **kb.concepts}
    for planned in kb.planned.values():
        yield from _known(kb, "area", kb.areas, [planned.area])
        if planned.id in kb.concepts:
            yield at(planned.id, f"“{planned.id}” is written: remove it from the planned concepts")
    for concept in kb.concepts.values():
        yield from _known(kb, "area", kb.areas, [concept.area])
        yield from _known(kb, "concept", all_concepts, concept.prerequisites)
    for question in kb.questions.values():
        yield from _known(kb, "concept", all_concepts, [question.concept])
        yield from _known(kb, "question", kb.questions, question.follow_ups)
        yield from (at(q, f"“{q}” follows up itself: remove it") for q in question.follow_ups if q == question.id)
        yield from _known(kb, "citation", kb.references, question.sources)
        for place in question.see:
            yield from _target(kb, "concept", place)
    for notebook in kb.notebooks.values():
        yield from _known(kb, "concept", kb.concepts, notebook.concepts)
    for term in kb.terms.values():
        yield from _known(kb, "concept", all_concepts, [term.concept] if term.concept else [])
        yield from _known(kb, "term", kb.terms, term.related)
    for correction in kb.corrections.values():
        yield from _known(kb, "concept", all_concepts, [correction.concept])
        yield from _known(kb, "citation", kb.references, correction.sources)


def _target(kb: KnowledgeBase, kind: str, place: str) -> Iterator[Mistake]:
    """Yield the mistake that a place `id` or `id#anchor` leads nowhere."""
    name, _, anchor = place.partition("#")
    path, line = getattr(place, "path", "?"), getattr(place, "line", 0)
    everything: Mapping[str, Iterable[str]] = {
        "concept": {**kb.planned, **kb.concepts},
        "question": kb.questions,
        "term": kb.terms,
    }
    yield from _known(kb, kind, everything[kind], [Text(name, path, line)])
    if kind == "concept" and anchor and name in kb.concepts:
        yield from _known(kb, f"section of “{name}”:", kb.concepts[name].anchors, [Text(anchor, path, line)])


def _texts(kb: KnowledgeBase) -> Iterator[str]:
    """Yield every Markdown text that somebody wrote."""
    yield from kb.pages.values()
    for concept in kb.concepts.values():
        yield concept.body
    for notebook in kb.notebooks.values():
        yield notebook.body
    for question in kb.questions.values():
        yield from (question.question, question.short, question.answer)
        yield from (*question.listen_for.strong, *question.listen_for.weak)
    for term in kb.terms.values():
        yield term.definition
    for correction in kb.corrections.values():
        yield from (correction.claim, correction.why, correction.right)


def _text_references(kb: KnowledgeBase) -> Iterator[Mistake]:
    for text in _texts(kb):
        yield from _known(kb, "citation", kb.references, prose.citations(text))
        for link in prose.id_links(text):
            kind, _, place = link.partition(":")
            yield from _target(kb, kind, Text(place, link.path, link.line))
        if not kb.broken:  # a broken page's labels are not known
            yield from _known(kb, "equation label", kb.labels, prose.equation_references(text))
    for question in kb.questions.values():
        for key in dict.fromkeys(prose.citations(question.short) + prose.citations(question.answer)):
            if key not in question.sources:
                yield at(key, f"“{key}” is cited in the answer but missing in “sources”")


def _equation_labels(kb: KnowledgeBase) -> Iterator[Mistake]:
    yield from _one_owner("equation label", "rename one", ((x, c.id) for c in kb.concepts.values() for x in c.labels))


def _formulas(kb: KnowledgeBase, formula_mistakes: Callable[[str, bool], list[str]]) -> Iterator[Mistake]:
    for text in _texts(kb):
        path, line = getattr(text, "path", "?"), getattr(text, "line", 1)
        for formula in mathematics.formulas(text, line):
            tex = mathematics.split_label(formula.tex)[0]
            yield from (Mistake(path, formula.line, message) for message in formula_mistakes(tex, formula.display))


def _prerequisites(kb: KnowledgeBase) -> Iterator[Mistake]:
    try:
        tuple(graphlib.TopologicalSorter({c.id: c.prerequisites for c in kb.concepts.values()}).static_order())
    except graphlib.CycleError as error:
        cycle = error.args[1]
        yield at(cycle[0], f"the prerequisites run in a circle: {' → '.join(reversed(cycle))}; remove one")


def _seed_coverage(kb: KnowledgeBase) -> Iterator[Mistake]:
    raw = {ref: ref for document in kb.seeds.values() for ref in document.questions}
    claimed: dict[str, str] = {}
    claims = [(s, q.id) for q in kb.questions.values() for s in q.seeds] + [(d.seed, "dropped") for d in kb.dropped]
    for ref, owner in claims:
        yield from _known(kb, "seed question", raw, [ref])
        if ref in claimed:
            yield at(ref, f"the seed question “{ref}” is mapped twice: under “{claimed[ref]}” and here under “{owner}”")
        claimed.setdefault(ref, owner)
    for ref in raw.values():
        if ref not in claimed and not kb.broken:
            yield at(
                ref,
                f"the seed question “{ref}” is answered by no question:"
                " add it to the “seeds” of one, or to “dropped” with the reason",
            )
    for correction in kb.corrections.values():
        yield from _known(kb, "seed question", raw, correction.seeds)


_CHECKS: tuple[Callable[[KnowledgeBase], Iterator[Mistake]], ...] = (
    _known_ids,
    _wordings,
    _term_names,
    _text_references,
    _equation_labels,
    _prerequisites,
    _seed_coverage,
    publishing.mistakes,
)
