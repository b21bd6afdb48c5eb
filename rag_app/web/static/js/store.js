// What the browser remembers for the page; without storage it forgets, and works.

export function recall(name, fallback) {
  try {
    return localStorage.getItem(`rankgate-${name}`) ?? fallback;
  } catch {
    return fallback;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`rankgate-${name}`, value);
  } catch {
    // Forbidden or full: nothing depends on it.
  }
}
