"use strict";
// In the head, so that the chosen theme applies before anything is painted.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = {
    get() { try { return localStorage.getItem("ream-theme"); } catch { return null; } }, // without storage the theme is not remembered
    set(value) { try { localStorage.setItem("ream-theme", value); } catch { /* the same */ } },
  };
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const before = stored.get();
  if (before === "light" || before === "dark") root.dataset.theme = before;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => {
      const other = theme() === "dark" ? "Light" : "Dark";
      button.textContent = other;
      button.setAttribute("aria-label", `${other} colours`);
      document.dispatchEvent(new Event("themechange"));
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      stored.set(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  });
})();
