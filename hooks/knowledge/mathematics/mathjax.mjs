// One formula in; its SVG, its glyphs and its MathML out. The source of mathjax.js, which scripts/vendor-mathjax builds.
// What leaves here is final and Python only carries it, so the bytes of the bundle decide every byte of a formula.

import { mathjax } from "@mathjax/src/mjs/mathjax.js";
import { TeX } from "@mathjax/src/mjs/input/tex.js";
import { SVG } from "@mathjax/src/mjs/output/svg.js";
import { FontData } from "@mathjax/src/mjs/output/common/FontData.js";
import { SerializedMmlVisitor } from "@mathjax/src/mjs/core/MmlTree/SerializedMmlVisitor.js";
import { liteAdaptor } from "@mathjax/src/mjs/adaptors/liteAdaptor.js";
import { RegisterHTMLHandler } from "@mathjax/src/mjs/handlers/html.js";
import "@mathjax/src/mjs/input/tex/ams/AmsConfiguration.js";
import "@mathjax/src/mjs/input/tex/boldsymbol/BoldsymbolConfiguration.js";
import "@mathjax/src/mjs/input/tex/textmacros/TextMacrosConfiguration.js";

// The parts of the font that the allow-list in tex.py reaches. A glyph from any other part is an error, never a gap.
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/arrows.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/calligraphic.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/double-struck.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/fraktur.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/math.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/monospace.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/sans-serif.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/script.js";
import "@mathjax/mathjax-newcm-font/mjs/svg/dynamic/shapes.js";

// V8 alone has no console; MathJax uses it to say that a part of the font is absent, which `unknownText` reports.
globalThis.console ??= { warn() {} };

// The imported parts are there already; this makes MathJax take them without a promise.
mathjax.asyncLoad = () => {};
mathjax.asyncIsSynchronous = true;

/** SVG whose glyphs are references into a table that a page writes once. */
class ReferringSVG extends SVG {
  glyphs = new Map();

  constructor(options) {
    super(options);
    this.fontCache = {
      cachePath: (variant, code, path) => {
        const id = `mjx-${this.font.getVariant(variant).cacheID.replace("NCM-", "")}-${code}`;
        this.glyphs.set(id, path);
        return id;
      },
      clearCache: () => this.glyphs.clear(),
      clearLocalID() {},
    };
  }

  unknownText(text) {
    throw new Error(`There is no glyph for ${text}`);
  }
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

const element = (kind, attributes, inside) => {
  const list = Object.entries(attributes).map(([name, value]) => ` ${name}="${escaped(value)}"`);
  return inside ? `<${kind}${list.join("")}>${inside}</${kind}>` : `<${kind}${list.join("")}/>`;
};

// ---- SVG ------------------------------------------------------------------------------------------------------------

const KEPT = {
  g: ["transform"],
  use: ["href", "transform"],
  path: ["d", "transform"],
  rect: ["x", "y", "width", "height", "transform"],
  line: ["x1", "y1", "x2", "y2", "transform"],
  svg: ["x", "y", "width", "height", "viewBox"],
};

/** What a node draws, as elements: groups that move nothing are gone, a group around one thing is one with it. */
function drawn(node, glyphs) {
  const kept = KEPT[node.kind];
  if (!kept) throw new Error(`MathJax drew an unexpected <${node.kind}>`);
  const attributes = Object.fromEntries(kept.filter((name) => name in node.attributes).map((name) => [name, node.attributes[name]]));
  if (node.kind === "use" && !glyphs.get(attributes.href.slice(1))) return [];
  if (node.kind === "line") {
    // MathJax leaves the look of the lines in a table to a style sheet.
    Object.assign(attributes, { stroke: "currentColor", "stroke-width": node.attributes["stroke-width"] ?? 70 });
    if (/mjx-dashed/.test(node.attributes.class)) attributes["stroke-dasharray"] = 140;
  }
  const children = node.children.flatMap((child) => drawn(child, glyphs));
  if (node.kind !== "g") return [{ kind: node.kind, attributes, children }];
  if (!attributes.transform || !children.length) return children;
  if (children.length > 1) return [{ kind: "g", attributes, children }];
  const [only] = children;
  const transform = [attributes.transform, only.attributes.transform].filter(Boolean).join(" ");
  return [{ ...only, attributes: { ...only.attributes, transform } }];
}

/** Two moves in a row are one. */
const joined = (transform) =>
  transform.replace(/translate\(([^)]+)\)(?: translate\(([^)]+)\))+/g, (moves) => {
    const steps = [...moves.matchAll(/\(([^)]+)\)/g)].map((step) => step[1].split(/[ ,]+/).map(Number));
    const [x, y] = [0, 1].map((axis) => Number(steps.reduce((sum, step) => sum + (step[axis] ?? 0), 0).toFixed(1)));
    return `translate(${x},${y})`;
  });

