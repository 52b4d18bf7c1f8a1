// The before/after slider. `show` draws a model into an element: in a notebook the widget's (the default export is an
// anywidget), on a static page one that `pageModel` makes of the pictures that stand there. This file and
// compare_controls.js, joined, are one module.

const NAMES = ["before", "after", "clean"];
const HINTS = {
  split: "drag the divider",
  blink: "click or Space: swap by hand",
  difference: "black: no difference",
  "side by side": "the pictures move together",
};
const GAIN = 4; // differences are shown so many times as strong; the style sheet does it

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function elements() {
  const image = (className) => make("img", { className, draggable: false });
  const figures = NAMES.map((name) => {
    const pictures = make("div", { className: "pictures" }, image("own"), image("reference"));
    return make("figure", { className: name }, pictures, make("figcaption"));
  });
  const images = figures.map((figure) => figure.querySelector(".own"));
  const references = figures.map((figure) => figure.querySelector(".reference"));
  const divider = make("div", { className: "divider" });
  const input = make("input", { type: "range", min: 0, max: 100, step: "any" });
  const stage = make("div", { className: "stage" }, ...figures, divider, input);
  return { figures, images, references, divider, input, stage, hint: make("p", { className: "hint" }) };
}

/** The address of a picture: bytes of the widget, or already an address on a static page; "" for no picture. */
function address(value) {
  if (typeof value === "string") return value;
  return value.byteLength ? URL.createObjectURL(new Blob([value], { type: "image/png" })) : "";
}

/** Exchanges the pictures when `load` is called: all at once, when they are decoded, the newest ones; then `done`. */
function exchanger(model, { images, references }, done) {
  const sources = Object.fromEntries(NAMES.map((name) => [name, { value: null, url: "" }]));
  let [loading, stale] = [false, false];

  async function load() {
    stale = true;
    if (loading) return;
    loading = true;
    while (stale) {
      stale = false;
      const changed = NAMES.filter((name) => model.get(name) !== sources[name].value);
      const next = changed.map((name) => ({ value: model.get(name), url: address(model.get(name)) }));
      const probes = next.map(({ url }) => make("img", { src: url }));
      const decoded = await Promise.allSettled(probes.map((probe, k) => next[k].url && probe.decode()));
      const bad = changed.filter((_, k) => decoded[k].status === "rejected");
      if (bad.length) next.forEach(({ url }) => URL.revokeObjectURL(url));
      else changed.forEach((name, k) => put(name, next[k]));
      done(bad.length ? `The picture "${bad.join('", "')}" cannot be decoded.` : "");
    }
    loading = false;
  }

  function put(name, source) {
    const old = sources[name].url;
    sources[name] = source;
    set(images[NAMES.indexOf(name)], source.url);
    set(references[0], sources.clean.url || sources.after.url);
    set(references[1], sources.clean.url);
    URL.revokeObjectURL(old);
  }

  function set(image, url) {
    if (!url) image.removeAttribute("src");
    else if (image.src !== url) image.src = url;
  }

  const close = () => Object.values(sources).forEach(({ url }) => URL.revokeObjectURL(url));
  return { load, close, hasClean: () => Boolean(sources.clean.url) };
}

