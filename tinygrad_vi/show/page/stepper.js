"use strict";
// Replays a program step by step: plain JavaScript, no library, no network.  Python wrote the program: nodes in order
// (operands first), the rules of their derivatives as trees, and where everything stands.
// The numbers shown first are the engine's own; once a slider moves, the page computes them again.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const program = read("program"), allWords = read("words");
const nodes = program.nodes, edges = program.edges, output = program.output;
const operations = nodes.map((_, i) => i).filter((i) => nodes[i].kind === "operation");
const m = operations.length, lastStep = 2 * m + 1;
const place = new Map(operations.map((i, p) => [i, p]));
const MOST_PATHS = 12;

// --- Numbers ---------------------------------------------------------------------------------------------------------

const parse = (x) => (typeof x === "number" ? x : { inf: Infinity, "-inf": -Infinity, nan: NaN }[x]);

// As Python writes f"{x:.{digits}g}": rounded half to even, exponents below -4 and from `digits` on.
function write(x, digits = program.digits) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  if (x === 0) return "0";
  let [mantissa, exponent] = rounded(Math.abs(x), digits);
  const sign = x < 0 ? "-" : "";
  let text;
  if (exponent < -4 || exponent >= digits) text = point(mantissa, 1) + "e" + exponent;
  else if (exponent < 0) text = point("0".repeat(-exponent) + mantissa, 1);
  else text = point(mantissa, exponent + 1);
  return sign + text;
}

function rounded(x, digits) {
  const [exact, power] = x.toExponential(60).split("e");
  const all = exact.replace(".", "");
  const tie = all[digits] === "5" && /^0*$/.test(all.slice(digits + 1));
  if (tie && Number(all[digits - 1]) % 2 === 0) return [all.slice(0, digits), Number(power)];
  const [near, exponent] = x.toExponential(digits - 1).split("e");
  return [near.replace(".", ""), Number(exponent)];
}

function point(digits, place) {
  const fraction = digits.slice(place).replace(/0+$/, "");
  return digits.slice(0, place) + (fraction && "." + fraction);
}

// A line of arithmetic shows as many digits as it takes to be true: what is computed from the numbers as they are printed
// is the result as it is printed.
function enough(holds, digits = program.digits) {
  for (let d = digits; d <= 17; d++) if (holds(d)) return d;
  return null;
}
const shown = (x, digits) => (Number.isFinite(x) ? Number(write(x, digits)) : x);
const agree = (found, result, digits = program.digits) => found === result || write(found, digits) === write(result, digits);
function trueFactors(xs, result, digits = program.digits) {
  const d = enough((d) => agree(xs.reduce((product, x) => product * shown(x, d), 1), result, digits)) ?? program.digits;
  return xs.map((x) => write(x, d));
}
const sumDigits = (xs, result) => enough((d) => agree(sum(xs.map((x) => shown(x, d))), result));
function trueTerms(xs, result) { // null where not even all digits are enough
  const d = sumDigits(xs, result);
  return d === null ? null : xs.map((x) => write(x, d));
}

const bracketed = (text) => (text.startsWith("-") ? `(${text})` : text);

// --- The values of the operations -----------------------------------------------------------------------------------
// Derivatives are not here: each node carries the rule of the engine's table as a tree of these operations.

const sum = (xs) => {
  let s = 0, rest = 0; // Neumaier: what rounding lost is added in the end
  for (const x of xs) {
    const t = s + x;
    rest += Math.abs(s) >= Math.abs(x) ? s - t + x : x - t + s;
    s = t;
  }
  return s + rest;
};

function erf(x) {
  if (Math.abs(x) > 2.5) return Math.sign(x) * (1 - erfc(Math.abs(x)));
  let term = x, total = x; // terms of one sign: x * (2 x^2)^n / (2n + 1)!!
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) total += term *= (2 * x * x) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}

function erfc(x) {
  if (x < 1.5) return 1 - erf(x);
  let t = 0; // the continued fraction of Laplace, from its far end
  for (let k = 240; k > 0; k--) t = k / 2 / (x + t);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + t);
}

function ndtri(p) { // Newton's method for log P(N <= z) = log p, which is concave: it comes from the left
  if (Math.abs(p - 0.5) <= 0.25) return Math.SQRT2 * erfinv(2 * p - 1);
  if (p > 0.5) return -ndtri(1 - p);
  if (!(p > 0)) return NaN;
  let z = -Math.sqrt(-2 * Math.log(p));
  for (let n = 0, step = 1; n < 60 && Math.abs(step) > 1e-16 * Math.abs(z); n++) {
    const below = 0.5 * erfc(-z * Math.SQRT1_2);
    z += step = (Math.log(p / below) * below * Math.sqrt(2 * Math.PI)) / bell(z);
  }
  return z;
}

function erfinv(x) {
  if (Math.abs(x) > 0.5) return -Math.sign(x) * Math.SQRT1_2 * ndtri(0.5 * (1 - Math.abs(x)));
  let y = x;
  for (let n = 0; n < 8; n++) y -= ((erf(y) - x) * Math.sqrt(Math.PI)) / 2 * Math.exp(y * y);
  return y;
}

