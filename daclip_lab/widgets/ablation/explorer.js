// The view of an AblationExplorer: choices, the heat map as a grid to walk through, and the crops behind a cell.

const COLUMNS = { degradation: "degradations", metric: "metrics", seed: "seeds", photo: "photos" };
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A labelled list to choose from: `fill` takes pairs of value and text, `onChoice` the value. */
function choice(name, onChoice) {
  const list = element("select", { ariaLabel: name });
  const root = element("label", {}, name, list);
  let shown = "";
  list.onchange = () => onChoice(list.value);
  const fill = (pairs, value) => {
    const now = JSON.stringify(pairs);
    if (now !== shown) list.replaceChildren(...pairs.map(([value, text]) => element("option", { value, textContent: text })));
    shown = now;
    list.value = value;
  };
  return { root, list, fill };
}

/** The heat map; `onChoice` takes a variant and a column. */
function heatMap(onChoice) {
  const title = element("div", { className: "title" });
  const note = element("div", { className: "note" });
  const table = element("table");
  table.setAttribute("role", "grid");
  const frame = element("div", { className: "frame" }, table);
  let cells = []; // by row and column
  let place = [0, 0]; // the cell that the tabulator key reaches

  const reach = (row, column, focus) => {
    cells[place[0]]?.[place[1]]?.setAttribute("tabindex", -1);
    place = [Math.min(Math.max(row, 0), cells.length - 1), Math.min(Math.max(column, 0), cells[0].length - 1)];
    const cell = cells[place[0]][place[1]];
    cell.tabIndex = 0;
    if (focus) cell.focus();
  };

  const cellOf = (content, row, column, heat) => {
    const cell = element("td", { tabIndex: -1 });
    cell.setAttribute("role", "gridcell");
    if (content) {
      cell.append(element("b", { textContent: content.number }), element("small", { textContent: content.interval }));
      cell.title = content.sample;
      cell.style.setProperty("--share", `${(100 * Math.abs(content.strength)).toFixed(1)}%`);
      cell.classList.add(content.strength < 0 ? "worse" : "better");
      cell.classList.toggle("pale", content.pale);
    } else {
      cell.textContent = "–";
      cell.title = "no values";
    }
    cell.classList.toggle("reference", heat.rows[row].name === heat.reference);
    cell.onclick = () => {
      reach(row, column, true);
      onChoice(heat.rows[row].name, heat.columns[column]);
    };
    return cell;
  };

  const draw = (heat) => {
    const focused = table.contains(document.activeElement);
    title.textContent = heat.title;
    note.textContent = heat.note;
    table.setAttribute("aria-label", heat.title);
    const names = heat.columns.map((name) => {
      const head = element("th", { textContent: name });
      head.setAttribute("scope", "col");
      return head;
    });
    cells = heat.cells.map((line, row) => line.map((content, column) => cellOf(content, row, column, heat)));
    const rows = heat.rows.map(({ name, about }, row) => {
      const head = element("th", { textContent: name, title: about });
      head.setAttribute("scope", "row");
      return element("tr", {}, head, ...cells[row]);
    });
    const corner = element("td");
    corner.setAttribute("role", "presentation");
    table.replaceChildren(
      element("thead", {}, element("tr", {}, corner, ...names)),
      element("tbody", {}, ...rows),
    );
    if (cells.length) reach(...place, focused);
  };

  const mark = (heat, [variant, column]) => {
    cells.forEach((line, row) =>
      line.forEach((cell, k) => {
        const chosen = heat.rows[row].name === variant && heat.columns[k] === column;
        cell.setAttribute("aria-selected", chosen);
        if (chosen) reach(row, k, false);
      }),
    );
  };

  table.addEventListener("keydown", (event) => {
    const { key } = event;
    const [row, column] = place;
    if (key in MOVES) reach(row + MOVES[key][0], column + MOVES[key][1], true);
    else if (key === "Home") reach(row, 0, true);
    else if (key === "End") reach(row, Infinity, true);
    else if (key === "Enter") cells[row][column].click();
    else return;
    event.preventDefault();
  });
  return { parts: [title, frame, note], draw, mark };
}

