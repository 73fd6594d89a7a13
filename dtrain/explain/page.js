"use strict";
// State: the values x of nodes, their adjoints v, what each edge passes, and the step.
const byId = (id) => document.getElementById(id);
const graph = document.querySelector("svg.graph");
const nodes = PROGRAM.nodes;
const numbers = Object.keys(nodes).map(Number);
const x = {}, v = {}, passed = { ...PROGRAM.passed };
for (const i of numbers) x[i] = nodes[i].value;
for (const each of PROGRAM.adjoints) v[each.node] = each.value;
const initial = { ...x };
const adjoint = new Map(PROGRAM.adjoints.map((each) => [each.node, each]));
const boxes = new Map(), edges = new Map();
for (const box of graph.querySelectorAll(".node")) boxes.set(Number(box.dataset.node), box);
for (const edge of graph.querySelectorAll(".edge")) edges.set(edge.dataset.edge, edge);
const steps = [
  { phase: "start" },
  ...numbers.filter((i) => !nodes[i].leaf).map((node) => ({ phase: "forward", node })),
  ...PROGRAM.adjoints.map(({ node }) => ({ phase: "backward", node })),
];
const forwardSteps = steps.filter((each) => each.phase === "forward").length;
let at = 0, selected = null, onlyPath = null;
const meaning = (PROGRAM.scalarOutput ? "∂" : "∂Σ") + PROGRAM.output + "/∂";

// Text of values and expressions.
function round(value, digits) {
  if (typeof value !== "number" || !Number.isFinite(value)) return String(value).replace("-", "−");
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-4 || size >= 10 ** digits)
    ? value.toExponential(digits - 1).replace(/\.?0+e/, "e")
    : String(Number(value.toPrecision(digits)));
  return text.replaceAll("-", "−");
}
const short = (value) => (value !== null && typeof value === "object" ? value.short : round(value, 4));
const long = (value) => (value !== null && typeof value === "object" ? value.long : String(value));
const digits12 = (value) => (typeof value === "number" ? String(Number(value.toPrecision(12))) : long(value));

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}
const adjointName = (i) => make("span", { className: "v" }, "v", make("sub", {}, nodes[i].name));
const valueName = (i) => make("span", { className: "x" }, nodes[i].name);

// The parts of an expression, with names or with numbers.
function written(parts, withNumbers) {
  return parts.map((part) => {
    if (typeof part === "string") return part;
    const [kind, i] = part;
    if (!withNumbers) return kind === "v" ? adjointName(i) : valueName(i);
    const text = short(kind === "v" ? v[i] : x[i]);
    return make("span", { className: kind }, text.startsWith("−") && parts.length > 1 ? `(${text})` : text);
  });
}

function equation(name, parts, value) {
  const whole = make("p", { className: "equation" }, name, " = ", ...written(parts, false));
  const numeric = typeof value === "number";
  if (numeric && parts.length > 1) whole.append("\n = ", ...written(parts, true));
  if (parts.length > 1 || typeof parts[0] !== "string") whole.append("\n = ", long(value).replaceAll("-", "−"));
  return whole;
}

function reader(key) {
  const node = nodes[key.split(":")[0]];
  return `${node.name} = ${node.formula}`;
}

function describe(step) {
  if (step.phase === "start") {
    return [
      make("p", {}, "Forward propagation computes every node from its inputs, level by level. Back-propagation then computes ",
        make("span", { className: "v" }, "v", make("sub", {}, "X"), ` = ${meaning}X`), " at every point X."),
      make("p", { className: "doc" }, "Inputs and weights are given."),
    ];
  }
  const i = step.node, node = nodes[i];
  if (step.phase === "forward") {
    return [equation(valueName(i), node.parts, x[i]), make("p", { className: "doc" }, node.doc)];
  }
  const { parts, edges: sources } = adjoint.get(i);
  const named = i === PROGRAM.end
    ? (PROGRAM.scalarOutput ? "The derivative of the output by itself." : "The output is an array: the sum of its elements is differentiated.")
    : sources.length > 1
      ? `${node.name} has ${sources.length} readers: the results of their transfer functions are added.`
      : `By the transfer function of ${reader(sources[0])}.`;
  return [equation(adjointName(i), parts, v[i]), make("p", { className: "doc" }, named)];
}

