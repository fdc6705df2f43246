// Pictures: the X-ray, its heat map above, and the boxes above both.
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function truth(picture) {
  const svg = document.getElementById("truth").content.firstElementChild.cloneNode(true);
  const outlines = picture.outline.map((points) => `M${points.map((point) => point.join(" ")).join("L")}Z`);
  const boxes = picture.boxes.map(([x, y, width, height]) => `M${x} ${y}h${width}v${height}h${-width}Z`);
  svg.firstElementChild.setAttribute("d", [...boxes, ...outlines].join(""));
  return svg;
}

/** The layers of one picture; `describe` is its alternative text. */
function stack(picture, className, describe) {
  const layers = element("div", `stack ${className}`);
  for (const [layer, source] of [["xray", picture.xray], ["heat", picture.heat]]) {
    const image = element("img", layer);
    // A picture inside the page needs no loading; one beside it waits until it is near.
    if (!source.startsWith("data:")) image.loading = "lazy";
    image.alt = layer === "xray" ? describe : "";
    image.src = source;
    layers.append(image);
  }
  layers.append(truth(picture));
  return layers;
}

/** Controls of one opened picture: how much of the heat map shows, and whether boxes do. */
function pictureControls(layers, opacity, boxes) {
  const controls = element("div");
  const fade = element("label", "", "Heat map over X-ray");
  const slider = element("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, value: opacity });
  slider.addEventListener("input", () => layers.style.setProperty("--heat", slider.value / 100));
  fade.append(slider);
  const tick = element("label", "tick");
  const checkbox = element("input");
  Object.assign(checkbox, { type: "checkbox", checked: boxes });
  checkbox.addEventListener("change", () => layers.classList.toggle("no-boxes", !checkbox.checked));
  layers.classList.toggle("no-boxes", !boxes);
  tick.append(checkbox, "Boxes and outlines");
  controls.append(fade, tick);
  return controls;
}
