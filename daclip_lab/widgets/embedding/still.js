// Maps side by side without a kernel: pointing at a mark shows what it is and where it lies on the other map.
// daclip_lab.widgets.embedding.still writes the data, this file and a call of `enliven`.

const SIDE = 400;
const NEAR = 14; // CSS pixels within which a mark is pointed at

const unpack = (text) => new Int16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** Turn `root` into maps of `data`. */
function maps(root, data) {
  const rows = data.words.length;
  const colors = data.colors.map((one) => ({ ...one, codes: unpack(one.codes) }));
  let shown = colors[0];
  let category = -1; // the one that a click on the legend has chosen
  let row = -1;

  const canvases = data.maps.map(({ title, places }) => {
    const canvas = make("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `map of ${title}, ${rows} marks; arrow keys step through them`);
    const numbers = unpack(places);
    return { canvas, title, x: (k) => numbers[2 * k] / 1e4, y: (k) => numbers[2 * k + 1] / 1e4 };
  });
  const at = (map, k) => [(1 + 0.94 * map.x(k)) * (SIDE / 2), (1 - 0.94 * map.y(k)) * (SIDE / 2)];

  const legend = make("div", "legend");
  const thumbnail = make("i", "thumbnail");
  const text = make("span", "", "Point at a mark, or use the arrow keys.");
  const facts = make("p", "facts", thumbnail, text);
  facts.setAttribute("role", "status");
  thumbnail.hidden = true;
  const choice = make("select");
  choice.append(...colors.map(({ title }, k) => new Option(title, k)));
  const label = make("label", "", "colour ", choice);

  function draw({ canvas, ...map }) {
    const scale = (canvas.width = canvas.height = SIDE * Math.max(2, devicePixelRatio)) / SIDE;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const radius = rows < 600 ? 3.6 : 2.4;
    const mark = (k, size) => {
      pen.beginPath();
      pen.arc(...at(map, k), size, 0, 7);
    };
    pen.strokeStyle = "#222";
    pen.lineWidth = 0.5;
    for (let k = 0; k < rows; k++) {
      pen.globalAlpha = category < 0 || shown.codes[k] === category ? 1 : 0.1;
      pen.fillStyle = shown.colors[shown.codes[k]];
      mark(k, radius);
      pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
    if (row < 0) return;
    mark(row, radius + 4);
    pen.lineWidth = 2.5;
    pen.strokeStyle = "#d62728";
    pen.stroke();
  }
  const redraw = () => canvases.forEach(draw);

  function point(k) {
    if (k === row) return;
    row = k;
    if (row >= 0) {
      const more = colors.map(({ title, names, codes }) => `${title} ${names[codes[row]]}`);
      text.replaceChildren(make("b", "", data.words[row]), make("br"), more.join(" · "));
      if (data.sheet) {
        const { url, side, columns } = data.sheet;
        thumbnail.hidden = false;
        Object.assign(thumbnail.style, {
          width: `${side}px`,
          height: `${side}px`,
          backgroundImage: `url(${url})`,
          backgroundPosition: `${-side * (row % columns)}px ${-side * Math.floor(row / columns)}px`,
        });
      }
    }
    redraw();
  }

  for (const map of canvases) {
    map.canvas.addEventListener("pointermove", (event) => {
      const box = map.canvas.getBoundingClientRect();
      const [left, top] = [event.clientX - box.left, event.clientY - box.top].map((v) => (v * SIDE) / box.width);
      let [best, nearest] = [NEAR, -1];
      for (let k = 0; k < rows; k++) {
        const [x, y] = at(map, k);
        const distance = Math.hypot(x - left, y - top);
        if (distance < best) [best, nearest] = [distance, k];
      }
      if (nearest >= 0) point(nearest);
    });
    map.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      point((row + step + rows) % rows);
    });
  }

  function color() {
    shown = colors[choice.value];
    category = -1;
    const counts = new Map();
    for (const code of shown.codes) counts.set(code, (counts.get(code) ?? 0) + 1);
    const codes = [...counts.keys()].sort((a, b) => a - b);
    legend.replaceChildren(
      ...codes.slice(0, 24).map((code) => {
        const dot = make("i");
        dot.style.background = shown.colors[code];
        const chip = make("button", "", dot, shown.names[code], make("small", "", counts.get(code)));
        chip.type = "button";
        chip.setAttribute("aria-pressed", "false");
        chip.addEventListener("click", () => {
          category = category === code ? -1 : code;
          for (const other of legend.children) other.setAttribute("aria-pressed", other === chip && category >= 0);
          redraw();
        });
        return chip;
      }),
    );
    redraw();
  }
  choice.addEventListener("change", color);

  const pair = canvases.map(({ canvas, title }) => make("figure", "", make("figcaption", "", title), canvas));
  root.replaceChildren(make("div", "pair", ...pair), facts, label, legend, make("p", "note", data.note));
  color();
}

/** Turn the pictures of maps on this page that are not alive yet into maps to point at. */
function enliven() {
  for (const root of document.querySelectorAll(".daclip-maps:not(:has(canvas))")) {
    const data = root.querySelector("script[type='application/json']");
    if (data) maps(root, JSON.parse(data.textContent));
  }
}
