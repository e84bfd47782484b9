"use strict";
// The page holds each SVG once, as the picture; its download is made from there.
for (const figure of document.querySelectorAll("figure")) {
  const link = figure.querySelector("a.svg");
  const text = new XMLSerializer().serializeToString(figure.querySelector("svg.drawn"));
  link.href = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  link.hidden = false;
}
