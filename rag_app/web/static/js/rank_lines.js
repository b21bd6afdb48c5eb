// Lines between two ranked lists. Kinds differ in width, dashes and the mark at their end.

const SPACE = "http://www.w3.org/2000/svg";

// `moves`: [{from, to, kind}], elements of the lists; one of the two may be null (not shown).
export function draw(svg, moves) {
  svg.replaceChildren();
  const frame = svg.getBoundingClientRect();
  const { width, height } = frame;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const middle = (item) => {
    if (item === null) return height - 2;
    const box = item.getBoundingClientRect();
    return box.top + box.height / 2 - frame.top;
  };
  const order = { same: 0, moves: 1, leaves: 2, enters: 3 };
  for (const { from, to, kind } of [...moves].sort((a, b) => order[a.kind] - order[b.kind])) {
    const y1 = middle(from);
    const y2 = middle(to);
    const bend = width / 2;
    const end = kind === "enters" || kind === "leaves" ? width - 7 : width;
    add(svg, `M0 ${y1} C${bend} ${y1} ${bend} ${y2} ${end} ${y2}`, kind);
    if (kind === "enters") add(svg, `M${width - 10} ${y2 - 6} L${width} ${y2} L${width - 10} ${y2 + 6} Z`, "end enters");
    if (kind === "leaves") add(svg, `M${width - 9} ${y2 - 4.5} h9 v9 h-9 Z`, "end leaves");
  }
}

function add(svg, path, kind) {
  const element = document.createElementNS(SPACE, "path");
  element.setAttribute("d", path);
  element.setAttribute("class", kind);
  svg.append(element);
}