const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
function bell(x) { // exp(-x*x/2), with what x*x rounds off brought back to first order
  const e = Math.exp(-0.5 * x * x), c = 134217729 * x, high = c - (c - x), low = x - high;
  return e === 0 || !Number.isFinite(c) ? e : e - 0.5 * (high * high - x * x + 2 * high * low + low * low) * e;
}
const sech = (x) => { const e = Math.exp(-Math.abs(x)); return (2 * e) / (1 + e * e); };

function asinh(x) { // what Math.asinh gives loses digits near 0 in some browsers
  const a = Math.abs(x), y = a > 1e8 ? Math.log(a) + Math.LN2 : Math.log1p(a + (a * a) / (1 + Math.sqrt(1 + a * a)));
  return x < 0 ? -y : y;
}
const rint = (x) => { const a = Math.abs(x), y = a < 2 ** 52 ? a + 2 ** 52 - 2 ** 52 : a; return x < 0 ? -y : y; };

const VALUE = {
  add: ([x, y]) => x + y, sub: ([x, y]) => x - y, mul: ([x, y]) => x * y, div: ([x, y]) => x / y, neg: ([x]) => -x,
  pow: ([x, y]) => Math.pow(x, y), power: ([x], [n]) => Math.pow(x, n), exponential: ([x], [base]) => Math.pow(base, x),
  exp: ([x]) => Math.exp(x), expm1: ([x]) => Math.expm1(x), log: ([x]) => Math.log(x), log1p: ([x]) => Math.log1p(x),
  sqrt: ([x]) => Math.sqrt(x), sin: ([x]) => Math.sin(x), cos: ([x]) => Math.cos(x), tan: ([x]) => Math.tan(x),
  asin: ([x]) => Math.asin(x), acos: ([x]) => Math.acos(x), atan: ([x]) => Math.atan(x),
  semicircle: ([x]) => Math.sqrt((1 - x) * (1 + x)), sinh: ([x]) => Math.sinh(x), cosh: ([x]) => Math.cosh(x),
  tanh: ([x]) => Math.tanh(x), sech: ([x]) => sech(x), bell: ([x]) => bell(x), erf: ([x]) => erf(x), erfc: ([x]) => erfc(x),
  erfinv: ([x]) => erfinv(x), ndtri: ([x]) => ndtri(x),
  sigmoid: ([x]) => sigmoid(x), softplus: ([x]) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  silu: ([x]) => Math.max(x, -1000) * sigmoid(x),
  gelu: ([x]) => (x <= -40 ? -0 : 0.5 * x * erfc(-x * Math.SQRT1_2)),
  step: ([x]) => (x > 0 ? 1 : x <= 0 ? 0 : x), relu: ([x]) => (x <= 0 ? 0 : x), abs: ([x]) => Math.abs(x),
  leaky_relu: ([x], [slope]) => (x <= 0 ? slope * x : x), elu: ([x], [alpha]) => (x <= 0 ? alpha * Math.expm1(x) : x),
  stop_gradient: ([x]) => x,
  mod: ([x, y]) => { const r = x % y; return r !== 0 ? (r < 0 === y < 0 ? r : r + y) : y < 0 ? -0 : 0; },
  floordiv: ([x, y]) => {
    const r = x % y, q = (x - r) / y - (r !== 0 && r < 0 !== y < 0 ? 1 : 0), whole = Math.floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
  },
  log2: ([x]) => Math.log2(x), log10: ([x]) => Math.log10(x), cbrt: ([x]) => Math.cbrt(x),
  hypot: ([x, y]) => Math.hypot(x, y), atan2: ([x, y]) => Math.atan2(x + 0, y + 0), asinh: ([x]) => asinh(x),
  acosh: ([x]) => { const d = x - 1; return d < 1e8 ? Math.log1p(d + Math.sqrt(d * (d + 2))) : Math.log(x) + Math.LN2; },
  atanh: ([x]) => 0.5 * Math.sign(x) * Math.log1p((2 * Math.abs(x)) / (1 - Math.abs(x))), softsign: ([x]) => x / (1 + Math.abs(x)),
  sign: ([x]) => Math.sign(x), floor: ([x]) => Math.floor(x), ceil: ([x]) => Math.ceil(x), round: ([x]) => rint(x),
  maximum: ([x, y]) => Math.max(x, y), minimum: ([x, y]) => Math.min(x, y), where: ([c, x, y]) => (c > 0 ? x : y),
  total: (xs) => sum(xs),
  dot: (xs) => {
    const n = (xs.length - 1) / 2;
    let s = xs[2 * n];
    for (let k = 0; k < n; k++) s += xs[k] * xs[n + k];
    return s;
  },
  logsumexp: (xs) => { const top = Math.max(...xs); return top + Math.log(sum(xs.map((x) => Math.exp(x - top)))); },
  less: ([x, y]) => (x < y ? 1 : 0), less_equal: ([x, y]) => (x <= y ? 1 : 0), equal: ([x, y]) => (x === y ? 1 : 0),
};