// Show the current step.
function show() {
  const step = steps[at];
  const known = new Set(numbers.filter((i) => nodes[i].leaf));
  const reached = new Set();
  for (const each of steps.slice(1, at + 1)) (each.phase === "forward" ? known : reached).add(each.node);
  graph.classList.toggle("forward", step.phase === "forward");
  graph.classList.toggle("backward", step.phase === "backward");
  for (const [i, box] of boxes) {
    box.querySelector(".x").textContent = known.has(i) ? short(x[i]) : "";
    box.querySelector(".v").textContent = reached.has(i) ? `v ${short(v[i])}` : "";
    box.classList.toggle("now", step.node === i);
    box.classList.toggle("reached", known.has(i));
  }
  for (const [key, edge] of edges) {
    const source = Number(edge.dataset.source), target = Number(key.split(":")[0]);
    edge.querySelector(".x").textContent = known.has(source) ? short(x[source]) : "";
    edge.querySelector(".v").textContent = reached.has(source) && key in passed ? `v ${short(passed[key])}` : "";
    const active = step.phase === "forward" ? target : step.phase === "backward" ? source : null;
    edge.classList.toggle("now", active === step.node && step.phase !== "start");
  }
  const card = byId("step");
  card.className = step.phase;
  card.replaceChildren(...describe(step));
  const progress = step.phase === "start" ? "Start"
    : step.phase === "forward" ? `Forward ${at} of ${forwardSteps}, level ${nodes[step.node].level}`
      : `Backward ${at - forwardSteps} of ${steps.length - 1 - forwardSteps}`;
  byId("progress").textContent = progress;
  byId("first").disabled = byId("back").disabled = at === 0;
  byId("next").disabled = byId("last").disabled = at === steps.length - 1;
}

function go(to) {
  at = Math.max(0, Math.min(steps.length - 1, to));
  show();
  if (at > 0) bring(boxes.get(steps[at].node));
}

// Scroll the board, not the page, to make a node visible.
function bring(box) {
  const board = byId("board"), frame = board.getBoundingClientRect(), here = box.getBoundingClientRect();
  const margin = Math.min(110, (frame.width - here.width) / 2);
  if (here.left < frame.left + margin) board.scrollLeft -= frame.left + margin - here.left;
  if (here.right > frame.right - margin) board.scrollLeft += here.right - frame.right + margin;
  if (here.top < frame.top + 20) board.scrollTop -= frame.top + 20 - here.top;
  if (here.bottom > frame.bottom - 20) board.scrollTop += here.bottom - frame.bottom + 20;
}

// Weights and their paths.
function fillWeights() {
  const rows = PROGRAM.weights.map((weight, k) => {
    const button = make("button", { type: "button", textContent: weight.name });
    button.setAttribute("aria-pressed", String(selected === k));
    button.setAttribute("aria-label", `weight ${weight.name}: show its paths`);
    button.addEventListener("click", () => select(k));
    return make("tr", { id: `weight-${k}` },
      make("td", {}, button), make("td", { className: "value" }, long(x[weight.node])),
      make("td", { className: "gradient v" }, long(weight.gradient)), make("td", {}, weight.count));
  });
  byId("weights").tBodies[0].replaceChildren(...rows);
  byId("output").textContent = long(x[PROGRAM.end]);
}

function select(k) {
  selected = selected === k ? null : k;
  onlyPath = null;
  light();
}

function light() {
  const weight = selected === null ? null : PROGRAM.weights[selected];
  for (const [i, box] of boxes) {
    box.classList.remove("lit");
    if (box.hasAttribute("aria-pressed")) box.setAttribute("aria-pressed", String(weight !== null && weight.node === i));
  }
  for (const edge of edges.values()) edge.classList.remove("lit");
  graph.classList.toggle("lighting", weight !== null);
  byId("weights").querySelectorAll("button").forEach((button, k) => button.setAttribute("aria-pressed", String(selected === k)));
  if (weight !== null) {
    boxes.get(weight.node).classList.add("lit");
    for (const key of litEdges(weight)) {
      edges.get(key).classList.add("lit");
      boxes.get(Number(key.split(":")[0])).classList.add("lit");
    }
  }
  listPaths(weight);
}

