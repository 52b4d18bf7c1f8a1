// The before/after slider. One `slider` serves the notebook widget (the default export, an anywidget) and static pages,
// into which daclip_lab.widgets.compare writes the two images, this file, and a call of `enliven`.

/** Turn `root` into a slider over two images {url, label}; returns a function that moves the divider, 0 to 1. */
function slider(root, before, after, { width, height, pixelated, position }, onMove = () => {}) {
  const layer = (name, { url, label }) => {
    const figure = document.createElement("figure");
    figure.className = `layer ${name}`;
    const image = new Image();
    image.src = url;
    image.alt = label;
    image.draggable = false;
    const caption = document.createElement("figcaption");
    caption.textContent = label;
    figure.append(image, caption);
    return figure;
  };
  const divider = document.createElement("div");
  divider.className = "divider";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: 100, step: "any" });
  input.setAttribute("aria-label", `divider: ${before.label} on its left, ${after.label} on its right`);

  const move = (fraction) => {
    if (Number(input.value) !== 100 * fraction) input.value = 100 * fraction;
    root.style.setProperty("--position", `${100 * fraction}%`);
    input.setAttribute("aria-valuetext", `${Math.round(100 * fraction)}% ${before.label}`);
  };
  const report = (released) => {
    const fraction = Number(input.value) / 100;
    move(fraction);
    onMove(fraction, released);
  };
  input.addEventListener("input", () => report(false));
  input.addEventListener("change", () => report(true));

  root.className = `daclip-compare${pixelated ? " pixelated" : ""}`;
  root.style.width = `${width}px`;
  root.style.aspectRatio = `${width} / ${height}`;
  root.replaceChildren(layer("before", before), layer("after", after), divider, input);
  move(position);
  return move;
}

/** Turn the pairs of images on this page that are not sliders yet into sliders. */
function enliven() {
  for (const root of document.querySelectorAll(".daclip-compare:not(:has(input))")) {
    const [before, after] = [...root.children].map((image) => ({ url: image.src, label: image.alt }));
    slider(root, before, after, JSON.parse(root.dataset.settings));
  }
}

/** The notebook widget: shows the model of the Python class `Compare` and writes its position back. */
function render({ model, el }) {
  const urls = ["before", "after"].map((name) =>
    URL.createObjectURL(new Blob([model.get(name)], { type: "image/png" })),
  );
  const [before, after] = model.get("labels").map((label, index) => ({ label, url: urls[index] }));
  const settings = Object.fromEntries(
    ["width", "height", "pixelated", "position"].map((name) => [name, model.get(name)]),
  );
  const root = document.createElement("div");
  const move = slider(root, before, after, settings, (position, released) => {
    model.set("position", position); // other views and linked sliders follow at once,
    if (released) model.save_changes(); // Python gets the position once the divider is released
  });
  const follow = () => move(model.get("position"));
  model.on("change:position", follow);
  el.append(root);
  return () => {
    model.off("change:position", follow);
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

export default { render };