function run(tree, out, xs) {
  if (typeof tree === "number") return tree;
  if (tree === "o") return out;
  if ("x" in tree) return xs[tree.x];
  return VALUE[tree.op](tree.args.map((arg) => run(arg, out, xs)), tree.constants || []);
}

// Operations of the user's own: a text of JavaScript or a tree.  One that does not give the engine's number is not known.
for (const [name, { tree, at }] of Object.entries(program.own)) {
  const written = (window.own || {})[name];
  if (!written && tree === undefined) continue;
  VALUE[name] = written ? (xs) => written(...xs) : (xs) => run(tree, NaN, xs);
  try {
    if (at && !(Math.abs(VALUE[name](at[0].map(parse)) - parse(at[1])) <= 1e-8 * Math.max(1, Math.abs(parse(at[1]))))) delete VALUE[name];
  } catch (error) {
    delete VALUE[name];
  }
}

const operationsIn = (tree) => (tree.op ? [tree.op, ...tree.args.flatMap(operationsIn)] : []);
const missing = operations.flatMap((i) => [nodes[i].computes, ...nodes[i].rules.flatMap(operationsIn)]).find((op) => !(op in VALUE));
const unknown = missing && missing.replace(/, \d+$/, ""); // its name for people

// --- The two passes -------------------------------------------------------------------------------------------------

// Values and local derivatives of all nodes for these inputs; `trouble` is the first node that has none.
function forward(inputs) {
  const data = inputs.slice(), local = nodes.map(() => []);
  for (const i of operations) {
    const { computes, parents, rules, constants } = nodes[i];
    const xs = parents.map((p) => data[p]);
    data[i] = VALUE[computes](xs, constants);
    local[i] = rules.map((rule) => run(rule, data[i], xs));
    if (![data[i], ...local[i]].every(Number.isFinite)) return { trouble: i, data };
  }
  return { data, local };
}

// What each operation hands back to its operands: upstream * local = product, old -> now.
function backward(local) {
  const adjoint = nodes.map(() => 0), handed = nodes.map(() => []);
  adjoint[output] = 1;
  for (const i of operations.slice().reverse())
    nodes[i].parents.forEach((parent, k) => {
      if (nodes[parent].kind === "constant") return;
      const product = adjoint[i] * local[i][k], old = adjoint[parent];
      adjoint[parent] = old + product;
      handed[i].push({ k, parent, upstream: adjoint[i], local: local[i][k], product, old, now: adjoint[parent] });
    });
  return { adjoint, handed };
}

const first = { data: nodes.map((n) => parse(n.data)), local: nodes.map((n) => (n.local || []).map(parse)) };
let numbers = { ...first, ...backward(first.local) };
let step = 0, chosen = null, from = null, words, timer = null;

// --- The state at a step: 0 inputs, 1..m forward, m + 1 the seed, m + 2..2m + 1 backward -----------------------------

const known = (i) => !place.has(i) || place.get(i) < step;
const swept = (i) => place.has(i) && place.get(i) >= lastStep - step;
const active = () => (step === 0 ? -1 : step <= m ? operations[step - 1] : step === m + 1 ? output : operations[lastStep - step]);
const contributions = (i) => operations.slice().reverse().filter(swept).flatMap((o) =>
  numbers.handed[o].filter((h) => h.parent === i).map((h) => ({ ...h, by: o })));

function gradient(i) { // null before the backward pass, and for constants
  if (step <= m || nodes[i].kind === "constant") return null;
  const handed = contributions(i);
  return handed.length ? handed[handed.length - 1].now : i === output ? 1 : 0;
}

// --- Writing ---------------------------------------------------------------------------------------------------------

const say = (key, facts = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => facts[name]);
const bar = (i) => (nodes[i].name[0] + "\u0304" + nodes[i].name.slice(1)).normalize("NFC");
const title = (i) => (nodes[i].label ? `${nodes[i].label} (${nodes[i].name})` : nodes[i].name);
const partial = (i, parent) => `∂${nodes[i].name}/∂${nodes[parent].name}`;

// A formula with its slots filled; a negative number gets parentheses where it has none.
const fill = (formula, texts) => formula.replace(/⟦(\w+)⟧/g, (slot, name, at) => {
  const text = texts[name], before = formula[at - 1], after = formula[at + slot.length];
  const enclosed = before === undefined || (before === "(" && (after === ")" || after === ","));
  return text.startsWith("-") && !enclosed ? `(${text})` : text;
});
const byName = (i) => ({ ...nodes[i].parents.map((p) => nodes[p].name), o: nodes[i].name });
const isWhole = (p) => nodes[p].kind === "constant" && Number(nodes[p].name) === numbers.data[p]; // its name is its number
const byNumber = (i, d) => ({ ...nodes[i].parents.map((p) => (isWhole(p) ? nodes[p].name : write(numbers.data[p], d))),
  o: write(numbers.data[i], d) });
