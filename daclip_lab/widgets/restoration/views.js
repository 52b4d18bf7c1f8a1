// The two halves of the restoration lab. Python holds the state: a control sends what a person chose, and follows.

const MEGABYTE = 2 ** 20;
const PART = 4 * MEGABYTE; // of a file in one message; Jupyter closes the connection at 10
const LARGEST = 20 * MEGABYTE;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  node.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys of what has the focus
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function field(text, control) {
  control.setAttribute("aria-label", text); // a list would be called by all its options
  return make("label", { class: `field ${control.type}` }, make("span", {}, text), control);
}

/** A list of [text, value]; `show(choices, value)` updates it in place. */
function list(send) {
  let choices = [];
  const node = make("select", { change: () => send(choices[node.selectedIndex][1]) });
  const show = (now, value) => {
    if (JSON.stringify(now) !== JSON.stringify(choices)) {
      choices = now;
      node.replaceChildren(...now.map(([text]) => make("option", {}, text)));
    }
    node.selectedIndex = now.findIndex(([, each]) => each === value);
  };
  return { node, show };
}

/** A field for a whole number or a text, sent when Enter is pressed or the field is left. */
function entry(attributes, send) {
  let known = "";
  const commit = () => {
    if (node.value === known) return;
    known = node.value;
    send(node.value);
  };
  const node = make("input", { ...attributes, change: commit,
    keydown: (event) => { if (event.key === "Enter") commit(); } });
  const show = (value) => {
    if (String(value) !== known || document.activeElement !== node) node.value = known = String(value);
  };
  return { node, show };
}

