// What the search knows of language: words and their stems, British and American spelling, symbols, words that say little.

const searchLanguage = (() => {
  // Words that say nothing of the subject, and those that only say what kind of question it is.
  const empty = new Set(`a about actually after again all also am an and any anyone anything are as at be because been before being but by
    can cannot could did do does doing done don doesn didn during each either else ever every for from further get gets getting
    give given gives go goes going got had has have having he her here his however i if in instead into is isn it its itself just let lets
    like make makes many may me might mine more most much must my need needs no nor not now of off often on once one only onto or other
    our out over own per please quite rather really s same say see shall she should simply so some somebody someone something
    still such t than that the their them then there these they thing things this those though through to too turn under until up
    upon us use used uses using very via want was way we well were where whether while will with within without won would yes yet you your
    ll re ve d m explain tell describe define mean means meaning definition introduction intro overview question answer
    people everyone nobody anybody actually basically exactly difference between versus vs compare compared comparison
    example examples formula formulas equation equations please help walk show`.split(/\s+/))
  const asking = new Set("what why how when which who whose where is are does do can should could would will".split(" "))
  const greek = { α: "alpha", β: "beta", γ: "gamma", δ: "delta", ε: "epsilon", ϵ: "epsilon", ζ: "zeta", η: "eta", θ: "theta",
    κ: "kappa", λ: "lambda", μ: "mu", ν: "nu", ξ: "xi", π: "pi", ρ: "rho", σ: "sigma", τ: "tau", φ: "phi", ϕ: "phi", χ: "chi",
    ψ: "psi", ω: "omega", "∇": "nabla gradient", "∂": "partial derivative", "∑": "sum", "∏": "product", "√": "sqrt", "∞": "infinity",
    "‖": "norm", "⊙": "hadamard elementwise", "∗": "convolution", "∼": "distributed" }
  const tex = { nabla: "nabla gradient", partial: "partial derivative", infty: "infinity", varepsilon: "epsilon", varphi: "phi",
    odot: "hadamard elementwise", lVert: "norm", rVert: "", mathbf: "", mathrm: "", boldsymbol: "", operatorname: "", text: "",
    frac: "", left: "", right: "", mathbb: "", mathcal: "", top: "transpose" }

  // Each word of a text with its place, lower case, without accents: [word, start, end].
  const wordPattern = /[\p{L}\p{N}\p{M}]+|[∇∂∑∏√∞‖⊙∗∼]/gu
  const simple = word => {
    const lower = word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase()
    return lower.length < 3 && [...lower].some(c => c in greek) ? [...lower].map(c => greek[c] ?? c).join(" ")
      : lower.replace(/[α-ωϵϕ]/g, c => ` ${greek[c] ?? c} `).trim()
  }

  // A light stemmer: it joins the forms of a word, and keeps apart what the field tells apart
  // (generative and general, normal and normalize, transform and transformer).
  const irregular = { matrices: "matrix", vertices: "vertex", indices: "index", axes: "axis", bases: "basis", biases: "bias",
    analyses: "analysis", hypotheses: "hypothesis", data: "data", embed: "embed", embeds: "embed", embedded: "embed",
    better: "better", best: "best", learnt: "learn", forgot: "forget", forgotten: "forget", chose: "choose", chosen: "choose",
    froze: "freez", frozen: "freez", blew: "blow", blown: "blow", grew: "grow", hidden: "hidden", shown: "show", sigmoidal: "sigmoid",
    during: "during", string: "string", thing: "thing", children: "child", lenses: "lens", speed: "speed", seed: "seed", feed: "feed" }
  const stems = new Map()
  const stem = word => {
    let found = stems.get(word)
    if (found === undefined) stems.set(word, (found = stripped(word)))
    return found
  }
  const stripped = word => {
    if (Object.hasOwn(irregular, word)) return irregular[word]
    if (word.length < 4 || /\d/.test(word)) return /^[a-z]{2,}[^s]s$/.test(word) && word.length > 2 && !/[aiu]s$/.test(word) ? word.slice(0, -1) : word
    let w = word
      .replace(/isation/, "ization").replace(/is(e[drs]?|ing|able)$/, "iz$1").replace(/ys(e[drs]?|ing)$/, "yz$1")
      .replace(/([^aeiou]..?)our(?=$|s$|ed$|ing$|al$|ite)/, "$1or").replace(/([bt])re(s?)$/, "$1er$2")
    if (/(ss|us|is|as)$/.test(w) && !/^.{2}us$/.test(w)) return w.endsWith("ness") && w.length > 7 ? stripped(w.slice(0, -4)) : w
    w = /(ss|sh|ch|x|z)es$/.test(w) ? w.slice(0, -2) : w.replace(/ies$/, "y").replace(/s$/, "")
    if (/ss$/.test(w)) return w
    if (w.length > 8) w = w.replace(/([ae])nce$/, "$1nt")
    if (w.length > 6) w = w.replace(/(iz|yz)(ation|ational|ing|e[dr]|able|e)$/, "$1")
    if (/iz$/.test(w)) return w
    const vowel = w => /[aeiouy]/.test(w) && w.length > 2
    for (const suffix of ["ing", "ed"])
      if (w.endsWith(suffix) && vowel(w.slice(0, -suffix.length)) && !/eed$/.test(w)) {
        w = w.slice(0, -suffix.length).replace(/([^aeious])\1$/, "$1")
        break
      }
    if (w.length > 5) w = w.replace(/([^aeious])\1$/, "$1")
    if (w.length > 6) w = w.replace(/ional(ly)?$/, "ion").replace(/([st])ion$/, "$1").replace(/ically$/, "ic")
    if (w.length > 5) w = w.replace(/([a-z]{4,})ly$/, "$1").replace(/([a-z]{4,})(ity|ive)$/, "$1").replace(/([a-z]{5,})ness$/, "$1")
    if (w.length > 6) w = w.replace(/([a-z]{5,})at(e|or)?$/, "$1")
    return w.replace(/e$/, "").replace(/y$/, "i")
  }

  // A run of letters as words: [{raw, word, stem, from}]; remembered, as most come again and again.
  const runs = new Map()
  const parts = run => {
    let found = runs.get(run)
    if (found) return found
    runs.set(run, (found = []))
    let from = 0
    for (const raw of run.split(/(?<=\p{Ll}{3})(?=\p{Lu}\p{Ll}{2})/u)) { // BatchNorm
      for (const word of simple(raw).split(" ")) if (word) found.push({ raw, word, stem: stem(word), from })
      from += raw.length
    }
    return found
  }

  // The words of a text: [{raw, word, stem, start, end, joined}], where `joined` says that a hyphen or nothing parts it
  // from the word before.
  const words = text => {
    const found = []
    let end = -2
    for (const match of text.matchAll(wordPattern)) {
      const { 0: run, index } = match
      for (const { raw, word, stem, from } of parts(run))
        found.push({ raw, word, stem, start: index + from, end: index + from + raw.length,
          joined: from > 0 || (index === end + 1 && /[-‐–’'/]/.test(text[end])) })
      end = index + run.length
    }
    return found
  }

  // A query as words; TeX commands become their names, and an index or exponent joins its letter, as in the text (cₜ₋₁).
  const query = text => words(text.slice(0, 400).replace(/(?<![\p{L}\p{N}])(\p{L})[_^]\{?(?=[\p{L}\p{N}])/gu, "$1").replace(/\\([a-zA-Z]+)/g, (_, name) => ` ${tex[name] ?? name} `)
    .replace(/\b(\w+)n['’]t\b/g, "$1 not").replace(/['’](s|re|ve|ll|d|m)\b/g, ""))

  // A question opens with a word that asks, or says so at its end.
  const asks = text => {
    const all = words(text)
    return all.length > 2 && (asking.has(all[0].word) || /\?\s*$/.test(text))
  }

  // Typing mistakes that turn one word into another, where swapped neighbors count once; more than `limit` is Infinity.
  const distance = (a, b, limit) => {
    if (Math.abs(a.length - b.length) > limit) return Infinity
    let before = [], last = [...Array(b.length + 1).keys()]
    for (let i = 1; i <= a.length; i++) {
      const row = [i]
      for (let j = 1; j <= b.length; j++) {
        row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] !== b[j - 1]))
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1)
      }
      ;[before, last] = [last, row]
    }
    return last[b.length] <= limit ? last[b.length] : Infinity
  }

  return { words, query, stem, asks, distance, isEmpty: word => empty.has(word) || asking.has(word), isAsking: word => asking.has(word) }
})()