const formula = (i) => fill(nodes[i].formula, byName(i));
// A formula with numbers, as many digits of them as give the result; nothing where it does not come out with any.
function filled(i, text, tree, result) {
  const known = operationsIn(tree).every((op) => op in VALUE);
  const d = known ? enough((d) => agree(run(tree, shown(numbers.data[i], d), nodes[i].parents.map((p) => (isWhole(p) ? numbers.data[p] : shown(numbers.data[p], d)))), result)) : program.digits;
  return d === null ? "" : fill(text, byNumber(i, d));
}
const ownTree = (i) => ({ op: nodes[i].computes, args: nodes[i].parents.map((_, x) => ({ x })), constants: nodes[i].constants });
const withNumbers = (i) => filled(i, nodes[i].formula, ownTree(i), numbers.data[i]);
const chain = (...texts) => texts.filter((text, k) => text !== "" && text !== texts[k - 1]).join(" = ");
const localText = (i, k) => chain(partial(i, nodes[i].parents[k]), fill(nodes[i].taught[k], byName(i)),
  filled(i, nodes[i].taught[k], nodes[i].taughtRules[k], numbers.local[i][k]), write(numbers.local[i][k]));
const domain = (node) => words[`domain: ${node.domain}`] || node.domain;
const plus = (texts) => texts.map((t, k) => (k === 0 ? t : t.startsWith("-") ? ` - ${t.slice(1)}` : ` + ${t}`)).join("");

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// x ** 2 with a raised 2, x * y with a dot: textbook style, built from text nodes only.
function math(text, className = "formula") {
  const span = element("span", { class: className });
  text.split(/ \*\* (\([^()]*\)|[^\s(),]+)/).forEach((part, k) =>
    span.append(k % 2 ? element("sup", {}, part.replace(/^\((.*)\)$/, "$1")) : part.replace(/ \* /g, " · ")));
  return span;
}

const byId = (id) => document.getElementById(id);
// What says the same is left alone: it keeps the focus, and a screen reader does not read it out again.
function replace(id, ...children) {
  const made = element("div", {}, ...children.filter((child) => child !== null));
  if (made.innerHTML !== byId(id).innerHTML) byId(id).replaceChildren(...made.childNodes);
}

