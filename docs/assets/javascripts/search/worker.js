// Runs the search beside the page. In: the address of the index, then queries; out: results, and once that all is read.
importScripts("minisearch.js", "language.js", "engine.js")

let engine
const read = () => (engine.readTexts(12) ? setTimeout(read) : postMessage({ complete: true }))

addEventListener("message", ({ data }) => {
  if (data.index) {
    importScripts(data.index)
    engine = new searchEngine.Engine(searchIndex)
    setTimeout(read)
  } else postMessage({ number: data.number, result: engine.search(data.query, data.options) })
})
