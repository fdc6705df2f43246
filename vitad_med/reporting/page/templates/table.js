// The data of the worklist: which rows are shown and in which order. Knows nothing of the page.
class WorklistData {
  constructor(content) {
    this.count = content.count;
    this.columns = content.columns;
    this.thumbnails = new Map(content.thumbnails.map((picture) => [picture.row, picture]));
    this.byKey = new Map(this.columns.map((column) => [column.key, column]));
    this.sorted = { key: "score", descending: true };
    // Rows come sorted by score, highest first.
    this.order = Uint32Array.from({ length: this.count }, (_, row) => row);
    this.filters = new Map();
    this.onlyPictures = false;
    this.text = "";
    this.searched = null;
  }

  /** The value of a cell: a number, null, or text. */
  value(column, row) {
    return column.kind === "word" ? column.words[column.values[row]] : column.values[row];
  }

  /** What a cell shows. */
  shown(column, row) {
    const value = this.value(column, row);
    if (value === null || value === "") return "–";
    return column.kind === "number" ? value.toFixed(column.decimals) : value;
  }

  /** Sort by a column; rows with equal values keep the order of the list, rows without a value come last. */
  sort(key, descending) {
    const column = this.byKey.get(key);
    const values = column.values;
    const sign = descending ? -1 : 1;
    // Words are numbered in alphabetical order, so that their numbers sort like them.
    const empty = column.kind === "word" ? column.words.indexOf("") : null;
    const missing = (value) => value === empty;
    this.order.sort((a, b) => {
      const x = values[a];
      const y = values[b];
      if (x === y) return a - b;
      if (missing(x)) return 1;
      if (missing(y)) return -1;
      return x < y ? -sign : sign;
    });
    this.sorted = { key, descending };
  }

  /** The rows that pass every filter, in order. */
  rows() {
    const wanted = [...this.filters].map(([key, number]) => [this.byKey.get(key).values, number]);
    const words = this.text.toLowerCase().split(/\s+/).filter(Boolean);
    const texts = words.length ? this.searchable() : null;
    return this.order.filter(
      (row) =>
        wanted.every(([values, number]) => values[row] === number) &&
        (!this.onlyPictures || this.thumbnails.has(row)) &&
        words.every((word) => texts[row].includes(word)),
    );
  }

  /** Image, patient and every word of a row in lower case; made at the first search. */
  searchable() {
    if (!this.searched) {
      const columns = this.columns.filter((column) => column.kind !== "number");
      this.searched = Array.from({ length: this.count }, (_, row) =>
        columns.map((column) => this.value(column, row)).join("\n").toLowerCase(),
      );
    }
    return this.searched;
  }
}