// --- The graph -------------------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
function drawn(tag, attributes, parent, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const pictures = { nodes: [], edges: [] };

function drawGraph() {
  const svg = byId("graph"), [width, height] = program.size;
  svg.setAttribute("viewBox", `-6 -6 ${width + 12} ${height + 12}`);
  svg.style.width = `clamp(${0.95 * width}px, 100%, ${1.45 * width}px)`;
  const tips = drawn("defs", {}, svg);
  for (const [name, color] of [["grey", "line"], ["blue", "value"], ["red", "gradient"], ["black", "ink"]]) {
    const tip = drawn("marker", { id: name, viewBox: "0 0 10 10", refX: 8, refY: 5, markerWidth: 8, markerHeight: 8,
      markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" }, tips);
    drawn("path", { d: "M0,1 L10,5 L0,9 z", style: `fill: var(--${color})` }, tip);
  }
  edges.forEach((edge, k) => {
    const group = drawn("g", { id: `edge${k}`, "aria-hidden": "true" }, svg);
    pictures.edges.push({ group, path: drawn("path", { d: edge.path }, group),
      text: drawn("text", { x: edge.label[0], y: edge.label[1] + 2 }, group) });
  });
  nodes.forEach((node, i) => {
    const [x, y, w, h] = node.box, left = x - w / 2, top = y - h / 2;
    const group = drawn("g", { id: `node${i}`, role: "button", tabindex: 0 }, svg);
    drawn("rect", { class: "box", x: left, y: top, width: w, height: h, rx: node.kind === "constant" ? 2 : 7 }, group);
    if (i === output) drawn("rect", { class: "frame", x: left + 3, y: top + 3, width: w - 6, height: h - 6, rx: 5 }, group);
    const constant = node.kind === "constant";
    drawn("text", { class: "caption", x, y: constant ? y + 4 : top + 15 }, group, node.caption);
    const lines = constant ? [] : ["data", "grad"].map((name, k) => drawn("text", { class: name, x, y: top + 29 + 14 * k }, group));
    group.addEventListener("click", () => choose(i));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      choose(i);
    });
    pictures.nodes.push({ group, lines });
  });
}

function updateGraph() {
  const now = active(), phase = step <= m ? "forward" : "backward";
  const onPath = reached(from);
  nodes.forEach((node, i) => {
    const { group, lines } = pictures.nodes[i], grad = gradient(i);
    const data = known(i) ? write(numbers.data[i]) : "?", slope = grad === null ? "—" : write(grad);
    if (lines.length) [lines[0].textContent, lines[1].textContent] = [`data ${data}`, `grad ${slope}`];
    group.setAttribute("class", ["node", i === output ? "output" : node.kind, !known(i) && "unknown", i === now && `active ${phase}`,
      i === chosen && "chosen", from !== null && (onPath.has(i) ? "onpath" : i !== now && "dim")].filter(Boolean).join(" "));
    const spoken = [title(i), node.kind === "operation" ? formula(i) : say(`${node.kind}Node`, { value: node.name })];
    if (lines.length) spoken.push(`${say("value")} ${known(i) ? data : say("notYet")}`, `${say("uses")} ${grad === null ? say("notYet") : slope}`);
    group.setAttribute("aria-label", spoken.join(", "));
    if (i === now) group.setAttribute("aria-current", "step"); else group.removeAttribute("aria-current");
  });
  edges.forEach((edge, k) => {
    const { group, path, text } = pictures.edges[k];
    const flows = swept(edge.to) && nodes[edge.from].kind !== "constant", marked = from !== null && onPath.has(edge.from);
    const lit = step <= m && edge.to === now, tip = marked ? "black" : flows ? "red" : lit ? "blue" : "grey";
    text.textContent = known(edge.to) ? `×${bracketed(write(numbers.local[edge.to][edge.operand]))}` : "";
    group.setAttribute("class", ["edge", lit && "lit", flows && "swept", flows && edge.to === now && "sweeping",
      from !== null && (marked ? "onpath" : "dim")].filter(Boolean).join(" "));
    path.removeAttribute("marker-start");
    path.removeAttribute("marker-end");
    path.setAttribute(flows ? "marker-start" : "marker-end", `url(#${tip})`);
  });
  if (now >= 0) reveal(now);
}

// The active node is kept in sight, without moving the rest of the page.
function reveal(i) {
  const scroll = byId("scroll"), box = pictures.nodes[i].group.getBoundingClientRect(), frame = scroll.getBoundingClientRect();
  if (box.left < frame.left) scroll.scrollLeft -= frame.left - box.left + 20;
  if (box.right > frame.right) scroll.scrollLeft += box.right - frame.right + 20;
  if (box.top < frame.top) scroll.scrollTop -= frame.top - box.top + 20;
  if (box.bottom > frame.bottom) scroll.scrollTop += box.bottom - frame.bottom + 20;
}

// --- What happens at this step ---------------------------------------------------------------------------------------

function updateWork() {
  const now = active();
  if (step === 0) {
    replace("headline", say("startHeadline"));
    replace("work", element("p", {}, say("startText")));
  } else if (step <= m) {
    replace("headline", say("forwardHeadline", { name: title(now) }));
    const variable = nodes[now].parents.flatMap((p, k) => (nodes[p].kind === "constant" ? [] : [k]));
    replace("work", element("p", { class: "big" }, math(chain(nodes[now].name, formula(now), withNumbers(now), write(numbers.data[now])))),
      variable.length ? element("p", { class: "note" }, say("localTitle")) : null,
      ...variable.map((k) => element("div", { class: "local" }, math(localText(now, k)))));
  } else if (step === m + 1) {
    replace("headline", say("seedHeadline", { seed: bar(output) }));
    replace("work", element("p", { class: "big" }, math(`${bar(output)} = ∂${program.outputName}/∂${program.outputName} = 1`)),
      element("p", {}, say("seedText")));
  } else {
    replace("headline", say("backwardHeadline", { name: title(now) }));
    const handed = numbers.handed[now];
    if (!handed.length) return replace("work", element("p", {}, say("noOperands")));
    const head = element("tr", {}, ...["to", "upstream", "local", "downstream", "accumulate"].map((key, k) =>
      element("th", { scope: "col" }, ["", "", "× ", "= ", ""][k] + say(key))));
    const rows = handed.map((h) => {
      const [upstream, local] = trueFactors([h.upstream, h.local], h.product);
      const [old, product] = trueTerms([h.old, h.product], h.now) ?? [h.old, h.product].map((x) => write(x));
      return element("tr", { "data-operand": h.k },
        element("th", { scope: "row" }, title(h.parent)),
        element("td", { class: "up" }, math(`${bar(now)} = ${upstream}`)),
        element("td", {}, "× ", math(chain(partial(now, h.parent), local))),
        element("td", { class: "down" }, "= ", element("b", {}, write(h.product))),
        element("td", {}, math(`${bar(h.parent)}: ${old} + ${bracketed(product)} → `), element("b", {}, write(h.now))));
    });
    const uses = (i) => edges.filter((edge) => edge.from === i).length;
    const shared = [...new Set(handed.map((h) => h.parent))].filter((p) => uses(p) > 1);
    replace("work", element("div", { class: "wide" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))),
      ...shared.map((p) => element("p", { class: "note" }, say("shared", { name: title(p), n: uses(p) }))));
  }
}

// --- The trace table -------------------------------------------------------------------------------------------------

const long = (text) => element("td", { class: "long", title: text.length > 30 ? text : "" }, math(text)); // all of it on hovering

