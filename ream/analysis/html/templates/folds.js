"use strict";
// What a link leads to is unfolded; so is everything by the button, and for printing.
(() => {
  const folds = [...document.querySelectorAll("details")];
  const button = document.getElementById("unfold");
  const reveal = (hash) => {
    const target = document.getElementById(decodeURIComponent(hash.slice(1)));
    if (target === null) return;
    const inner = target.querySelector(":scope > details.fold");
    if (inner !== null) inner.open = true;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", () => reveal(location.hash));
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => reveal(link.hash)); // again
  reveal(location.hash);
  if (folds.length === 0) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = folds.some((fold) => !fold.open);
    for (const fold of folds) fold.open = open;
    button.textContent = open ? "Fold all" : "Unfold all";
  });
  let before = null;
  addEventListener("beforeprint", () => {
    before = folds.map((fold) => fold.open);
    for (const fold of folds) fold.open = true;
  });
  addEventListener("afterprint", () => folds.forEach((fold, place) => (fold.open = before[place])));
})();
