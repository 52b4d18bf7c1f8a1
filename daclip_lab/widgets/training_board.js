// The board of a training: curves, sample images, and buttons. `charts` draws the curves in the notebook widget (the
// default export, an anywidget) and on static pages, where daclip_lab.widgets.training_view writes a picture, the data as
// JSON, this file, and a call of `enliven`.

const HEIGHT = 230;
const LEFT = 52;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 40;
const FACTORS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function shape(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/** Points as [[step, value], ...]; they come as bytes of float32 or as a flat list. */
function points(packed) {
  const flat = Array.isArray(packed)
    ? packed
    : new Float32Array(packed.buffer.slice(packed.byteOffset, packed.byteOffset + packed.byteLength));
  return Array.from({ length: flat.length / 2 }, (_, k) => [flat[2 * k], flat[2 * k + 1]]);
}

/** At most about `count` round numbers from `low` to `high`. */
function ticks(low, high, count, least = 0) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, power * [1, 2, 5, 10].find((times) => times * power >= rough));
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

/** A number with as many digits as a reader needs. */
function short(number) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  return size >= 1e5 || size < 1e-3 ? number.toExponential(1) : String(Number(number.toPrecision(4)));
}

function duration(seconds) {
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  if (minutes) return `${minutes} min ${Math.round(seconds) % 60} s`;
  return seconds < 5 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
}

/** The point that is nearest to a step; the last one for Infinity. */
function nearest(list, step) {
  if (step === Infinity) return list.at(-1);
  return list.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best), list[0]);
}