function updateTable() {
  const now = active();
  replace("heads", ...["v", say("formula"), say("numbers"), say("value"), say("sum"), say("adjoint")].map((text) =>
    element("th", { scope: "col" }, text)));
  replace("rows", ...nodes.flatMap((node, i) => {
    if (node.kind === "constant") return [];
    const handed = contributions(i), grad = gradient(i), operation = node.kind === "operation";
    const products = handed.map((h) => trueFactors([h.upstream, h.local], h.product).map(bracketed).join("·"));
    const terms = handed.length > 1 && grad !== null ? trueTerms(handed.map((h) => h.product), grad) : null;
    const row = element("tr", { id: `row${i}`, class: [!known(i) && "coming", i === now && "active"].filter(Boolean).join(" ") },
      element("th", { scope: "row" }, node.name),
      long(operation ? chain(...(node.label ? [node.label] : []), formula(i)) : node.label),
      long(operation ? withNumbers(i) : ""),
      element("td", { class: "data" }, write(numbers.data[i])),
      long(products.join(" + ")),
      element("td", { class: "grad" }, grad === null ? "—" : math(chain(bar(i),
        ...(terms ? [plus(terms)] : []), write(grad)))));
    return [row];
  }));
}

// --- Paths -----------------------------------------------------------------------------------------------------------

// All nodes to which a node leads, itself included: each of them leads on to the output.
function reached(start) {
  const found = new Set(start === null ? [] : [start]);
  for (const i of operations) if (nodes[i].parents.some((p) => found.has(p))) found.add(i);
  return found;
}

function countPaths(start) { // exactly: there may be 2^30
  const count = nodes.map((_, i) => BigInt(i === start ? 1 : 0));
  for (const i of operations) if (i !== start) for (const p of nodes[i].parents) count[i] += count[p];
  return count[output];
}

function somePaths(start) {
  const found = [], leads = reached(start);
  const walk = (i, tail) => { // from the output back, so that every step leads to the start
    if (found.length === MOST_PATHS) return;
    if (i === start) return void found.push(tail);
    nodes[i].parents.forEach((p, k) => leads.has(p) && walk(p, [{ i, k, p }, ...tail]));
  };
  if (leads.has(output)) walk(output, []);
  return found;
}

function updatePaths() {
  replace("from", element("option", { value: "" }, say("pathsNone")),
    ...nodes.flatMap((node, i) => (node.kind === "input" ? [element("option", { value: i }, title(i))] : [])));
  byId("from").value = from === null ? "" : String(from);
  if (from === null) return replace("found", element("p", { class: "note" }, say("pathsHelp")));
  const facts = { from: title(from), to: program.outputName, n: countPaths(from).toLocaleString(program.language) };
  const paths = somePaths(from);
  if (!paths.length) return replace("found", element("p", {}, say("pathsNo", facts)));
  const products = paths.map((path) => path.reduce((product, e) => product * numbers.local[e.i][e.k], 1));
  const items = paths.map((path, n) => {
    const names = [nodes[from].label || nodes[from].name, ...path.map((e) => nodes[e.i].name)].join(" → ");
    const factors = trueFactors(path.map((e) => numbers.local[e.i][e.k]), products[n]).map(bracketed).reverse();
    const button = element("button", {}, math(`${names}: ${chain(factors.join(" · ") || "1", write(products[n]))}`));
    const edgesOf = new Set(path.map((e) => edges.findIndex((edge) => edge.to === e.i && edge.operand === e.k)));
    const single = (on) => pictures.edges.forEach(({ group }, k) => group.classList.toggle("dim", on && !edgesOf.has(k)) );
    for (const [event, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]])
      button.addEventListener(event, () => (on ? single(true) : updateGraph()));
    return element("li", {}, button);
  });
  const terms = trueTerms(products, numbers.adjoint[from]);
  const more = countPaths(from) - BigInt(paths.length), total = write(numbers.adjoint[from]);
  const name = `∂${program.outputName}/∂${nodes[from].label || nodes[from].name}`;
  replace("found", element("p", {}, say("pathsCount", facts)), element("ol", {}, ...items),
    more > 0n ? element("p", { class: "note" }, say("pathsMore", { n: more.toLocaleString(program.language) })) : null,
    element("p", { id: "pathsum" }, `${say("pathsSum")}: `, math(more > 0n || products.length < 2 || !terms
      ? `${name} = ${total}` : `${name} = ${plus(terms)} = ${total}`)));
}

// --- The output as a curve over one input, with its tangent ------------------------------------------------------------

const WIDE = 420, HIGH = 230, LEFT = 56, TOP = 24, BOTTOM = 26;

