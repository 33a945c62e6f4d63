// The search: MiniSearch finds entries by their words, and this ranks them by how well they fit the whole query.
// Knows nothing of pages and browsers; runs in a worker, and on the page itself where there are no workers (file://).

const searchEngine = (() => {
  const { words, query: queryWords, stem, asks, distance, isEmpty, isAsking } = searchLanguage

  // How much each kind of evidence counts; found by scripts/bench search on the tuning half of its queries.
  const weights = {
    wording: 1.2, // the best wording: how much of the query it covers, and how much of it the query covers
    precision: 0.35,
    names: 0.9, // how much of the query stands in its wordings and its short answer
    coverage: 0.35, // how much of the query stands anywhere in the entry
    bm25: 0.55,
    exact: 0.5, // the query and the wording say the same
    order: 0.08, // words side by side as in the query
    title: 0.05, // the best wording is the title itself
    asking: 0.04, // the same question word
    empty: 0.08, // words such as "between"
    power: 1.0, // how much more a rare word counts than a frequent one
    everyday: 0.4, related: 0.5, fuzzy: 0.8, fuzzy2: 0.6, prefix: 0.75, typing: 0.6, joined: 0.9,
    kinds: { question: 0.1, concept: 0.12, term: 0.06, section: 0, notebook: 0, misconception: -0.12, notation: -0.1 },
  }
  const boosts = { title: 4, wordings: 3, short: 2, page: 1.2, text: 1 }
  const candidates = 80

  // The tokens of a text: stems, pairs written as one (batchnorm), and the term that each name stands for (~3).
  const tokens = (all, terms, pairs) => {
    const found = all.map(w => w.stem)
    for (let i = 1; i < all.length; i++)
      if (all[i].joined || (pairs && !isEmpty(all[i].word) && !isEmpty(all[i - 1].word))) found.push(all[i - 1].word + all[i].stem)
    for (const { id } of terms.mentions(all)) found.push(id)
    return found
  }

  // A wording of an entry: its words, which of them stand in the name of a term, and all that it can be found by.
  const phrase = (all, terms) => {
    const named = []
    for (const { id, from, to } of terms.mentions(all)) for (let i = from; i < to; i++) named[i] = id
    return { stems: all.map(w => w.stem), empty: all.map(w => isEmpty(w.word)), named, tokens: new Set(tokens(all, terms, true)) }
  }

  // Finds the names of terms in words; an abbreviation counts in a text only where it is written as one.
  class Terms {
    constructor(terms) {
      this.first = new Map()
      this.initials = new Map() // abbreviations that nobody wrote down
      terms.forEach(([names, abbreviations], i) => {
        for (const name of names) {
          const parts = words(name)
          if (!parts.length) continue
          if (parts.length > 2) this.initials.set(parts.map(p => p.word[0]).join(""), `~${i}`)
          const list = this.first.get(parts[0].stem) ?? []
          list.push({ stems: parts.map(p => p.stem), id: `~${i}`,
            exact: abbreviations.includes(name) || /^\p{Lu}[\p{Lu}\p{N}-]+$/u.test(name) ? parts.map(p => p.raw) : null })
          this.first.set(parts[0].stem, list)
        }
      })
    }

    * mentions(all, typed = false) {
      for (let i = 0; i < all.length; i++)
        for (const { stems, id, exact } of this.first.get(all[i].stem) ?? [])
          if (i + stems.length <= all.length && stems.every((s, k) => all[i + k].stem === s)
            && (typed || !exact || exact.every((raw, k) => all[i + k].raw.replace(/s$/, "") === raw)))
            yield { id, from: i, to: i + stems.length }
    }
  }

  // Everyday words and the field's: finds phrases in a query.
  class Everyday {
    constructor({ short_forms, everyday_words }) {
      this.phrases = new Map()
      this.add(short_forms, () => weights.joined)
      this.add(everyday_words, () => weights.everyday)
    }

    add(groups, quality) {
      for (const [from, to] of Object.entries(groups))
        for (const phrase of from.split(",")) {
          const stems = words(phrase).map(w => w.stem)
          const list = this.phrases.get(stems[0]) ?? []
          list.push({ stems, quality, to: to.split(",").flatMap(t => words(t).map(w => w.stem)) })
          this.phrases.set(stems[0], list)
        }
    }

    * mentions(all) {
      for (let i = 0; i < all.length; i++)
        for (const { stems, to, quality } of this.phrases.get(all[i].stem) ?? [])
          if (stems.every((s, k) => all[i + k]?.stem === s)) yield { from: i, to: i + stems.length, words: to, quality }
    }
  }

  class Engine {
    constructor(index) {
      this.terms = new Terms(index.terms)
      this.everyday = new Everyday(index.everyday)
      this.entries = index.entries
      this.documents = new Map() // token: in how many entries
      this.vocabulary = new SearchableMap() // word: its stem
      this.stems = new Set()
      const options = { tokenize: tokens => tokens, processTerm: token => token, extractField: (entry, field) => entry[field], stringifyField: tokens => tokens }
      this.names = new MiniSearch({ ...options, fields: ["title", "wordings", "page"] })
      this.texts = new MiniSearch({ ...options, fields: ["short", "text"] })
      this.phrases = [] // of each entry its wordings
      this.read = 0 // entries whose text is read
      index.entries.forEach((entry, id) => this.addNames(entry, id))
    }

    // Titles and wordings come first: with them the search answers already.
    addNames(entry, id) {
      const [title, page, ...wordings] = [entry.title, entry.page, ...(entry.wordings ?? [])].map(t => words(t ?? ""))
      const phrases = [title, ...wordings].map(all => phrase(all, this.terms))
      const fields = { title: [...phrases[0].tokens], page: tokens(page, this.terms, true),
        wordings: phrases.slice(1).flatMap(p => [...p.tokens]) }
      this.names.add({ id, ...fields })
      if (entry.kind === "section") phrases[0] = phrase([...page, ...title], this.terms)
      this.phrases.push(phrases)
      this.count(Object.values(fields).flat(), [...title, ...wordings.flat()], id)
    }

    // Reads the texts of some more entries; returns whether there are more.
    readTexts(milliseconds) {
      const end = performance.now() + milliseconds
      while (this.read < this.entries.length && performance.now() < end) {
        const entry = this.entries[this.read]
        const [short, text] = [entry.short, entry.text].map(t => words(t ?? ""))
        const fields = { short: tokens(short, this.terms, false), text: tokens(text, this.terms, false) }
        this.texts.add({ id: this.read, ...fields })
        this.count([...fields.short, ...fields.text], [...short, ...text], this.read)
        this.read++
      }
      return this.read < this.entries.length
    }

    count(tokens, all, id) {
      for (const token of tokens) {
        const counted = this.documents.get(token)
        if (!counted) this.documents.set(token, { n: 1, last: id })
        else if (counted.last !== id) Object.assign(counted, { n: counted.n + 1, last: id })
      }
      for (const { word, stem } of all) {
        this.stems.add(stem)
        if (word.length > 2 && !this.vocabulary.has(word)) this.vocabulary.set(word, stem)
      }
    }

    weight(token) {
      const n = this.documents.get(token)?.n ?? 0
      return Math.log(1 + (this.entries.length - n + 0.5) / (n + 0.5))
    }

    // What a query asks for: of each word the tokens that stand for it, with how well they do.
    understand(text, typing) {
      const all = queryWords(text).slice(0, 40)
      const telling = all.some(w => !isEmpty(w.word))
      const slots = all.map((w, i) => {
        const means = new Map()
        const add = (token, quality) => { if (quality > (means.get(token) ?? 0)) means.set(token, quality) }
        if (this.documents.has(w.stem)) add(w.stem, 1)
        const last = i === all.length - 1
        if (telling && isEmpty(w.word)) return { ...w, means, empty: true }
        const known = this.documents.has(w.stem)
        if (last && typing && w.word.length > 1)
          for (const [word, stem] of this.beginning(w.word, 12)) add(stem, weights.typing * Math.min(1, 0.4 + w.word.length / word.length))
        if (known && w.stem.length > 4) // initial, initialize
          for (const [, stem] of this.beginning(w.stem, 30)) if (stem.length - w.stem.length < 4) add(stem, weights.related)
        const abbreviation = w.raw.length < 6 && w.raw === w.raw.toUpperCase()
        if (!known && w.word.length > 2) {
          for (const [word, stem] of this.beginning(w.word, 12)) add(stem, weights.prefix * Math.min(1, 0.5 + w.word.length / word.length / 2))
          if (!abbreviation && ![...means.values()].some(q => q > 0.7)) this.mistyped(w.word, add)
          if (!means.size) this.taken(w.word, add)
          if (this.terms.initials.has(w.word)) add(this.terms.initials.get(w.word), weights.joined)
        }
        return { ...w, means, empty: false }
      })
      for (let i = 1; i < all.length; i++) { // drop out, warm up
        const pair = all[i - 1].word + all[i].stem
        if (this.documents.has(pair)) for (const slot of [slots[i - 1], slots[i]]) slot.empty &&= false, slot.means.set(pair, Math.max(weights.joined, slot.means.get(pair) ?? 0))
      }
      // words as they are understood, so that a mistyped name is still a name
      const best = slots.map(s => ({ ...s, stem: s.means.has(s.stem) || !s.means.size ? s.stem : [...s.means].sort((a, b) => b[1] - a[1])[0][0] }))
      for (const { id, from, to } of this.terms.mentions(best, true))
        if (this.documents.has(id)) for (let i = from; i < to; i++) if (!slots[i].empty || to - from > 1) slots[i].means.set(id, 1)
      for (const { from, to, words, quality } of this.everyday.mentions(all))
        for (let i = from; i < to; i++) {
          for (const word of words)
            if (this.documents.has(word) && quality() > (slots[i].means.get(word) ?? 0)) slots[i].means.set(word, quality())
          if (slots[i].empty && to - from > 1) slots[i].empty = false
        }
      for (const slot of slots) {
        const known = [...slot.means].filter(([, q]) => q > weights.everyday)
        slot.weight = known.length ? Math.max(...known.map(([t, q]) => q * Math.min(this.weight(t), this.weight(slot.stem)))) : slot.means.size ? 3 : 1.5
        slot.weight **= weights.power
        if (slot.empty) slot.weight = Math.min(slot.weight, 3) * weights.empty
      }
      return slots
    }

    beginning(word, limit) {
      const found = []
      for (const [longer, stem] of this.vocabulary.atPrefix(word)) {
        if (found.push([longer, stem]) >= 200) break
      }
      return found.sort((a, b) => a[0].length - b[0].length).slice(0, limit)
    }

    // The nearest words, and of equally near ones the most used.
    mistyped(word, add) {
      const limit = word.length < 4 ? 1 : word.length < 8 ? 1 : 2
      const near = []
      for (const [other, [stem]] of this.vocabulary.fuzzyGet(word, Math.max(2, limit))) {
        const d = distance(word, other, limit)
        if (d <= limit && (word.length > 3 || other[0] === word[0])) near.push([stem, d, this.documents.get(stem)?.n ?? 0])
      }
      near.sort((a, b) => a[1] - b[1] || b[2] - a[2])
      for (const [stem, d] of near.slice(0, 4)) if (d === near[0][1]) add(stem, d > 1 ? weights.fuzzy2 : weights.fuzzy)
    }

    // Two words written as one.
    taken(word, add) {
      for (let i = 3; i <= word.length - 3; i++) {
        const [a, b] = [stem(word.slice(0, i)), stem(word.slice(i))]
        if (this.vocabulary.has(word.slice(0, i)) && this.documents.has(b)) { add(a, 0.7); add(b, 0.7) }
      }
    }

    search(text, { kind = "", level = "", limit = 30, typing = true } = {}) {
      const slots = this.understand(text, typing && !/\s$/.test(text))
      const boost = new Map()
      for (const slot of slots)
        for (const [token, quality] of slot.means) boost.set(token, Math.max(boost.get(token) ?? 0, quality * (slot.empty ? weights.empty : 1)))
      if (!boost.size) return { items: [], words: [] }
      const filter = ({ id }) => {
        const entry = this.entries[id]
        return (!kind || entry.kind === kind || (kind === "concept" && entry.kind === "section")) && (!level || entry.level === level)
      }
      const options = { tokenize: token => [token], boostTerm: token => boost.get(token), filter }
      const all = { combineWith: "OR", queries: [...boost.keys()] }
      const found = new Map()
      for (const part of [this.names, this.texts])
        for (const { id, score, match } of part.search(all, { ...options, boost: boosts })) {
          const one = found.get(id) ?? { id, bm25: 0, named: new Set(), told: new Set() }
          one.bm25 += score
          for (const token in match) one[part === this.names || match[token].includes("short") ? "named" : "told"].add(token)
          found.set(id, one)
        }
      const total = slots.reduce((sum, s) => sum + s.weight, 0)
      const best = [...found.values()].sort((a, b) => b.bm25 - a.bm25).slice(0, candidates)
      for (const one of best) this.judge(one, slots, total, best[0].bm25)
      best.sort((a, b) => b.score - a.score)
      const items = this.varied(best).slice(0, limit)
      return { items: items.map(one => this.shown(one, slots, text)), answer: this.answer(items, text), total: found.size }
    }

    // How well an entry fits the query.
    judge(one, slots, total, mostBm25) {
      const entry = this.entries[one.id]
      const quality = (slot, has) => {
        let most = 0
        for (const [token, q] of slot.means) if (q > most && has(token)) most = q
        return most
      }
      let named = 0, covered = 0
      for (const slot of slots) {
        named += slot.weight * quality(slot, t => one.named.has(t))
        covered += slot.weight * quality(slot, t => one.named.has(t) || one.told.has(t))
      }
      one.wording = 0
      this.phrases[one.id].forEach((phrase, i) => {
        const used = new Set()
        let hit = 0, asking = 0
        for (const slot of slots) {
          hit += slot.weight * quality(slot, t => phrase.tokens.has(t))
          if (isAsking(slot.word) && phrase.tokens.has(slot.stem)) asking = 1
          for (const token of slot.means.keys()) if (phrase.tokens.has(token)) used.add(token)
        }
        let own = 0, shared = 0
        phrase.stems.forEach((stem, k) => {
          const weight = this.weight(stem) ** weights.power * (phrase.empty[k] ? weights.empty : 1)
          own += weight
          if (used.has(stem) || used.has(phrase.named[k])) shared += weight
        })
        const coverage = hit / total, precision = own ? shared / own : 0
        const fit = coverage * (1 - weights.precision + weights.precision * precision + weights.order * this.order(phrase, slots)
          + weights.asking * asking + (i ? 0 : weights.title) + weights.exact * precision ** 3)
        if (fit > one.wording) Object.assign(one, { wording: fit, best: i, covers: coverage, fits: coverage * precision })
      })
      one.score = weights.wording * one.wording + (weights.names * named + weights.coverage * covered) / total + weights.bm25 * one.bm25 / mostBm25
        + weights.kinds[entry.kind]
    }

    // How many of the pairs of words stand side by side in a wording, too.
    order(phrase, slots) {
      let pairs = 0, same = 0
      for (let i = 1; i < slots.length; i++) {
        if (slots[i].empty || slots[i - 1].empty) continue
        pairs++
        for (const a of slots[i - 1].means.keys()) {
          const at = phrase.stems.indexOf(a)
          if (at >= 0 && slots[i].means.has(phrase.stems[at + 1])) { same++; break }
        }
      }
      return pairs ? same / pairs : 0
    }

    // Not more than two results of one page among the first.
    varied(all) {
      const counts = new Map(), first = [], later = []
      for (const one of all) {
        const page = this.entries[one.id].url.split("#")[0]
        const n = (counts.get(page) ?? 0) + 1
        counts.set(page, n)
        ;(this.entries[one.id].kind === "section" && n > 2 ? later : first).push(one)
      }
      return [...first, ...later]
    }

    // The short answer, where the query asks for it and the first result is a question that fits.
    answer([first], text) {
      if (!first) return null
      const entry = this.entries[first.id]
      const sure = asks(text) ? first.covers > 0.6 && first.wording > 0.6 : first.fits > 0.75
      return entry.kind === "question" && sure ? { ...this.place(entry), text: entry.short } : null
    }

    place({ url, title, kind, level, page }) {
      return { url, title, kind, level, page }
    }

    // A result: the part of its text that says the most about the query, and which words of it match.
    shown(one, slots, text) {
      const entry = this.entries[one.id]
      const stems = new Set(slots.filter(s => !s.empty).flatMap(s => [...s.means].filter(([t]) => t[0] !== "~").map(([t]) => t)))
      const wording = one.best > 0 && entry.kind === "question" ? entry.wordings[one.best - 1] : ""
      const teaser = this.teaser(entry, stems)
      return { ...this.place(entry), score: one.score, wording: mark(wording, stems), marked: mark(entry.title, stems), teaser: mark(teaser, stems),
        highlight: [...stems].filter(s => s.length > 1 && this.stems.has(s)).slice(0, 12).join(" ") }
    }

    teaser(entry, stems) {
      if (entry.short) return entry.short
      const text = entry.text ?? ""
      let best = 0, most = -1
      for (const sentence of text.matchAll(/(?<=^|[.:?!] )\S/g)) {
        const part = text.slice(sentence.index, sentence.index + 160)
        const n = new Set(words(part).map(w => w.stem).filter(s => stems.has(s))).size
        if (n > most) [best, most] = [sentence.index, n]
        if (sentence.index > 6000) break
      }
      const end = text.indexOf(" ", best + 180)
      return (best ? "… " : "") + (end < 0 ? text.slice(best) : text.slice(best, end) + " …")
    }
  }

  // A text in parts, where every second one matches the query; the page makes elements of them, so nothing is injected.
  const mark = (text, stems) => {
    const parts = []
    let at = 0
    for (const { stem, start, end } of words(text))
      if (stems.has(stem)) {
        parts.push(text.slice(at, start), text.slice(start, end))
        at = end
      }
    return [...parts, text.slice(at)]
  }

  return { Engine, weights, boosts }
})()
