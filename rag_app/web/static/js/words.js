// Codes and numbers in plain words. The reasons come with the page, from the server's own list.

const REASONS = JSON.parse(document.getElementById("words").textContent);
const STATUSES = {
  reranked: "Reranked",
  skipped: "Skipped",
  degraded: "Not reranked",
  refused: "Refused",
};

export const status = (code) => STATUSES[code] ?? code;
export const explained = (code) => code in REASONS;
export const reason = (code) => REASONS[code] ?? code.replaceAll("_", " ");

export function milliseconds(value) {
  if (value === null || value === undefined) return "\u2013";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`;
}

export const score = (value, digits = 3) =>
  value === null || value === undefined ? "\u2013" : value.toFixed(digits);

// Title and heading path as one; a path that begins with the title stands for both.
export function place(source) {
  const { title, heading } = source;
  if (!heading || heading === title) return "";
  return heading.startsWith(`${title} > `) ? heading.slice(title.length + 3) : heading;
}