function updateCurve() {
  const svg = byId("curve");
  svg.replaceChildren();
  svg.toggleAttribute("hidden", true);
  if (from === null || unknown) return;
  const { min, max } = byId(`range${from}`), [low, high] = [Number(min), Number(max)];
  const at = (x) => { const f = forward(numbers.data.map((v, i) => (i === from ? x : v))); return f.trouble === undefined ? f.data[output] : NaN; };
  const x0 = numbers.data[from], y0 = numbers.data[output], slope = numbers.adjoint[from];
  const xs = Array.from({ length: 121 }, (_, k) => low + ((high - low) * k) / 120), ys = xs.map(at);
  const seen = [...ys.filter(Number.isFinite), y0];
  let [bottom, top] = [Math.min(...seen), Math.max(...seen)];
  const margin = 0.08 * (top - bottom) || 1;
  [bottom, top] = [bottom - margin, top + margin];
  const px = (x) => LEFT + ((WIDE - LEFT - 8) * (x - low)) / (high - low), py = (y) => TOP + ((HIGH - BOTTOM - TOP) * (top - y)) / (top - bottom);
  const line = (x) => py(y0 + slope * (x - x0));
  const ends = [low, high].flatMap((x) => [WIDE * (x - low), line(x)]);
  if (![px(x0), py(y0), ...ends].every(Number.isFinite)) return; // too large to draw, or no numbers at all
  svg.toggleAttribute("hidden", false);
  const name = `∂${program.outputName}/∂${nodes[from].label || nodes[from].name}`;
  svg.setAttribute("aria-label", say("curve", { slope: `${name} = ${write(slope)}` }));
  const frame = drawn("clipPath", { id: "inside" }, drawn("defs", {}, svg));
  drawn("rect", { x: LEFT, y: TOP, width: WIDE - LEFT - 8, height: HIGH - BOTTOM - TOP }, frame);
  drawn("rect", { class: "plot", x: LEFT, y: TOP, width: WIDE - LEFT - 8, height: HIGH - BOTTOM - TOP }, svg);
  const inside = ys.map(Number.isFinite); // outside the domain the curve has a gap
  const curve = xs.map((x, k) => (inside[k] ? `${k && inside[k - 1] ? "L" : "M"}${px(x)},${py(ys[k])}` : "")).join("");
  drawn("path", { class: "curve", d: curve || "M0,0", "clip-path": "url(#inside)" }, svg);
  drawn("path", { class: "tangent", d: `M${px(low)},${line(low)}L${px(high)},${line(high)}`, "clip-path": "url(#inside)" }, svg);
  drawn("circle", { class: "touch", cx: px(x0), cy: py(y0), r: 4.5 }, svg);
  for (const [x, anchor] of [[low, "start"], [high, "end"]])
    drawn("text", { x: px(x), y: HIGH - 8, style: `text-anchor: ${anchor}` }, svg, write(x, 3));
  drawn("text", { x: (LEFT + WIDE) / 2, y: HIGH - 8 }, svg, nodes[from].label || nodes[from].name);
  for (const y of [bottom + margin, top - margin]) drawn("text", { x: LEFT - 5, y: py(y) + 4, style: "text-anchor: end" }, svg, write(y, 3));
  drawn("text", { class: "slope", x: (LEFT + WIDE) / 2, y: 15 }, svg, say("curve", { slope: `${name} = ${write(slope)}` }));
}

// --- The formula of a node -------------------------------------------------------------------------------------------

function updateNode() {
  if (chosen === null) return replace("node", element("p", { class: "note" }, say("nodeHelp")));
  const node = nodes[chosen], list = element("dl");
  const line = (name, ...content) => list.append(element("dt", {}, name), element("dd", {}, ...content));
  if (node.kind === "constant") return replace("node", element("p", {}, say("constantNode", { value: node.name })));
  if (node.label) line(say("label"), node.label);
  if (node.kind === "operation") {
    line(say("operation"), node.op);
    line(say("formula"), math(chain(node.name, formula(chosen), ...(known(chosen) ? [withNumbers(chosen), write(numbers.data[chosen])] : []))));
    line(say("domain"), math(domain(node)));
    node.parents.forEach((p, k) => nodes[p].kind !== "constant" && line(say("derivativeBy", { name: title(p) }),
      math(known(chosen) ? localText(chosen, k) : chain(partial(chosen, p), fill(node.taught[k], byName(chosen))))));
  } else line(say("operation"), say("inputNode"));
  line(say("value"), known(chosen) ? String(numbers.data[chosen]) : say("notYet"));
  const handed = contributions(chosen), grad = gradient(chosen);
  if (grad === null) line(bar(chosen), say("notYet"));
  else line(bar(chosen), math(chain(bar(chosen), ...(handed.length ? [
    handed.map((h) => `${bar(h.by)}·${partial(h.by, chosen)}`).join(" + "),
    handed.map((h) => `${bracketed(write(h.upstream))}·${bracketed(write(h.local))}`).join(" + ")] : []), write(grad))));
  replace("node", element("h3", {}, title(chosen)), list);
}

// --- Controls --------------------------------------------------------------------------------------------------------

function drawSliders() {
  nodes.forEach((node, i) => {
    if (node.kind !== "input") return;
    const x = numbers.data[i], reach = Math.max(1, Math.abs(x));
    const range = element("input", { type: "range", id: `range${i}`, min: x - reach, max: x + reach, step: reach / 200, value: x });
    const box = element("input", { type: "number", id: `input${i}`, step: "any", value: x });
    range.addEventListener("input", () => set(i, Number(range.value)));
    box.addEventListener("input", () => box.value !== "" && set(i, Number(box.value)));
    box.addEventListener("blur", () => { if (box.value === "" && !box.disabled) box.value = numbers.data[i]; });
    if (unknown || !Number.isFinite(x)) range.disabled = box.disabled = true;
    byId("sliders").append(element("div", { class: "slider" }, element("b", {}, node.label || node.name), range, box));
  });
}

