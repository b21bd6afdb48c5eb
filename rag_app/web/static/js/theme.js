// Before the first paint, and so not a module: otherwise the wrong colours would flash.
"use strict";
(() => {
  try {
    const theme = localStorage.getItem("rankgate-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be forbidden; then the system's colours stay.
  }
})();
