// What the pages do beyond HTML; everything is readable without it.

// Copying text copies the TeX of the formulas in it.
document.addEventListener("copy", event => {
  const selection = getSelection()
  if (!selection.rangeCount) return
  const part = document.createElement("div")
  part.append(selection.getRangeAt(0).cloneContents())
  const formulas = part.querySelectorAll("[data-tex]")
  if (!formulas.length) return
  for (const formula of formulas) {
    const mark = formula.classList.contains("formula") ? "$$" : "$"
    formula.replaceWith(mark + formula.dataset.tex + mark)
  }
  event.clipboardData.setData("text/plain", part.textContent)
  event.preventDefault()
})

// A box that scrolls can be scrolled from the keyboard.
const reachable = () => {
  for (const box of document.querySelectorAll("div.arithmatex > .formula"))
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0
      box.role = "group"
      box.ariaLabel = "Equation, scrolls"
    } else box.removeAttribute("tabindex")
}
addEventListener("resize", reachable)
if (window.document$) document$.subscribe(reachable)
else addEventListener("DOMContentLoaded", reachable)

// The large search button puts the cursor into the search box, which opens it.
document.addEventListener("click", event => {
  if (!event.target.closest(".search-opener")) return
  event.preventDefault()
  document.querySelector(".md-search__input").focus()
})
