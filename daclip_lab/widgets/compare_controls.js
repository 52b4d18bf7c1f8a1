// How a person moves the before/after slider: buttons, pointer, wheel and keyboard. All of them change the model, which
// `show` in compare.js follows; `view` is what that makes.

const STOPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]; // CSS pixels per image pixel at which the zoom buttons stop
const DELAY = 80; // milliseconds between two messages to Python while something is dragged

function actions(view) {
  const { root, model, figures, scale, center, hasClean, arrange } = view;
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

  /** Zoom to the next whole number of screen pixels per image pixel. */
  function step(direction) {
    const now = scale();
    const fit = now / model.get("zoom");
    const stops = [fit, ...STOPS.filter((stop) => stop > fit)];
    const larger = stops.find((stop) => stop > 1.001 * now);
    const next = direction > 0 ? larger : stops.findLast((stop) => stop < 0.999 * now);
    if (next) zoomTo(next / fit);
  }

  /** Move the point in the middle by fractions of the frame. */
  function pan(dx, dy, from = center()) {
    const zoom = model.get("zoom");
    put({ center: center(zoom, [from[0] + dx / zoom, from[1] + dy / zoom]) });
  }

  function swap() {
    const seen = model.get("mode") === "blink" ? Number(getComputedStyle(figures[1]).opacity) : 1;
    view.swapped = 1 - seen;
    put({ mode: "blink" }, true);
    arrange();
  }

  const reveal = (on) => root.classList.toggle("revealed", on && hasClean());
  return { put, zoomTo, step, pan, swap, reveal, close: () => clearTimeout(waiting) };
}

function toolbar(view, { put, zoomTo, step, reveal }) {
  const { model, scale } = view;
  const group = `mode-${Math.random()}`; // radio buttons of one name belong together, on the whole page
  const radios = Object.keys(HINTS).map((value) => make("input", { type: "radio", name: group, value }));
  const labels = radios.map((radio) => make("label", {}, radio, make("span", { textContent: radio.value })));
  const modes = make("div", { className: "modes", role: "radiogroup", ariaLabel: "mode" }, ...labels);
  modes.addEventListener("change", ({ target }) => {
    view.swapped = null;
    put({ mode: target.value }, true);
  });

  const hold = make("button", { type: "button", className: "hold", title: "key: C" });
  hold.addEventListener("pointerdown", () => reveal(true));
  hold.addEventListener("keydown", ({ key }) => reveal(key === " " || key === "Enter"));
  for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"])
    hold.addEventListener(name, () => reveal(false));

  const button = (textContent, title, press) => {
    const made = make("button", { type: "button", textContent, title, ariaLabel: title });
    made.addEventListener("click", press);
    return made;
  };
  const readout = make("output", { title: "screen pixels per image pixel" });
  const zooms = make("div", { className: "zooms", role: "group", ariaLabel: "zoom" });
  zooms.append(
    button("−", "zoom out (−)", () => step(-1)),
    readout,
    button("+", "zoom in (+)", () => step(1)),
    button("fit", "show the whole picture (0, double click)", () => zoomTo(1)),
  );

  return {
    bar: make("div", { className: "bar" }, modes, hold, zooms),
    follow() {
      hold.textContent = `hold for ${model.get("labels")[2]}`;
      radios.forEach((radio) => (radio.checked = radio.value === model.get("mode")));
    },
    measure: () => (readout.textContent = `${Math.round(100 * scale())} %`),
  };
}

function gestures(view, act) {
  const { root, model, figures, stage, divider, input, divided, center } = view;
  const { put, zoomTo, step, pan, swap, reveal } = act;

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
    pressed = event;
    const { box, x, y } = place(event);
    const from = center();
    const divide = divided() && (event.target === divider || model.get("zoom") === 1);
    stage.onpointermove = ({ clientX, clientY }) => {
      const [nowX, nowY] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
      if (divide) put({ position: clamp(nowX, 0, 1) });
      else if (model.get("zoom") > 1) pan(x - nowX, y - nowY, from);
    };
    stage.onpointermove(event);
    stage.setPointerCapture(event.pointerId);
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
    const nothingLeft = event.deltaY > 0 && model.get("zoom") === 1;
    if (!asked && (nothingLeft || !root.matches(":focus-within"))) return; // the page scrolls
    event.preventDefault();
    const { x, y } = place(event);
    const notch = clamp(event.deltaY * (event.deltaMode ? 16 : 1), -30, 30);
    zoomTo(model.get("zoom") * Math.exp(-notch / 100), x, y);
  };
  stage.addEventListener("wheel", onWheel, { passive: false });

  const arrows = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  const keys = {
    " ": swap,
    "+": () => step(1),
    "=": () => step(1),
    "-": () => step(-1),
    0: () => zoomTo(1),
    c: () => reveal(true),
  };
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // no shortcut of the notebook
    if (event.target !== input) return;
    const panning = arrows[event.key] && (event.shiftKey || !divided());
    const press = panning ? () => pan(...arrows[event.key]) : keys[event.key.toLowerCase()];
    if (!press) return; // the input itself moves the divider
    event.preventDefault();
    press();
  });
  for (const name of ["keyup", "blur"]) input.addEventListener(name, () => reveal(false));
  input.addEventListener("input", () => put({ position: Number(input.value) / 100 }));
  input.addEventListener("change", () => put({}, true));
}
