// The before/after slider. `show` draws a model into an element: in a notebook the widget's (the default export is an
// anywidget), on a static page one that `pageModel` makes of the pictures that stand there.

const NAMES = ["before", "after", "clean"];
const HINTS = {
  split: "drag the divider",
  blink: "click or Space: swap by hand",
  difference: "black: no difference",
  "side by side": "the pictures move together",
};
const GAIN = 4; // differences are shown so many times as strong; the style sheet does it
const STOPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]; // CSS pixels per image pixel at which the zoom buttons stop
const DELAY = 80; // milliseconds between two messages to Python while something is dragged

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The address of a picture: bytes of the widget, or already an address on a static page; "" for no picture. */
function address(value) {
  if (typeof value === "string") return value;
  return value.byteLength ? URL.createObjectURL(new Blob([value], { type: "image/png" })) : "";
}

function show(root, model) {
  const picture = (className) => make("img", { className, draggable: false });
  const figures = NAMES.map((name) => {
    const pictures = make("div", { className: "pictures" }, picture("own"), picture("reference"));
    return make("figure", { className: name }, pictures, make("figcaption"));
  });
  const images = figures.map((figure) => figure.querySelector(".own"));
  const references = figures.map((figure) => figure.querySelector(".reference"));
  const divider = make("div", { className: "divider" });
  const input = make("input", { type: "range", min: 0, max: 100, step: "any" });
  const stage = make("div", { className: "stage" }, ...figures, divider, input);
  const hint = make("p", { className: "hint" });

  // ---- what is shown ----

  const sources = Object.fromEntries(NAMES.map((name) => [name, { value: null, url: "" }]));
  let [loading, stale, failed] = [false, false, ""];
  let swapped = null; // in the mode blink, the picture (0 or 1) shown by hand

  /** Exchange the pictures, all at once and only when they are decoded; the newest win. */
  async function load() {
    stale = true;
    if (loading) return;
    loading = true;
    while (stale) {
      stale = false;
      const changed = NAMES.filter((name) => model.get(name) !== sources[name].value);
      const next = changed.map((name) => ({ value: model.get(name), url: address(model.get(name)) }));
      failed = "";
      const decoded = next.map(({ url }, k) => {
        const probe = make("img", { src: url });
        const fail = () => (failed = `The picture "${changed[k]}" cannot be decoded.`);
        return url && probe.decode().catch(fail);
      });
      await Promise.all(decoded);
      if (failed) next.forEach(({ url }) => URL.revokeObjectURL(url));
      else changed.forEach((name, k) => exchange(name, next[k]));
      arrange();
    }
    loading = false;
  }

  function exchange(name, source) {
    const old = sources[name].url;
    sources[name] = source;
    images[NAMES.indexOf(name)].src = source.url;
    const { after, clean } = sources;
    [clean.url || after.url, clean.url].forEach((url, k) => {
      if (references[k].src !== url) references[k].src = url;
    });
    URL.revokeObjectURL(old);
  }

  const divided = () =>
    model.get("mode") === "split" || (model.get("mode") === "difference" && Boolean(sources.clean.url));
  /** CSS pixels per image pixel. */
  const scale = () => (figures[0].clientWidth / (images[0].naturalWidth || 1)) * model.get("zoom");
  /** The point in the middle, moved so that the picture covers its frame. */
  const center = (zoom = model.get("zoom"), point = model.get("center")) =>
    point.map((value) => clamp(value, 0.5 / zoom, 1 - 0.5 / zoom));

  function arrange() {
    const [mode, zoom, position, labels] = ["mode", "zoom", "position", "labels"].map((name) => model.get(name));
    const clean = Boolean(sources.clean.url);
    const [x, y] = center();
    if (mode !== "blink") swapped = null;
    Object.assign(root.dataset, { mode, swapped: swapped ?? "no" });
    root.classList.toggle("divided", divided());
    root.classList.toggle("zoomed", zoom > 1);
    root.classList.toggle("with-clean", clean);
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
    input.ariaValueText = divided() ? `${Math.round(100 * position)}% ${captions[0]}` : mode;
    hold.textContent = `hold for ${labels[2]}`;
    radios.forEach((radio) => (radio.checked = radio.value === mode));
    const drag = zoom > 1 ? "drag elsewhere to pan" : "Ctrl + wheel zooms; after a click, the wheel alone";
    hint.textContent = failed || [HINTS[mode], drag, model.get("note")].filter(Boolean).join(" · ");
    measure();
  }

  /** What depends on the width on the page. */
  function measure() {
    root.classList.toggle("sharp", scale() > 1.999);
    readout.textContent = `${Math.round(100 * scale())} %`;
  }

  // ---- what is changed ----

  let waiting = 0;
  /** Other views and linked widgets follow at once; Python follows on release, and now and then before. */
  function put(values, released = false) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    const save = () => {
      clearTimeout(waiting);
      waiting = 0;
      model.save_changes();
    };
    if (released) save();
    else waiting ||= setTimeout(save, DELAY);
  }

  /** Zoom so that the point of the picture at (x, y) of the frame, each 0..1, stays where it is. */
  function zoomTo(wanted, x = 0.5, y = 0.5) {
    const zoom = model.get("zoom");
    const next = clamp(wanted, 1, Math.max(1, (STOPS.at(-1) * zoom) / scale()));
    const moved = center().map((value, k) => value + ([x, y][k] - 0.5) * (1 / zoom - 1 / next));
    put({ zoom: next, center: center(next, moved) });
  }

  function step(direction) {
    const now = scale();
    const fit = now / model.get("zoom");
    const stops = [fit, ...STOPS.filter((stop) => stop > fit)];
    const next = direction > 0 ? stops.find((stop) => stop > 1.001 * now) : stops.findLast((stop) => stop < 0.999 * now);
    if (next) zoomTo(next / fit);
  }

  const pan = (dx, dy, from = center()) =>
    put({ center: center(undefined, [from[0] + dx / model.get("zoom"), from[1] + dy / model.get("zoom")]) });

  function swap() {
    const seen = model.get("mode") === "blink" ? Number(getComputedStyle(figures[1]).opacity) : 1;
    swapped = 1 - seen;
    put({ mode: "blink" }, true);
    arrange();
  }

  const reveal = (on) => root.classList.toggle("revealed", on && Boolean(sources.clean.url));

  // ---- controls ----

  const button = (textContent, title, act) => {
    const made = make("button", { type: "button", textContent, title, ariaLabel: title });
    made.addEventListener("click", act);
    return made;
  };
  const group = `mode-${Math.random()}`; // radio buttons of one name belong together, on the whole page
  const radios = Object.keys(HINTS).map((value) => make("input", { type: "radio", name: group, value }));
  const modes = make("div", { className: "modes", role: "radiogroup", ariaLabel: "mode" });
  for (const radio of radios) {
    modes.append(make("label", {}, radio, make("span", { textContent: radio.value })));
    radio.addEventListener("change", () => {
      swapped = null;
      put({ mode: radio.value }, true);
    });
  }
  const hold = make("button", { type: "button", className: "hold", title: "key: C" });
  hold.addEventListener("pointerdown", () => reveal(true));
  hold.addEventListener("keydown", (event) => reveal([" ", "Enter"].includes(event.key)));
  for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"])
    hold.addEventListener(name, () => reveal(false));
  const readout = make("output", { title: "screen pixels per image pixel" });
  const zooms = make("div", { className: "zooms", role: "group", ariaLabel: "zoom" });
  const fit = button("fit", "show the whole picture (0, double click)", () => zoomTo(1));
  zooms.append(button("−", "zoom out (−)", () => step(-1)), readout, button("+", "zoom in (+)", () => step(1)), fit);
  const bar = make("div", { className: "bar" }, modes, hold, zooms);

  // ---- pointer, wheel and keyboard ----

  const place = ({ target, clientX, clientY }) => {
    const box = (target.closest("figure") ?? figures[0]).getBoundingClientRect();
    return { box, x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  };

  stage.addEventListener("mousedown", (event) => {
    event.preventDefault(); // nothing is selected
    input.focus({ preventScroll: true });
  });
  let pressed = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    const { box, x, y } = place(event);
    const from = center();
    const divide = divided() && (event.target === divider || model.get("zoom") === 1);
    pressed = event;
    stage.setPointerCapture(event.pointerId);
    stage.onpointermove = ({ clientX, clientY }) => {
      const [dx, dy] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
      if (divide) put({ position: clamp(dx, 0, 1) });
      else if (model.get("zoom") > 1) pan(x - dx, y - dy, from);
    };
    stage.onpointermove(event);
  });
  stage.addEventListener("lostpointercapture", () => {
    stage.onpointermove = null;
    put({}, true);
  });
  stage.addEventListener("click", ({ clientX, clientY }) => {
    const still = pressed && Math.hypot(clientX - pressed.clientX, clientY - pressed.clientY) < 4;
    if (still && model.get("mode") === "blink") swap();
  });
  stage.addEventListener("dblclick", () => zoomTo(1));
  const onWheel = (event) => {
    const asked = event.ctrlKey || event.metaKey;
    if (!asked && !root.matches(":focus-within")) return; // the page scrolls
    if (!asked && event.deltaY > 0 && model.get("zoom") === 1) return;
    event.preventDefault();
    const { x, y } = place(event);
    const notch = clamp(event.deltaY * (event.deltaMode ? 16 : 1), -30, 30);
    zoomTo(model.get("zoom") * Math.exp(-notch / 100), x, y);
  };
  stage.addEventListener("wheel", onWheel, { passive: false });

  const keys = {
    " ": swap,
    "+": () => step(1),
    "=": () => step(1),
    "-": () => step(-1),
    0: () => zoomTo(1),
    c: () => reveal(true),
  };
  const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // no shortcut of the notebook
    if (event.target !== input) return;
    let act = keys[event.key.toLowerCase()];
    if (arrows[event.key] && (event.shiftKey || !divided())) act = () => pan(...arrows[event.key]);
    if (!act) return; // the input itself moves the divider
    event.preventDefault();
    act();
  });
  input.addEventListener("keyup", () => reveal(false));
  input.addEventListener("blur", () => reveal(false));
  input.addEventListener("input", () => put({ position: Number(input.value) / 100 }));
  input.addEventListener("change", () => put({}, true));

  // ---- the model ----

  for (const name of ["mode", "position", "zoom", "center", "width"]) model.on(`change:${name}`, arrange);
  const follow = () => queueMicrotask(load); // after all changes of one message
  for (const name of [...NAMES, "labels"]) model.on(`change:${name}`, follow);
  const observer = new ResizeObserver(measure);
  observer.observe(stage);
  load().then(() => {
    root.classList.add("live");
    root.replaceChildren(bar, stage, hint);
    measure();
  });
  return () => {
    clearTimeout(waiting);
    observer.disconnect();
    for (const name of ["mode", "position", "zoom", "center", "width"]) model.off(`change:${name}`, arrange);
    for (const name of [...NAMES, "labels"]) model.off(`change:${name}`, follow);
    for (const { url } of Object.values(sources)) URL.revokeObjectURL(url);
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