/** Draw a model into `root`, and follow it; returns a function that ends this. */
function show(root, model) {
  const parts = elements();
  const { figures, images, stage, input, hint } = parts;
  const exchange = exchanger(model, parts, (error) => {
    failed = error;
    arrange();
  });
  let failed = "";

  const view = {
    ...parts,
    root,
    model,
    swapped: null, // in the mode blink, the picture (0 or 1) shown by hand
    hasClean: exchange.hasClean,
    divided() {
      return model.get("mode") === "split" || (model.get("mode") === "difference" && exchange.hasClean());
    },
    /** CSS pixels per image pixel. */
    scale: () => (figures[0].clientWidth / (images[0].naturalWidth || 1)) * model.get("zoom"),
    /** The point in the middle, moved so that the picture covers its frame. */
    center: (zoom = model.get("zoom"), point = model.get("center")) =>
      point.map((value) => clamp(value, 0.5 / zoom, 1 - 0.5 / zoom)),
    arrange,
  };
  const act = actions(view);
  const controls = toolbar(view, act);
  gestures(view, act);

  function arrange() {
    const [mode, zoom, position, labels] = ["mode", "zoom", "position", "labels"].map((name) => model.get(name));
    const clean = exchange.hasClean();
    const divided = view.divided();
    const [x, y] = view.center();
    if (mode !== "blink") view.swapped = null;
    Object.assign(root.dataset, { mode, swapped: view.swapped ?? "no" });
    for (const [name, on] of Object.entries({ divided, zoomed: zoom > 1, "with-clean": clean }))
      root.classList.toggle(name, on);
    const style = {
      "--width": `${model.get("width")}px`,
      "--columns": mode === "side by side" ? 2 + clean : 1,
      "--ratio": `${images[0].naturalWidth || 4} / ${images[0].naturalHeight || 3}`,
      "--zoom": zoom,
      "--x": `${100 * (0.5 - x * zoom)}%`,
      "--y": `${100 * (0.5 - y * zoom)}%`,
      "--position": `${100 * position}%`,
      "--gain": GAIN,
    };
    for (const [name, value] of Object.entries(style)) root.style.setProperty(name, value);

    const difference = (k, reference) => `|${labels[k]} − ${labels[reference]}| × ${GAIN}`;
    const captions = [...labels];
    if (mode === "difference") captions.splice(0, 2, difference(0, clean ? 2 : 1), difference(1, 2));
    figures.forEach((figure, k) => {
      figure.querySelector("figcaption").textContent = captions[k];
      images[k].alt = captions[k];
    });
    if (Number(input.value) !== 100 * position) input.value = 100 * position;
    input.ariaLabel = `divider: ${labels[0]} on its left, ${labels[1]} on its right`;
    input.ariaValueText = divided ? `${Math.round(100 * position)}% ${captions[0]}` : mode;
    const zoomHint = "Ctrl + wheel zooms; after a click, the wheel alone";
    const panHint = divided ? "drag elsewhere to pan" : "drag to pan";
    const hints = [HINTS[mode], zoom > 1 ? panHint : zoomHint, model.get("note")];
    hint.textContent = failed || hints.filter(Boolean).join(" · ");
    controls.follow();
    measure();
  }

  /** What depends on the width on the page. */
  function measure() {
    root.classList.toggle("sharp", view.scale() > 1.999);
    controls.measure();
  }

  const load = () => queueMicrotask(exchange.load); // after all changes of one message
  const subscribe = (how) => {
    for (const name of [...NAMES, "labels"]) model[how](`change:${name}`, load);
    for (const name of ["mode", "position", "zoom", "center", "width"]) model[how](`change:${name}`, arrange);
  };
  subscribe("on");
  const observer = new ResizeObserver(measure);
  observer.observe(stage);
  exchange.load().then(() => {
    root.classList.add("live");
    root.replaceChildren(controls.bar, stage, hint);
    measure();
  });
  return () => {
    subscribe("off");
    observer.disconnect();
    exchange.close();
    act.close();
  };
}

/** The model of a slider that no kernel stands behind. */
function pageModel(values) {
  const listeners = {};
  return {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      listeners[`change:${name}`]?.forEach((listener) => listener());
    },
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    save_changes() {},
  };
}

/** Turn the pictures on this page that are not sliders yet into sliders. */
function enliven() {
  for (const root of document.querySelectorAll(".daclip-compare[data-settings]")) {
    const urls = [...root.querySelectorAll("img")].map((image) => image.src);
    const pictures = Object.fromEntries(NAMES.map((name, k) => [name, urls[k] ?? ""]));
    const settings = JSON.parse(root.dataset.settings);
    delete root.dataset.settings;
    show(root, pageModel({ ...settings, ...pictures }));
  }
}

function render({ model, el }) {
  const root = make("div", { className: "daclip-compare" });
  el.append(root);
  return show(root, model);
}

export default { render };