// The edges on any path from the weight, found without visiting the paths.
function litEdges(weight) {
  if (onlyPath !== null) return weight.paths[onlyPath].edges;
  const from = new Set([weight.node]), to = new Set([PROGRAM.end]);
  const all = [...edges.keys()].map((key) => [key, Number(edges.get(key).dataset.source), Number(key.split(":")[0])]);
  for (const [, source, target] of [...all].sort((a, b) => a[2] - b[2])) if (from.has(source)) from.add(target);
  for (const [, source, target] of [...all].sort((a, b) => b[2] - a[2])) if (to.has(target)) to.add(source);
  return all.filter(([, source, target]) => from.has(source) && to.has(target)).map(([key]) => key);
}

function listPaths(weight) {
  const section = byId("paths");
  if (weight === null) {
    section.replaceChildren(make("p", { className: "note" }, "Select a weight, here or in the graph, to see the paths whose products add up to its derivative."));
    return;
  }
  const title = make("h2", {}, `${meaning}${weight.name} as a sum over paths`);
  if (weight.paths === null) {
    section.replaceChildren(title, make("p", { id: "too-many" },
      `${weight.count} ${weight.count === "1" ? "path" : "paths"}, ${weight.why}. Back-propagation does not visit them one by one: `, make("span", { className: "number v" }, long(weight.gradient))));
    return;
  }
  const rows = weight.paths.map((path, k) => {
    const button = make("button", { type: "button", textContent: path.steps });
    button.setAttribute("aria-pressed", String(onlyPath === k));
    button.addEventListener("click", () => {
      onlyPath = onlyPath === k ? null : k;
      light();
      byId("paths").querySelectorAll("button")[k].focus();
    });
    return make("tr", {}, make("td", {}, button), make("td", { className: "product" }, digits12(path.product)));
  });
  const table = make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "path"), make("th", { scope: "col", className: "product" }, "product of derivatives"))),
    make("tbody", {}, ...rows,
      make("tr", { className: "total" }, make("td", {}, "sum over the paths"), make("td", { id: "sum" }, digits12(weight.sum))),
      make("tr", {}, make("td", {}, "back-propagation"), make("td", { id: "propagated", className: "v" }, digits12(weight.gradient)))));
  section.replaceChildren(title, make("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": "paths" }, table), verdict(weight));
}

function verdict(weight) {
  const gap = Math.abs(weight.sum - weight.gradient);
  const words = Number.isNaN(gap) ? "" : gap === 0 ? "Equal to the last digit." : `They differ by ${round(gap, 2)}, a rounding error.`;
  return make("p", { className: "verdict" }, words);
}

// Clicks and keys.
function clicked(i) {
  const weight = PROGRAM.weights.findIndex(({ node }) => node === i);
  if (weight >= 0) return select(weight);
  const phase = steps[at].phase === "backward" && adjoint.has(i) || nodes[i].leaf ? "backward" : "forward";
  const step = steps.findIndex((each) => each.phase === phase && each.node === i);
  if (step >= 0) go(step);
}
for (const [i, box] of boxes) {
  box.addEventListener("click", () => clicked(i));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      clicked(i);
    }
  });
}
const moves = { ArrowRight: () => at + 1, ArrowLeft: () => at - 1, Home: () => 0, End: () => steps.length - 1 };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target instanceof HTMLInputElement) return;
  if (event.key in moves) {
    event.preventDefault();
    go(moves[event.key]());
  } else if (event.key === "Escape") {
    selected = onlyPath = null;
    light();
  }
});
byId("first").addEventListener("click", () => go(0));
byId("back").addEventListener("click", () => go(at - 1));
byId("next").addEventListener("click", () => go(at + 1));
byId("last").addEventListener("click", () => go(steps.length - 1));
byId("norm").hidden = numbers.every((i) => typeof x[i] !== "object");
byId("meaning").textContent = `${meaning}X`;
byId("derivative").textContent = `${meaning}W`;
byId("output-name").textContent = PROGRAM.output;
fillPoint();
fillWeights();
fillSliders();
light();
show();