/** Axes that draw a panel again and again, and show the values under the pointer or at a step chosen with the arrow keys. */
function axes() {
  const svg = shape("svg", { height: HEIGHT });
  const title = element("figcaption");
  const value = element("span", { className: "value" });
  const root = element("figure", { className: "panel", tabIndex: 0 }, title, svg, value);
  root.setAttribute("role", "img");
  root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys
  let panel, view, scale; // what was drawn last
  let chosen = null; // the step whose values are shown

  const draw = (newPanel, newView) => {
    [panel, view] = [newPanel, newView];
    const width = Math.max(root.clientWidth, 200);
    const alone = panel.curves.filter(([, , means]) => means.length).length < 2;
    const drawn = panel.curves.flatMap(([, values, means, dots]) => [...(alone ? values : means), ...dots]);
    const heights = [...drawn.map(([, y]) => y), ...Object.values(panel.levels)];
    let [low, high] = heights.length ? [Math.min(...heights), Math.max(...heights)] : [0, 1];
    const margin = 0.08 * (high - low) || Math.abs(high) / 10 || 1;
    [low, high] = [low - margin, high + margin];
    const end = Math.max(view.end ?? 1, ...drawn.map(([x]) => x), 1);
    const x = (step) => LEFT + (step / end) * (width - LEFT - RIGHT);
    const y = (number) => TOP + ((high - number) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    scale = { x, y, step: (place) => ((place - LEFT) / (width - LEFT - RIGHT)) * end, end };

    const parts = [];
    const line = (name, x1, y1, x2, y2) => parts.push(shape("line", { class: name, x1, y1, x2, y2 }));
    const text = (name, x, y, content) => parts.push(shape("text", { class: name, x, y }, content));
    const path = (name, list) => {
      const d = list.map(([a, b], k) => `${k ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
      parts.push(shape("path", { class: name, d }));
    };
    for (const number of ticks(low, high, 6)) {
      line("grid", LEFT, y(number), width - RIGHT, y(number));
      text("tick left", LEFT - 6, y(number) + 4, short(number));
    }
    for (const step of ticks(0, end, Math.min(5, width / 70), 1)) {
      text("tick", x(step), HEIGHT - BOTTOM + 16, step);
    }
    line("axis", LEFT, HEIGHT - BOTTOM, width - RIGHT, HEIGHT - BOTTOM);
    text("name", (LEFT + width - RIGHT) / 2, HEIGHT - 6, "training step");
    for (const stage of view.stages) line("stage", x(stage), TOP, x(stage), HEIGHT - BOTTOM);
    panel.curves.forEach(([, values, means, dots], k) => {
      if (alone) path(`thin way${k % 4}`, values);
      path(`mean way${k % 4}`, means);
      path(`measured way${k % 4}`, dots);
      for (const [a, b] of dots) parts.push(shape("circle", { class: `way${k % 4}`, cx: x(a), cy: y(b), r: 4 }));
    });
    for (const [name, number] of Object.entries(panel.levels)) {
      line("level", LEFT, y(number), width - RIGHT, y(number));
      text("level", width - RIGHT, y(number) - 4, `${name} ${short(number)}`);
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren(...parts);
    title.textContent = panel.title;
    show();
  };

  const show = () => {
    svg.querySelectorAll(".cursor").forEach((old) => old.remove());
    const found = panel.curves.flatMap(([way, values, means, dots], k) => {
      const list = means.length ? means : dots;
      if (!list.length) return [];
      const [step, mean] = nearest(list, chosen ?? Infinity);
      const words = [`${way && `${way} `}${short(mean)}`];
      if (means.length && chosen !== null) words.push(`at this step ${short(nearest(values, step)[1])}`);
      if (means.length && dots.length) words.push(`measured ${short(nearest(dots, step)[1])}`);
      return [{ k, step, mean, words: words.join(", ") }];
    });
    const steps = found.map(({ step }) => step);
    value.textContent = found.length
      ? `${chosen === null ? "last" : `step ${steps[0]}`}: ${found.map(({ words }) => words).join("; ")}`
      : "no values yet";
    root.setAttribute("aria-label", `${panel.title}, ${value.textContent}`);
    if (chosen === null || !found.length) return;
    const at = scale.x(steps[0]);
    svg.append(shape("line", { class: "cursor", x1: at, x2: at, y1: TOP, y2: HEIGHT - BOTTOM }));
    for (const { k, step, mean } of found) {
      svg.append(shape("circle", { class: `cursor way${k % 4}`, cx: scale.x(step), cy: scale.y(mean), r: 4 }));
    }
  };

  const choose = (step) => {
    chosen = step && Math.min(scale.end, Math.max(0, step));
    show();
  };
  svg.addEventListener("pointermove", (event) => choose(scale.step(event.clientX - svg.getBoundingClientRect().left)));
  svg.addEventListener("pointerleave", () => choose(null));
  root.addEventListener("blur", () => choose(null));
  root.addEventListener("keydown", ({ key }) => {
    const places = { ArrowLeft: -0.02, ArrowRight: 0.02 };
    if (key in places) choose((chosen ?? scale.end) + places[key] * scale.end);
    else if (key === "Escape") choose(null);
  });
  new ResizeObserver(() => panel && draw(panel, view)).observe(root);
  return { root, draw };
}

/** All panels and a legend; returns the element and a function that draws a view. */
function charts() {
  const legend = element("div", { className: "legend" });
  const grid = element("div", { className: "panels" });
  const panels = [];
  const draw = (view) => {
    while (panels.length < view.panels.length) {
      panels.push(axes());
      grid.append(panels.at(-1).root);
    }
    while (panels.length > view.panels.length) panels.pop().root.remove();
    view.panels.forEach((panel, k) => {
      const curves = panel.curves.map(([way, ...kinds]) => [way, ...kinds.map(points)]);
      panels[k].draw({ ...panel, curves }, view);
    });
    const ways = view.panels[0].curves.map(([way]) => way);
    const names = ways.map((way, k) => element("span", { className: `way${k % 4}`, textContent: way }));
    const lines = `training batches: ${ways[1] ? "" : "each step (thin) and "}a running mean (thick)`;
    const dots = view.panels.some(({ curves }) => curves.some(([, , , packed]) => packed.length || packed.byteLength));
    legend.replaceChildren(
      ...(ways[1] ? names : []),
      `${lines}${dots ? "; dots: measured" : ""}${view.stages.length ? "; dashed upright: the next stage" : ""}`,
    );
  };
  return { parts: [legend, grid], draw };
}

/** Sample images that are exchanged in place, each once it can be drawn. */
function gallery() {
  const root = element("div", { className: "samples" });
  const show = async ({ files = [], captions = [] }) => {
    while (root.children.length > files.length) root.lastChild.remove();
    while (root.children.length < files.length) {
      root.append(element("figure", {}, new Image(), element("figcaption")));
    }
    files.forEach(async (file, k) => {
      const [image, caption] = root.children[k].children;
      const next = new Image();
      next.src = URL.createObjectURL(new Blob([file], { type: "image/webp" }));
      await next.decode().catch(() => {});
      URL.revokeObjectURL(image.src);
      image.src = next.src;
      image.width = next.naturalWidth <= 128 ? 2 * next.naturalWidth : next.naturalWidth;
      image.alt = captions[k] || `sample ${k + 1}`;
      caption.textContent = captions[k] ?? "";
    });
  };
  return { root, show };
}

/** Where the training is, in words. */
function progress(state, sentence, view) {
  if (sentence) return sentence;
  if (state === "idle") return "The training has not begun.";
  const elapsed = view.training + view.own + view.measuring;
  const where = `${view.way ? `${view.way}, ` : ""}step ${view.step}${view.end && view.step <= view.end ? ` of ${view.end}` : ""}`;
  if (state === "paused") return `Paused after ${where}.`;
  if (state === "stopping") return `Stopping after ${where}.`;
  if (!view.recorded) return "The first step is under way.";
  const speed = view.recorded / elapsed;
  const pace = speed >= 1 ? `${speed.toFixed(1)} steps per second` : `${(1 / speed).toFixed(1)} s per step`;
  const left = view.done < view.total ? `, ${duration((view.total - view.done) / speed)} left` : "";
  return `${where[0].toUpperCase()}${where.slice(1)}, ${pace}${left}`;
}

/** The notebook widget: shows the model of the Python class `TrainingBoard`. */
function render({ model, el }) {
  const heading = element("strong");
  const { parts, draw } = charts();
  const { root: samples, show } = gallery();
  const words = element("span", { className: "words" });
  words.setAttribute("role", "status");
  const bar = element("progress");
  bar.setAttribute("aria-label", "progress of the training");
  const costs = element("div", { className: "costs" });

  const pause = element("button", { type: "button" });
  pause.onclick = () => model.send(model.get("state") === "paused" ? "resume" : "pause");
  const stop = element("button", { type: "button", textContent: "Stop", onclick: () => model.send("stop") });
  const slider = element("input", { type: "range", min: 0, max: FACTORS.length - 1, step: 1 });
  slider.dataset.lmSuppressShortcuts = "true";
  const rate = element("span", { className: "rate" });
  const label = element("label", {}, "learning rate", slider, rate);
  slider.oninput = () => {
    model.set("learning_rate_factor", FACTORS[slider.valueAsNumber]);
    model.save_changes();
  };

  const follow = () => {
    const [state, view, factor] = ["state", "shown", "learning_rate_factor"].map((name) => model.get(name));
    const active = state === "running" || state === "paused";
    heading.textContent = model.get("title");
    pause.textContent = state === "paused" ? "Resume" : "Pause";
    pause.disabled = stop.disabled = !active;
    const distance = (k) => Math.abs(Math.log(FACTORS[k] / factor));
    slider.value = [...FACTORS.keys()].reduce((a, b) => (distance(b) < distance(a) ? b : a));
    rate.textContent = `× ${short(factor)}${view.rate === null ? "" : `, now ${view.rate.toExponential(1)}`}`;
    slider.setAttribute("aria-valuetext", rate.textContent);
    words.textContent = progress(state, model.get("sentence"), view);
    words.setAttribute("aria-live", state === "running" ? "off" : "polite");
    words.classList.toggle("failed", state === "failed");
    bar.hidden = !view.total;
    bar.max = view.total ?? 1;
    bar.value = view.done;
    costs.textContent = view.recorded
      ? `Drawing took ${(100 * view.overhead).toFixed(1)} % of the training's time` +
        `${view.measuring >= 0.05 ? `, measuring and samples ${duration(view.measuring)}` : ""}.`
      : "";
  };
  const redraw = () => {
    draw(model.get("shown"));
    follow();
  };
  const repaint = () => show(model.get("pictures"));
  const watched = "change:state change:sentence change:learning_rate_factor change:title";
  model.on("change:shown", redraw);
  model.on("change:pictures", repaint);
  model.on(watched, follow);

  const controls = element("div", { className: "controls" }, pause, stop, label);
  el.classList.add("daclip-board");
  el.append(heading, controls, element("div", { className: "state" }, words, bar), ...parts, samples, costs);
  redraw();
  repaint();
  return () => {
    model.off("change:shown", redraw);
    model.off("change:pictures", repaint);
    model.off(watched, follow);
  };
}

/** Put curves that show their values into the place of the pictures of boards on this page. */
function enliven() {
  for (const root of document.querySelectorAll(".daclip-board:has(> img.curves)")) {
    const { parts, draw } = charts();
    root.querySelector("img.curves").replaceWith(...parts);
    draw(JSON.parse(root.querySelector("script").textContent));
  }
}

export default { render };
