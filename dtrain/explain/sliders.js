// Sliders: compute everything at another point, for programs of scalars.
function compute() {
  for (const i of numbers) if (!nodes[i].leaf) x[i] = COMPUTE.forward[i](x, 0);
  for (const { node } of PROGRAM.adjoints) v[node] = node === PROGRAM.end ? 1 : 0;
  for (const { node, edges: read } of PROGRAM.adjoints) {
    if (node === PROGRAM.end) continue;
    let total = null;
    for (const key of [...read].sort(latestFirst)) {
      passed[key] = COMPUTE.back[key](x, v[Number(key.split(":")[0])]);
      total = total === null ? passed[key] : total + passed[key];
    }
    v[node] = total;
  }
  for (const weight of PROGRAM.weights) {
    weight.gradient = v[weight.node] ?? 0;
    if (weight.paths === null) continue;
    for (const path of weight.paths) path.product = path.edges.reduceRight((product, key) => derivative(key) * product, 1);
    weight.sum = weight.paths.reduce((sum, path) => sum + path.product, 0);
  }
  fillWeights();
  fillPoint();
  light();
  show();
}
// The derivative of a node by one input; comparisons and similar functions pass none.
const derivative = (key) => (key in COMPUTE.back ? COMPUTE.back[key](x, 1) : 0);
// The order of back-propagation: the last reader first, then by input.
function latestFirst(a, b) {
  const [m, j] = a.split(":").map(Number), [n, k] = b.split(":").map(Number);
  return n - m || j - k;
}

function fillPoint() {
  const texts = PROGRAM.inputs.map(([name, i]) => `${name} = ${typeof x[i] === "number" ? String(x[i]).replace("-", "−") : x[i].long}`);
  byId("point").textContent = texts.length ? `at ${texts.join(", ")}` : "";
}

function fillSliders() {
  const section = byId("sliders");
  if (COMPUTE === null) {
    byId("below").classList.add("arrays");
    section.append(make("p", { className: "note", id: "no-sliders" }, PROGRAM.why));
    return;
  }
  const leaves = [...PROGRAM.inputs, ...PROGRAM.weights.map(({ name, node }) => [name, node])];
  const controls = leaves.map(([name, i]) => slider(name, i));
  const reset = make("button", { type: "button", id: "reset", textContent: "Reset to the first point" });
  reset.addEventListener("click", () => {
    for (const [, i] of leaves) x[i] = initial[i];
    for (const each of controls) each.update();
    compute();
  });
  section.append(...controls.map((each) => each.row), reset,
    make("p", { className: "note" }, "When a slider moves, this page computes all values and derivatives in double precision."));
}

function slider(name, i) {
  const reach = Math.max(3, Math.ceil(2 * Math.abs(x[i]) || 0));
  const range = make("input", { type: "range", min: -reach, max: reach, step: reach / 300, id: `range-${i}` });
  const number = make("input", { type: "number", step: "any", id: `number-${i}` });
  range.setAttribute("aria-label", name);
  number.setAttribute("aria-label", `${name}, as a number`);
  const update = () => { range.value = x[i]; number.value = x[i]; };
  const take = (value, other) => {
    if (value.trim() === "" || !Number.isFinite(Number(value))) return;
    x[i] = Number(value);
    other.value = value;
    compute();
  };
  range.addEventListener("input", () => take(range.value, number));
  number.addEventListener("input", () => take(number.value, range));
  update();
  return { update, row: make("div", { className: "slider" }, make("label", { htmlFor: range.id }, name), range, number) };
}

