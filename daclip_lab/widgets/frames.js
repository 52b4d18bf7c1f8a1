// A slider over prerendered frames. daclip_lab.widgets.frames writes a strip of a few of them, the others and the
// captions as JSON, and this file.

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Turn a strip into one frame and a slider that chooses it. */
function scrub(root) {
  const settings = JSON.parse(root.querySelector("script").textContent);
  const strip = [...root.querySelectorAll("img")];
  const { captions, label, width, height } = settings;
  const className = settings.pixelated ? "pixelated" : "";
  const images = settings.others.map((url, k) => {
    const src = url ?? strip.shift().src;
    return element("img", { src, width, height, className, alt: captions[k], draggable: false });
  });

  const stage = element("div", { className: "stage" }, images[settings.start]);
  const caption = element("p", { className: "caption" });
  const input = element("input", { type: "range", min: 0, max: images.length - 1, step: 1 });
  input.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take the arrow keys

  let asked = 0; // how often a frame was chosen
  let shown = 0; // which of these choices is on the stage
  const choose = async () => {
    const turn = ++asked;
    const image = images[input.valueAsNumber];
    caption.textContent = image.alt;
    input.setAttribute("aria-valuetext", image.alt);
    await image.decode().catch(() => {}); // the frame before stays until this one can be drawn
    if (turn > shown) {
      shown = turn;
      stage.replaceChildren(image);
    }
  };
  input.addEventListener("input", choose);
  input.value = settings.start;
  root.classList.add("alive");
  root.replaceChildren(stage, element("label", {}, element("span", { textContent: label }), input), caption);
  root.style.maxWidth = `${Math.max(width, 320)}px`;
  choose();
}

document.querySelectorAll(".daclip-frames:not(.alive)").forEach(scrub);
