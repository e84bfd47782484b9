"use strict";
// The page holds each SVG once, as the picture; its download takes it from there.
for (const figure of document.querySelectorAll("figure")) {
  const link = figure.querySelector("a.svg");
  link.href = figure.querySelector("img").src;
  link.hidden = false;
}