function written({ kind, attributes: { transform, ...attributes }, children }) {
  const move = transform && joined(transform);
  const [, x, y] = (kind === "use" && /^translate\(([^, )]+),([^, )]+)\)$/.exec(move ?? "")) || [];
  if (x === undefined && move) attributes.transform = move;
  if (Number(x)) attributes.x = x;
  if (Number(y)) attributes.y = y;
  // Not href: Material's instant navigation sets every [href] anew, which an SVG element refuses with an error.
  const { href, ...others } = attributes;
  return element(kind, href ? { "xlink:href": href, ...others } : others, children.map(written).join(""));
}

/** The formula's own <svg>, without a namespace: it stands in HTML. */
function svgOf(svg, glyphs) {
  const { width, height, viewBox } = svg.attributes;
  const depth = /vertical-align: ([^;]+)/.exec(svg.attributes.style)[1];
  const still = { fill: "currentColor", "aria-hidden": "true", focusable: "false" };
  const inside = svg.children.flatMap((child) => child.children.flatMap((inner) => drawn(inner, glyphs)));
  const upright = element("g", { transform: "scale(1,-1)" }, inside.map(written).join(""));
  return element("svg", { width, height, style: `vertical-align:${depth}`, viewBox, ...still }, upright);
}

// ---- MathML ---------------------------------------------------------------------------------------------------------

/** Letters of an alphabet as characters of their own: MathML Core knows no `mathvariant` but "normal". */
function inAlphabet(text, variant) {
  const starts = FontData.VariantSmp[variant] ?? [];
  return Array.from(text, (character) => {
    const code = character.codePointAt(0);
    const range = FontData.SmpRanges.find(([i, first, last]) => starts[i] && first <= code && code <= last);
    if (range) {
      const letter = starts[range[0]] + code - range[1];
      return String.fromCodePoint(FontData.SmpRemap[letter] ?? letter);
    }
    const [upper, lower] = [FontData.SmpRemapGreekU[code], FontData.SmpRemapGreekL[code]];
    if (starts[2] && upper) return String.fromCodePoint(starts[2] + upper);
    if (starts[3] && lower) return String.fromCodePoint(starts[3] + lower);
    return character;
  }).join("");
}

/** Attributes for MathJax itself. */
const UNREAD = /^(data-.*|class|style|linebreak|indent.*)$/;

/** MathML as a reader's software wants it: no trace of MathJax, no row around a single thing. */
class PlainMathML extends SerializedMmlVisitor {
  visitTextNode(node) {
    const { kind, attributes } = node.parent;
    const variant = attributes.getExplicit("mathvariant");
    return escaped(kind === "mtext" ? node.getText() : inAlphabet(node.getText(), PlainMathML.variants[variant] ?? variant));
  }

  visitInferredMrowNode(node) {
    return node.childNodes.map((child) => this.visitNode(child)).join("");
  }

  visitTeXAtomNode(node) {
    const children = node.childNodes.flatMap((child) => (child.isInferred ? child.childNodes : [child]));
    return children.length === 1 ? this.visitNode(children[0]) : this.visitDefault(node);
  }

  visitMstyleNode(node) {
    return Object.keys(this.attributesOf(node)).length ? this.visitDefault(node) : this.visitTeXAtomNode(node);
  }

  visitDefault(node) {
    const inside = node.childNodes.map((child) => this.visitNode(child)).join("");
    const attributes = this.attributesOf(node);
    const kind = node.kind === "mstyle" && !Object.keys(attributes).length ? "mrow" : this.getKind(node);
    return element(kind, attributes, inside);
  }

  attributesOf(node) {
    const attributes = Object.entries(node.attributes.getAllAttributes()).filter(
      ([name, value]) => !UNREAD.test(name) && (name !== "mathvariant" || value === "normal"),
    );
    const accents = (node.constructor.ACCENTS ?? []).filter((name) => name && node.attributes.get(name));
    return Object.fromEntries([...attributes, ...accents.map((name) => [name, true])]);
  }
}

// ---- both -----------------------------------------------------------------------------------------------------------

const mathml = new PlainMathML();
const input = new TeX({
  packages: ["base", "ams", "boldsymbol", "textmacros"],
  tags: "none",
  formatError: (_, error) => {
    throw error;
  },
});
const output = new ReferringSVG({ fontCache: "global", useXlink: false, linebreaks: { inline: false } });
const adaptor = liteAdaptor();
RegisterHTMLHandler(adaptor);
const page = mathjax.document("", { InputJax: input, OutputJax: output });

/** JSON of {svg, mathml, glyphs}, or of {error}. */
globalThis.render = (tex, display) => {
  try {
    input.reset();
    output.glyphs.clear();
    const formula = new page.options.MathItem(tex, input, display);
    formula.setMetrics(16, 8, 1280, 1e6, 1);
    formula.compile(page);
    const math = mathml.visitTree(formula.root);
    formula.typeset(page);
    const glyphs = new Map([...output.glyphs].filter(([, path]) => path).sort());
    const svg = svgOf(adaptor.tags(formula.typesetRoot, "svg")[0], glyphs);
    return JSON.stringify({ svg, mathml: math, glyphs: Object.fromEntries(glyphs) });
  } catch (error) {
    return JSON.stringify({ error: error.message });
  }
};
