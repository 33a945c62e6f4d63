// The search box in the header, the results page, and the marks on a page that was found.
// Loads the index when somebody is about to search; everything here is optional: without it there is the A to Z.

(() => {
  const folder = new URL(".", document.currentScript.src)
  const base = new URL("../../../", folder)
  const kindNames = { question: "Question", concept: "Concept", section: "Concept", term: "Term", notebook: "Experiment",
    misconception: "Misconception", notation: "Notation" }

  // ---- the engine: in a worker, or on the page itself where the browser allows no worker (file://)

  let started, complete = false
  const redo = new Set() // what to search again once the texts are read

  const load = address => new Promise((done, failed) => {
    const script = document.createElement("script")
    script.src = address
    script.onload = done
    script.onerror = () => failed(new Error(`cannot load ${address}`))
    document.head.append(script)
  })
  const completed = () => {
    complete = true
    for (const again of redo) again()
  }

  const inWorker = () => {
    const worker = new Worker(new URL("worker.js", folder))
    const waiting = new Map()
    let number = 0
    worker.onmessage = ({ data }) => {
      if (data.complete) return completed()
      waiting.get(data.number)(data.result)
      waiting.delete(data.number)
    }
    worker.postMessage({ index: new URL("search/search_index.js", base).href })
    return (query, options) => new Promise(done => {
      waiting.set(++number, done)
      worker.postMessage({ number, query, options })
    })
  }

  const onPage = async () => {
    for (const name of ["minisearch.js", "language.js", "engine.js"]) await load(new URL(name, folder))
    await load(new URL("search/search_index.js", base))
    const engine = new searchEngine.Engine(searchIndex)
    const read = () => (engine.readTexts(12) ? setTimeout(read) : completed())
    setTimeout(read)
    return async (query, options) => engine.search(query, options)
  }

  const start = () => (started ??= location.protocol === "file:" ? onPage() : Promise.resolve(inWorker()))
  const search = async (query, options) => (await start())(query, options)

  // ---- results

  const element = (name, attributes, ...children) => {
    const made = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(key, value)
    made.append(...children.filter(child => child))
    return made
  }
  const marked = parts => parts.map((part, i) => (i % 2 ? element("mark", {}, part) : part))

  const item = (found, answer) => {
    const address = new URL(found.url, base)
    if (found.highlight) address.searchParams.set("h", found.highlight)
    const place = [kindNames[found.kind], found.page && found.kind !== "question" && found.page, found.level]
    return element("li", { class: "md-search-result__item" + (answer ? " search-answer" : ""), "data-kind": found.kind },
      element("a", { class: "md-search-result__link", href: address, tabindex: -1 },
        element("article", { class: "md-search-result__article md-typeset" },
          element("p", { class: "search-place" }, place.filter(Boolean).join(" · ")),
          element("h2", {}, ...marked(found.marked)),
          found.wording[1] && element("p", { class: "search-wording" }, "Also asked as: ", ...marked(found.wording)),
          element("p", { class: "search-teaser" }, ...(answer ? [answer.text] : marked(found.teaser))),
          answer && element("p", { class: "search-more" }, "Read the full answer"))))
  }

  // A place where results are shown: runs one search at a time, and always the last one that was asked for.
  const results = (list, status, asked) => {
    let wanted, running = null
    const show = (question, { items, answer }) => {
      list.replaceChildren(...items.map((found, i) => item(found, i === 0 && answer)))
      list.dataset.query = question.query // what these are the results of
      const count = items.length === 1 ? "1 result" : `${items.length} results`
      status.textContent = !question.query.trim() ? "Type a question, a term, a symptom or an abbreviation"
        : !items.length ? "Nothing found. Try other words, or the questions from A to Z."
        : answer ? `Answer and ${count}: ${answer.title}` : count
    }
    const run = async () => {
      let result
      do {
        const question = wanted
        result = question.query.trim() ? await search(question.query, question) : { items: [] }
        if (question === wanted) show(question, result)
        else result = null
      } while (!result)
      running = null
      return result
    }
    const update = () => {
      wanted = asked()
      return (running ??= run().catch(error => {
        running = null
        status.textContent = "The search could not be loaded; see the questions from A to Z."
        throw error
      }))
    }
    redo.add(() => { if (wanted?.query.trim() && list.isConnected) update() })
    return update
  }

  // Buttons of which at most one is pressed; none means all.
  const choice = (group, changed) => {
    const buttons = [...group.querySelectorAll("button")]
    const press = value => buttons.forEach(b => b.setAttribute("aria-pressed", b.value === value))
    for (const button of buttons)
      button.addEventListener("click", () => {
        press(button.getAttribute("aria-pressed") === "true" ? "" : button.value)
        changed()
      })
    return { press, get value() { return buttons.find(b => b.getAttribute("aria-pressed") === "true")?.value ?? "" } }
  }

  // ---- the box

  const box = document.querySelector(".md-search")
  const toggle = document.getElementById("__search")
  if (box && toggle) {
    const [input, list, status, all, share, suggestion] = ["input", "ol", "[role=status]", ".search-all", "[data-clipboard]", ".md-search__suggest"]
      .map(selector => box.querySelector(selector))
    const page = new URL(all.href)
    const [kind, level] = ["kind", "level"].map(name => choice(box.querySelector(`[data-filter=${name}]`), () => update()))
    const asked = () => ({ query: input.value, kind: kind.value, level: level.value, limit: 15 }) // more would only slow each key; all are on the results page
    const refresh = results(list, status, asked)
    const update = async () => {
      const link = new URL(page)
      for (const [key, value] of [["q", input.value], ["kind", kind.value], ["level", level.value]]) if (value) link.searchParams.set(key, value)
      all.href = link
      share?.setAttribute("data-clipboard-text", link)
      if (suggestion) suggestion.textContent = ""
      const { items: [first] } = await refresh()
      if (suggestion && first) suggestion.textContent = completion(input.value, first.title)
    }
    const completion = (typed, title) => {
      const last = typed.match(/\p{L}{2,}$/u)?.[0].toLowerCase()
      const word = last && (title.toLowerCase().match(/\p{L}+/gu) ?? []).find(w => w.startsWith(last) && w !== last)
      return word ? typed + word.slice(last.length) : ""
    }
    const open = active => {
      if (toggle.checked !== active) {
        toggle.checked = active
        toggle.dispatchEvent(new Event("change"))
      }
    }
    const reachable = () => [input, ...list.querySelectorAll("a")]
    const move = step => {
      const links = reachable()
      links.at((Math.max(0, links.indexOf(document.activeElement)) + step) % links.length).focus()
    }

    toggle.addEventListener("change", () => {
      list.setAttribute("role", "list")
      if (toggle.checked) {
        start()
        if (!box.contains(document.activeElement)) input.focus()
      }
    })
    input.addEventListener("focus", () => open(true))
    input.addEventListener("input", update)
    box.querySelector("form").addEventListener("reset", () => setTimeout(() => { update(); input.focus() }))
    box.querySelector("form").addEventListener("submit", event => event.preventDefault())
    box.addEventListener("click", event => { if (event.target.closest("a[href]:not([data-clipboard])")) open(false) })
    box.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !box.contains(relatedTarget)) open(false) })
    box.addEventListener("pointerenter", start, { once: true })
    box.addEventListener("keydown", async event => {
      if (event.isComposing) return
      const { key } = event
      if (key === "Escape") {
        open(false)
        document.activeElement.blur()
      } else if (key === "ArrowDown" || key === "ArrowUp") {
        event.preventDefault()
        move(key === "ArrowDown" ? 1 : -1)
      } else if (key === "Enter" && event.target === input) {
        event.preventDefault()
        await update()
        list.querySelector("a")?.click()
      } else if (key === "ArrowRight" && event.target === input && suggestion?.textContent && input.selectionStart === input.value.length) {
        input.value = suggestion.textContent
        update()
      } else if (event.target.closest("ol") && (key === "Backspace" || key.length === 1) && !event.ctrlKey && !event.metaKey && !event.altKey) input.focus()
    })
    addEventListener("keydown", event => {
      if (toggle.checked || event.ctrlKey || event.metaKey || event.altKey || !["/", "s", "f"].includes(event.key)) return
      if (event.target.closest?.("input, textarea, select, [contenteditable]")) return
      event.preventDefault()
      input.focus()
      input.select()
    })

    // a link to a search: ?q=… on any page but the results page, which has a box of its own
    const query = new URL(location).searchParams.get("q")
    if (query && !document.querySelector(".search-page")) {
      input.value = query
      input.focus()
      update()
    }
  }

  // ---- the results page

  const resultsPage = () => {
    const form = document.querySelector("form.search-page")
    if (!form || form.dataset.ready) return
    form.dataset.ready = true
    const list = form.parentElement.querySelector("ol.search-results"), status = form.parentElement.querySelector("[role=status]")
    const parameters = new URL(location).searchParams
    for (const name of ["q", "kind", "level"]) form.elements[name].value = parameters.get(name) ?? ""
    const asked = () => ({ query: form.elements.q.value, kind: form.elements.kind.value, level: form.elements.level.value, limit: 60, typing: false })
    const update = results(list, status, asked)
    const changed = () => {
      const link = new URL(location)
      link.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value))
      history.replaceState(history.state, "", link)
      update()
    }
    form.addEventListener("input", changed)
    form.addEventListener("submit", event => { event.preventDefault(); changed() })
    update()
  }

  // ---- the words that were searched for, marked on the page

  const highlight = () => {
    const stems = new URL(location).searchParams.get("h")?.slice(0, 200).match(/[\p{L}\p{N}]+/gu)
    const article = document.querySelector("article.md-content__inner")
    if (!stems || !article || article.querySelector("mark[data-md-highlight]")) return
    const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${stems.map(s => (s.length < 3 ? `${s}(?![\\p{L}\\p{N}])` : `${s.replace(/i$/, "").replace(/z$/, "[sz]")}[\\p{L}\\p{N}]*`)).join("|")})`, "giu")
    const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT)
    const found = []
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("svg, math, script, style, pre, .arithmatex, nav")) found.push(walker.currentNode)
    for (const node of found) {
      const parts = []
      let at = 0
      for (const match of node.data.matchAll(pattern)) {
        parts.push(node.data.slice(at, match.index), element("mark", { "data-md-highlight": "" }, match[0]))
        at = match.index + match[0].length
      }
      if (parts.length) node.replaceWith(...parts, node.data.slice(at))
    }
  }

  const arrived = () => {
    resultsPage()
    highlight()
  }
  if (window.document$) document$.subscribe(arrived)
  else if (document.readyState === "loading") addEventListener("DOMContentLoaded", arrived)
  else arrived()
})()