/** The crops of a cell; the picture in the middle of each flips between two variants. */
function crops(set) {
  const heading = element("div", { className: "title" });
  const partner = choice("flip with", (value) => set("partner", value));
  const seed = choice("seed", (value) => set("seed", Number(value)));
  const flip = element("button", { type: "button" });
  const large = element("input", { type: "checkbox" });
  const status = element("span", { className: "status" });
  status.setAttribute("role", "status");
  const bar = element("div", { className: "bar" }, flip, partner.root, seed.root,
    element("label", {}, large, "twice as large"), status);
  const note = element("div", { className: "note" });
  const cards = element("div", { className: "cards" });
  const root = element("div", { className: "crops" }, heading, bar, cards, note);
  let shown = {};
  let flipped = false;
  let addresses = [];

  const picture = (file, alt) => {
    if (!file.byteLength) return element("span", { className: "missing", textContent: "not kept" });
    const src = URL.createObjectURL(new Blob([file], { type: "image/webp" }));
    addresses.push(src);
    return element("img", { src, alt });
  };

  const card = ({ name, first, pictures, gains }) => {
    const [given, one, other, truth] = [
      picture(pictures[0], `${name}, degraded`),
      picture(pictures[1], `${name}, ${shown.variant}`),
      picture(pictures[2], `${name}, ${shown.partner}`),
      picture(pictures[3], `${name}, clean`),
    ];
    one.classList.add("one");
    other.classList.add("other");
    const pair = element("div", { className: "pair", title: "the other variant, while you point here" }, one, other);
    const line = (kind, variant, gain) =>
      element("div", { className: kind }, element("span", { textContent: variant }), element("b", { textContent: gain ?? "" }));
    const figure = (content, text) => element("figure", {}, content, element("figcaption", { textContent: text }));
    const made = element("div", { className: "card" },
      element("div", { className: "name", textContent: name }),
      element("div", { className: "row" }, figure(given, "degraded"), figure(pair, "restored"), figure(truth, "clean")),
      line("one", shown.variant, gains[0]),
      line("other", shown.partner, gains[1]),
    );
    made.classList.toggle("first", first);
    return made;
  };

  const follow = () => {
    cards.classList.toggle("flipped", flipped);
    const now = flipped ? shown.partner : shown.variant;
    const then = flipped ? shown.variant : shown.partner;
    status.textContent = `shown: ${now}`;
    flip.textContent = `Show “${then}”`;
    flip.title = "or press the space bar";
  };

  const turn = () => {
    if (!shown.items?.length) return;
    flipped = !flipped;
    follow();
  };

  const draw = (next, variants) => {
    const same = shown.variant === next.variant && shown.partner === next.partner;
    shown = next;
    flipped = same && flipped;
    addresses.forEach((address) => URL.revokeObjectURL(address));
    addresses = [];
    const any = Boolean(next.variant);
    const items = next.items ?? [];
    heading.textContent = any ? `Crops behind “${next.variant}”, ${next.column}` : "";
    note.textContent = any ? next.note : "Choose a cell, by a click or with the arrow keys and Enter, to see the crops behind it.";
    bar.hidden = !items.length;
    cards.replaceChildren(...items.map(card));
    if (!items.length) return;
    partner.fill(variants.filter((name) => name !== next.variant).map((name) => [name, name]), next.partner);
    seed.fill(next.seeds.map((number) => [String(number), String(number)]), String(next.seed));
    seed.list.disabled = next.seeds.length < 2;
    follow();
  };

  flip.onclick = turn;
  large.onchange = () => cards.classList.toggle("large", large.checked);
  return { root, draw, turn };
}

function render({ model, el }) {
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const columns = choice("columns", (value) => set("columns", value));
  const metric = choice("metric", (value) => set("metric", value));
  const against = choice("show", (value) => set("against", value));
  const map = heatMap((variant, column) => set("chosen", [variant, column]));
  const below = crops(set);

  const redraw = () => {
    map.draw(model.get("heat"));
    mark();
  };
  const mark = () => map.mark(model.get("heat"), model.get("chosen"));
  const show = () => below.draw(model.get("crops"), model.get("choices").variants);
  const follow = () => {
    const { columns: axes, metrics, variants } = model.get("choices");
    const differences = variants.map((name) => [name, `difference to “${name}”`]);
    columns.fill(axes.map((name) => [name, COLUMNS[name]]), model.get("columns"));
    metric.fill(metrics.map((name) => [name, name]), model.get("metric"));
    metric.list.disabled = model.get("columns") === "metric";
    against.fill([["", "means"], ...differences], model.get("against"));
  };
  const watched = { "change:heat": redraw, "change:chosen": mark, "change:crops": show };
  for (const name of ["columns", "metric", "against"]) watched[`change:${name}`] = follow;
  for (const [name, act] of Object.entries(watched)) model.on(name, act);

  el.classList.add("daclip-ablation");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys and the space bar
  el.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest("button, select, input")) return;
    event.preventDefault();
    below.turn();
  });
  el.append(element("div", { className: "bar" }, columns.root, metric.root, against.root), ...map.parts, below.root);
  follow();
  redraw();
  show();
  return () => {
    for (const [name, act] of Object.entries(watched)) model.off(name, act);
  };
}

export default { render };
