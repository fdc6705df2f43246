// The worklist on the page: headers that sort, filters, pages, and rows that open.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = new WorklistData(JSON.parse(byId("worklist-data").textContent));
  const table = byId("images");
  const body = table.tBodies[0];
  const controls = { search: byId("search"), opacity: byId("opacity"), boxes: byId("boxes"), size: byId("size") };
  const hasPictures = data.thumbnails.size > 0;
  const thousands = (number) => number.toLocaleString("en-US").replaceAll(",", "\u202f");
  let rows = data.rows();
  let page = 0;
  let opened = null;

  const size = () => Number(controls.size.value);
  const pages = () => Math.max(1, Math.ceil(rows.length / size()));

  function describe(row) {
    const words = ["label", "findings", "sex", "view"]
      .map((key) => data.byKey.get(key))
      .filter(Boolean)
      .map((column) => data.shown(column, row))
      .filter((text) => text !== "–");
    return `X-ray ${data.byKey.get("image").values[row]}: ${words.join(", ")}`;
  }

  function makeHeaders() {
    const head = element("tr");
    if (hasPictures) {
      const cell = element("th", "picture");
      cell.scope = "col";
      cell.append(element("span", "hidden", "Picture"));
      head.append(cell);
    }
    for (const column of data.columns) {
      const cell = element("th", `${column.kind} ${column.key}`);
      cell.scope = "col";
      cell.dataset.key = column.key;
      const button = element("button", "", column.label);
      button.type = "button";
      button.addEventListener("click", () => {
        const again = data.sorted.key === column.key;
        // Numbers are first wanted from the top, words from A.
        data.sort(column.key, again ? !data.sorted.descending : column.kind === "number");
        update();
      });
      cell.append(button);
      head.append(cell);
    }
    table.tHead.replaceChildren(head);
  }

  function makeFilters() {
    for (const column of data.columns.filter((candidate) => candidate.filter)) {
      const select = element("select");
      select.dataset.key = column.key;
      select.append(new Option("all", ""));
      column.words.forEach((word, number) => select.append(new Option(word || "none", number)));
      select.addEventListener("change", () => {
        if (select.value === "") data.filters.delete(column.key);
        else data.filters.set(column.key, Number(select.value));
        update();
      });
      const label = element("label", "", column.label);
      label.append(select);
      byId("filters").append(label);
    }
    if (!hasPictures || data.thumbnails.size === data.count) return;
    const select = element("select");
    select.dataset.key = "picture";
    select.append(new Option("all", ""), new Option("with a picture", "1"));
    select.addEventListener("change", () => {
      data.onlyPictures = select.value !== "";
      update();
    });
    const label = element("label", "", "Pictures");
    label.append(select);
    byId("filters").append(label);
  }

  function makeRow(row) {
    const line = element("tr", "row");
    line.dataset.row = row;
    const picture = data.thumbnails.get(row);
    if (hasPictures) {
      const cell = element("td", "picture");
      if (picture) cell.append(stack(picture, "small", ""));
      line.append(cell);
    }
    for (const column of data.columns) {
      const text = data.shown(column, row);
      const alarm = column.key === "flagged" && text === "alarm" ? " alarm" : "";
      const cell = element("td", `${column.kind} ${column.key}${alarm}`);
      if (column.key === "image") {
        const button = element("button", "name", text);
        button.type = "button";
        button.tabIndex = -1;
        button.setAttribute("aria-expanded", "false");
        cell.append(button);
      } else cell.textContent = text;
      line.append(cell);
    }
    return line;
  }

  function makeDetail(row) {
    const line = element("tr", "detail");
    const cell = element("td");
    cell.colSpan = data.columns.length + (hasPictures ? 1 : 0);
    const content = element("div", "opened");
    const picture = data.thumbnails.get(row);
    const side = element("div");
    side.append(element("h3", "", data.byKey.get("image").values[row]));
    if (picture) {
      const layers = stack(picture, "large", describe(row));
      content.append(layers);
      side.append(pictureControls(layers, controls.opacity.value, controls.boxes.checked));
    } else content.append(element("p", "note", "No picture of this image is part of the report."));
    const list = element("dl");
    for (const column of data.columns.slice(1)) {
      const pair = element("div");
      pair.append(element("dt", "", column.label), element("dd", "", data.shown(column, row)));
      list.append(pair);
    }
    side.append(list);
    content.append(side);
    cell.append(content);
    line.append(cell);
    return line;
  }

  function update(keepPage = false) {
    rows = data.rows();
    page = keepPage ? Math.min(page, pages() - 1) : 0;
    draw();
  }

  function draw() {
    const start = page * size();
    const shown = Array.from(rows.slice(start, start + size()));
    opened = null;
    body.replaceChildren(...shown.map(makeRow));
    const first = body.querySelector(".name");
    if (first) first.tabIndex = 0;
    const total = rows.length === data.count ? "" : ` that match, of ${thousands(data.count)}`;
    byId("status").textContent = rows.length
      ? `${thousands(start + 1)} to ${thousands(start + shown.length)} of ${thousands(rows.length)} images${total}`
      : "No image matches.";
    byId("page").textContent = `Page ${thousands(page + 1)} of ${thousands(pages())}`;
    for (const id of ["first", "previous"]) byId(id).disabled = page === 0;
    for (const id of ["next", "last"]) byId(id).disabled = page >= pages() - 1;
    for (const cell of table.tHead.querySelectorAll("[data-key]")) {
      const { key, descending } = data.sorted;
      if (cell.dataset.key === key) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  function toggle(line) {
    const wasOpen = line.classList.contains("open");
    close();
    if (wasOpen) return;
    line.classList.add("open");
    line.querySelector(".name").setAttribute("aria-expanded", "true");
    opened = makeDetail(Number(line.dataset.row));
    line.after(opened);
  }

  function close() {
    if (!opened) return;
    const line = opened.previousElementSibling;
    line.classList.remove("open");
    line.querySelector(".name").setAttribute("aria-expanded", "false");
    opened.remove();
    opened = null;
  }

  function focusRow(line) {
    if (!line) return;
    for (const button of body.querySelectorAll('.name[tabindex="0"]')) button.tabIndex = -1;
    const button = line.querySelector(".name");
    button.tabIndex = 0;
    button.focus();
  }

  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr.row");
    if (!line) return;
    toggle(line);
    focusRow(line);
  });
  body.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && opened) {
      const line = opened.previousElementSibling;
      close();
      focusRow(line);
      return;
    }
    if (!event.target.classList.contains("name")) return;
    const lines = [...body.querySelectorAll("tr.row")];
    const here = lines.indexOf(event.target.closest("tr"));
    const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: lines.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    focusRow(lines[Math.max(0, Math.min(next, lines.length - 1))]);
  });

  let waiting = 0;
  controls.search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      data.text = controls.search.value;
      update();
    }, 120);
  });
  byId("clear").addEventListener("click", () => {
    clearTimeout(waiting);
    controls.search.value = data.text = "";
    data.filters.clear();
    data.onlyPictures = false;
    for (const select of byId("filters").querySelectorAll("select")) select.value = "";
    update();
  });
  controls.size.addEventListener("change", () => update());
  const turn = { first: () => 0, previous: () => page - 1, next: () => page + 1, last: () => pages() - 1 };
  for (const [id, target] of Object.entries(turn)) {
    byId(id).addEventListener("click", () => {
      page = target();
      draw();
    });
  }
  controls.opacity.addEventListener("input", () => {
    document.documentElement.style.setProperty("--heat", controls.opacity.value / 100);
    resetOpened();
  });
  controls.boxes.addEventListener("change", () => {
    table.classList.toggle("no-boxes", !controls.boxes.checked);
    resetOpened();
  });
  // What is set for all pictures holds for the open one too.
  function resetOpened() {
    if (!opened) return;
    const fresh = makeDetail(Number(opened.previousElementSibling.dataset.row));
    opened.replaceWith(fresh);
    opened = fresh;
  }

  makeHeaders();
  makeFilters();
  byId("controls").hidden = byId("pager").hidden = data.count === 0;
  byId("layers").hidden = !hasPictures;
  draw();
})();
