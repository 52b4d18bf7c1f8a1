// The panel beside the maps of an EmbeddingExplorer: legend, the point in question with its neighbours, the selection.
// Pictures are shown in place: an <img> gets its new picture only once that is decoded.

/** A new element with a class, and text or children. */
function make(tag, name, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children);
  return element;
}

/** Show the bytes of a picture in an <img>; without any the image is hidden. */
async function picture(image, bytes) {
  if (image.bytes === bytes) return;
  image.bytes = bytes;
  const old = image.src;
  if (!bytes?.byteLength) {
    image.hidden = true;
    image.removeAttribute("src");
  } else {
    const next = new Image();
    next.src = URL.createObjectURL(new Blob([bytes]));
    await next.decode().catch(() => {});
    if (image.bytes !== bytes) return URL.revokeObjectURL(next.src); // a newer picture came meanwhile
    image.src = next.src;
    image.hidden = false;
  }
  if (old) URL.revokeObjectURL(old);
}

/** As many children of `box` as there are items, each filled by `fill(child, item)`: the old ones are used again. */
function fit(box, items, create, fill) {
  while (box.children.length > items.length) box.lastChild.remove();
  while (box.children.length < items.length) box.append(create());
  items.forEach((item, index) => fill(box.children[index], item));
}

function render({ model, el }) {
  const ask = (message) => model.send(message);
  el.classList.add("daclip-explorer");

  const legend = make("div", "legend");
  const legendTitle = make("h4");
  const point = make("section", "point");
  const pointTitle = make("h4");
  const image = make("img", "photo");
  const facts = make("dl");
  const note = make("p", "note");
  point.append(pointTitle, make("div", "facts", image, facts), note);
  point.setAttribute("aria-live", "polite");
  const near = make("section", "near");
  const galleryTitle = make("h4");
  const counts = make("div", "legend");
  const gallery = make("div", "tiles");
  const chosen = make("section", "chosen", galleryTitle, counts, gallery);
  el.append(make("section", "", legendTitle, legend), point, near, chosen);

  /** A button that shows a row, by its picture or else by its words. */
  const tile = () => {
    const button = make("button", "tile", make("img"), make("span"));
    button.type = "button";
    button.addEventListener("click", () => ask({ row: button.row }));
    return button;
  };
  const fillTile = (button, { row, words, color, picture: bytes, mark }) => {
    const [img, text] = button.children;
    button.row = row;
    button.title = words;
    button.setAttribute("aria-label", words);
    button.style.setProperty("--color", color);
    img.alt = "";
    picture(img, bytes);
    text.textContent = bytes?.byteLength ? (mark ?? "") : words;
    button.classList.toggle("bare", !bytes?.byteLength);
  };
  /** A button that selects all rows of a category. */
  const chip = () => {
    const button = make("button", "chip", make("i"), make("span"), make("small"));
    button.type = "button";
    button.addEventListener("click", () => button.code >= 0 && ask({ category: button.code }));
    return button;
  };
  const fillChip = (button, { name, color, count, code }) => {
    button.code = code;
    button.disabled = code < 0;
    button.title = code < 0 ? "" : `select all ${count} of ${name}`;
    button.setAttribute("aria-label", code < 0 ? name : `${name}, ${count} rows`);
    button.children[0].style.background = color;
    button.children[1].textContent = name;
    button.children[2].textContent = count ?? "";
  };

  const update = {
    legend() {
      const { title, items } = model.get("legend");
      legendTitle.textContent = title;
      fit(legend, items, chip, fillChip);
    },
    point() {
      const { title, items, note: text, picture: bytes } = model.get("point");
      pointTitle.textContent = title;
      picture(image, bytes);
      image.alt = title;
      facts.replaceChildren(...items.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
      image.parentElement.hidden = !bytes?.byteLength && !items.length;
      note.textContent = text;
      note.hidden = !text;
    },
    neighbours() {
      const create = () => make("div", "", make("h4"), make("div", "tiles"));
      fit(near, model.get("neighbours"), create, (box, { title, items }) => {
        box.children[0].textContent = title;
        fit(box.children[1], items, tile, fillTile);
      });
    },
    gallery() {
      const { title, counts: numbers, items } = model.get("gallery");
      chosen.hidden = !title;
      galleryTitle.textContent = title;
      fit(counts, numbers, chip, fillChip);
      fit(gallery, items, tile, fillTile);
    },
  };
  for (const [name, show] of Object.entries(update)) {
    show();
    model.on(`change:${name}`, show);
  }
  return () => Object.entries(update).forEach(([name, show]) => model.off(`change:${name}`, show));
}

export default { render };