/** One line of the table: a severity to set, and the bar of what is predicted. */
function row(label, settable, predictable, send) {
  let severity = 0; // the slider rounds one that Python has set
  const name = make("span", { class: "name" }, label);
  const slider = make("input", {
    type: "range", min: 0, max: 1, step: 0.05, value: 0, "aria-label": `severity of ${label}`,
    input: () => { severity = Number(slider.value); write(); send(); },
  });
  const number = make("output");
  const fill = make("i");
  const bar = make("div", { class: "bar", role: "meter", "aria-label": `probability of ${label}`,
    "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const percent = make("span", { class: "percent" });
  const write = () => { number.textContent = severity ? severity.toFixed(2) : ""; };
  const node = make("div", { class: "row" }, name, settable ? slider : "", number,
    predictable ? bar : "", percent);
  if (!settable) number.before(make("span"));
  return {
    node, label, settable,
    get severity() { return severity; },
    show(now, given, disabled) {
      slider.value = severity = now;
      slider.disabled = disabled;
      write();
      node.classList.toggle("given", given);
      name.title = given ? `the photo is ${label}` : "";
    },
    predict(probability) {
      const known = probability !== undefined;
      fill.style.width = `${100 * (probability ?? 0)}%`;
      percent.textContent = known ? `${Math.round(100 * probability)} %` : "";
      bar.setAttribute("aria-valuenow", Math.round(100 * (probability ?? 0)));
    },
  };
}

function inputs({ model, el }) {
  const view = crypto.randomUUID?.() ?? String(Math.random());
  let sent = 0;
  const set = (changes) => model.send({ set: changes, view, serial: ++sent });
  const does = (action) => () => model.send({ do: action });

  const error = make("p", { class: "error", role: "alert" });
  const photo = list((value) => set({ photo: value }));
  const size = list((value) => set({ size: value }));
  const path = entry({ type: "text", placeholder: "path" },
    (value) => value && set({ photo: value }));
  const file = make("input", { type: "file", accept: "image/*", class: "file", "aria-label": "Upload a photo",
    change: () => { if (file.files[0]) upload(model, file.files[0], error); file.value = ""; } });
  const already = make("input", { type: "checkbox",
    change: () => set({ already_degraded: already.checked }) });
  const pattern = entry({ type: "number", min: 0, step: 1 }, (value) => set({ degradation_seed: Number(value) }));
  const table = make("div", { class: "table" });
  const conditioning = list((value) => {
    const { words: typed, degradations } = model.get("values");
    const first = Object.keys(degradations)[0] ?? "clean"; // something to begin with
    set({ conditioning: value, ...(value === "words" && !typed ? { words: first } : {}) });
  });
  const wrong = list((value) => set({ words: value }));
  const words = entry({ type: "text", placeholder: "such as rainy" }, (value) => set({ words: value }));
  const weights = list((value) => set({ weights: value }));
  const [wrongField, wordsField, weightsField] = [field("Wrong word", wrong.node),
    field("Words", words.node), field("Weights", weights.node)];
  const sampler = list((value) => set({ sampler: value }));
  const steps = entry({ type: "number", min: 1, step: 1 }, (value) => set({ steps: Number(value) }));
  const seed = entry({ type: "number", min: 0, step: 1 }, (value) => set({ seed: Number(value) }));
  const restore = make("button", { class: "main", click: does("restore") }, "Restore");
  const cancel = make("button", { click: does("cancel") }, "Cancel");
  const live = make("input", { type: "checkbox",
    change: () => {
      model.set("live", live.checked);
      model.save_changes();
      if (live.checked) does("restore")();
    } });
  const progress = make("progress", { max: 1, "aria-label": "progress of the restoration" });
  const status = make("span", { class: "status", role: "status" });

  const box = (input, text) => make("label", { class: "check" }, input, text);
  el.classList.add("daclip-lab", "inputs");
  el.append(
    make("div", { class: "fields source" }, field("Photo", photo.node), field("Size (px)", size.node),
      field("File", path.node), make("label", { class: "upload button" }, file, "Upload…")),
    make("div", { class: "line" }, box(already, "The photo is already degraded"),
      make("label", { class: "short" }, "seed of the degradations ", pattern.node)),
    table,
    make("div", { class: "fields" }, field("Conditioning", conditioning.node), wrongField, wordsField,
      weightsField, field("Sampler", sampler.node), field("Steps", steps.node),
      field("Seed", seed.node)),
    make("div", { class: "line" }, restore, cancel, box(live, "restore after each change")),
    make("div", { class: "line" }, progress, status),
    error, // below, since it must not move a control under the hand
  );

  let rows = [];
  function build() {
    const head = ["", "severity", "", "DA-CLIP predicts", ""].map((text) => make("span", {}, text));
    const send = () => set({ degradations: Object.fromEntries(
      rows.filter((each) => each.settable && each.severity).map((each) => [each.label, each.severity])) });
    rows = model.get("rows").map(([label, settable, predictable]) => row(label, settable, predictable, send));
    table.replaceChildren(make("div", { class: "row head" }, ...head), ...rows.map((each) => each.node));
    follow();
    predict();
  }
  function follow() {
    const [values, choices] = [model.get("values"), model.get("choices")];
    if (values.view === view && values.serial < sent) return; // of a position that the hand has left
    photo.show(choices.photo, values.photo);
    size.show(choices.size, values.size);
    path.show(choices.photo.some(([, each]) => each === values.photo) ? "" : values.photo);
    already.checked = values.already_degraded;
    pattern.show(values.degradation_seed);
    pattern.node.disabled = values.already_degraded;
    for (const each of rows) {
      const severity = values.degradations[each.label] ?? 0;
      each.show(severity, severity > 0 && !values.already_degraded, values.already_degraded);
    }
    conditioning.show(choices.conditioning, values.conditioning);
    wrong.show(choices.wrong, values.wrong);
    words.show(values.words);
    wrongField.hidden = values.conditioning !== "wrong word";
    wordsField.hidden = values.conditioning !== "words";
    weights.show(choices.weights, values.weights);
    weightsField.hidden = choices.weights.length < 2;
    sampler.show(choices.sampler, values.sampler);
    steps.show(values.steps);
    seed.show(values.seed);
  }
  function predict() {
    for (const each of rows) each.predict(model.get("predicted")[each.label]);
  }
  function run() {
    cancel.disabled = !model.get("busy");
    progress.value = model.get("progress");
    status.textContent = model.get("status");
    live.checked = model.get("live");
    error.textContent = model.get("error");
  }
  build();
  run();
  return listen(model, { rows: build, values: follow, choices: follow, predicted: predict, busy: run,
    progress: run, status: run, live: run, error: run });
}

async function upload(model, file, error) {
  if (file.size > LARGEST) {
    error.textContent = `${file.name}: ${Math.ceil(file.size / MEGABYTE)} MB: wanted at most 20 MB`;
    return;
  }
  const bytes = await file.arrayBuffer();
  const parts = Math.max(1, Math.ceil(bytes.byteLength / PART));
  for (let part = 0; part < parts; part += 1) {
    model.send({ upload: file.name, part, parts }, undefined, [bytes.slice(part * PART, (part + 1) * PART)]);
  }
}

function outcome({ model, el }) {
  const slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "step of the restoration",
    input: () => { model.set("step", Number(slider.value)); model.save_changes(); } });
  const moment = make("output");
  const measures = make("p", { class: "measures", role: "status" });
  const code = make("pre", { tabindex: "0", "aria-label": "the lines of code" });
  const lines = make("details", {}, make("summary", {}, "Show the lines"), code);
  const copy = make("button", { click: () => copied() }, "Copy as code");
  el.classList.add("daclip-lab", "outcome");
  el.append(
    make("label", { class: "walk" }, make("span", {}, "Step"), slider, moment),
    measures, make("div", { class: "line" }, copy, lines));

  async function copied() {
    try {
      await navigator.clipboard.writeText(model.get("code"));
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy as code"; }, 1500);
    } catch { // a page without the right to the clipboard: the lines, selected
      lines.open = true;
      getSelection().selectAllChildren(code);
    }
  }
  function follow() {
    slider.max = model.get("steps");
    slider.value = model.get("step");
    slider.disabled = model.get("steps") === 0;
    moment.textContent = model.get("moment");
    slider.setAttribute("aria-valuetext", model.get("moment"));
    measures.textContent = model.get("measures");
    code.textContent = model.get("code");
  }
  follow();
  return listen(model, { steps: follow, step: follow, moment: follow, measures: follow, code: follow });
}

function listen(model, handlers) {
  for (const [name, handler] of Object.entries(handlers)) model.on(`change:${name}`, handler);
  return () => {
    for (const [name, handler] of Object.entries(handlers)) model.off(`change:${name}`, handler);
  };
}

export default { render: (context) => (context.model.get("part") === "inputs" ? inputs : outcome)(context) };