const isInput = (i) => nodes[i].kind === "input";

// What an input's field says, which may be outside the domain; an empty field, or one that cannot say it, changes nothing.
const entered = (i) => (byId(`input${i}`).value === "" ? numbers.data[i] : Number(byId(`input${i}`).value));

function set(i, x) {
  const inputs = nodes.map((_, j) => (j === i ? x : isInput(j) ? entered(j) : first.data[j]));
  const found = forward(inputs);
  for (const id of [`range${i}`, `input${i}`]) if (document.activeElement !== byId(id) || byId(id).type === "range") byId(id).value = x;
  if (found.trouble !== undefined) {
    const node = nodes[found.trouble], texts = node.parents.map((p) => write(found.data[p]));
    return replace("trouble", say("trouble", { name: node.name, formula: fill(node.formula, texts),
      domain: domain(node) }));
  }
  replace("trouble");
  numbers = { ...found, ...backward(found.local) };
  update();
}

function reset() {
  numbers = { ...first, ...backward(first.local) };
  nodes.forEach((_, i) => { if (isInput(i) && Number.isFinite(first.data[i])) for (const id of [`range${i}`, `input${i}`]) byId(id).value = first.data[i]; });
  replace("trouble", unknown ? say("cannot", { name: unknown }) : "");
  update();
}

function choose(i) { chosen = i; updateGraph(); updateNode(); }

function go(to) {
  step = Math.max(0, Math.min(lastStep, to));
  if (step === lastStep) play(false);
  update();
}

function walk(to) { play(false); go(to); } // whoever steps by hand has taken over

function play(on) {
  if (on && step === lastStep) go(0);
  clearInterval(timer);
  timer = on ? setInterval(() => go(step + 1), 1300) : null;
  byId("play").setAttribute("aria-pressed", String(on));
}

function update() {
  const slider = byId("step");
  slider.value = step;
  slider.className = step > m ? "backward" : "";
  const count = say("stepOf", { k: step, n: lastStep });
  slider.setAttribute("aria-valuetext", count);
  byId("count").value = count;
  for (const [id, off] of [["first", step === 0], ["back", step === 0], ["forward", step === lastStep], ["last", step === lastStep]])
    byId(id).disabled = off;
  updateGraph();
  updateWork();
  updateTable();
  updatePaths();
  updateCurve();
  updateNode();
  byId("title").textContent = `${program.outputName} = ${write(numbers.data[output])}`;
  if (window.frameElement) window.frameElement.height = document.documentElement.scrollHeight + 4;
}

function speak(language) {
  program.language = document.documentElement.lang = language;
  words = allWords[language];
  for (const name of ["vi", "en"]) byId(name).setAttribute("aria-pressed", String(name === language));
  for (const found of document.querySelectorAll("[data-word]")) found.textContent = say(found.dataset.word);
  for (const found of document.querySelectorAll("[data-label]")) {
    found.setAttribute("aria-label", say(found.dataset.label));
    if (found.tagName === "BUTTON") found.title = say(found.dataset.label);
  }
  for (const i of nodes.keys()) if (isInput(i)) for (const id of [`range${i}`, `input${i}`])
    byId(id).setAttribute("aria-label", say("valueOf", { name: title(i) }));
  replace("legend", ...["Input", "Constant", "Output", "Active", "Backward", "Local"].map((k) => element("span", {}, say(`legend${k}`))));
  replace("trouble", unknown ? say("cannot", { name: unknown }) : "");
  update();
}

byId("page").hidden = false;
drawGraph();
drawSliders();
byId("step").max = lastStep;
byId("step").addEventListener("input", (event) => walk(Number(event.target.value)));
for (const [id, act] of Object.entries({
  first: () => walk(0), back: () => walk(step - 1), forward: () => walk(step + 1), last: () => walk(lastStep),
  play: () => play(timer === null), reset, vi: () => speak("vi"), en: () => speak("en"),
})) byId(id).addEventListener("click", act);
byId("from").addEventListener("change", (event) => {
  from = event.target.value === "" ? null : Number(event.target.value);
  updateGraph();
  updatePaths();
  updateCurve();
});
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const at = event.target, own = at instanceof HTMLSelectElement || (at instanceof HTMLInputElement && at.id !== "step");
  if (own) return; // arrows and space mean something else there
  const act = { ArrowRight: () => walk(step + 1), ArrowLeft: () => walk(step - 1), Home: () => walk(0), End: () => walk(lastStep),
    " ": at instanceof HTMLButtonElement ? null : () => play(timer === null) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
speak(program.language);
if (window.frameElement && window.frameElement.nextElementSibling instanceof window.parent.HTMLDetailsElement)
  window.frameElement.nextElementSibling.open = false; // the still frames are for where this script does not run
