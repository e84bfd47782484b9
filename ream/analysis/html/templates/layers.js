"use strict";
// Views of the layers: a map of all, the saliency and groups of the chosen one, and the errors of all.
(() => {
  const source = document.getElementById("layer-data");
  if (source === null) return;
  const data = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const FATES = { lone: "kept alone", centre: "kept, others merged into it", absorbed: "merged into another", dropped: "dropped" };

  // A layer with the lists that its places stand for (layers.py).
  const opened = (layer) => {
    const [index, groups, weights, saliency, error, rare, precision, undecided] = layer;
    const owners = data.lists[groups];
    const sizes = new Map();
    for (const owner of owners) if (owner >= 0) sizes.set(owner, (sizes.get(owner) || 0) + 1);
    const fate = (expert) => {
      if (owners[expert] < 0) return "dropped";
      if (owners[expert] !== expert) return "absorbed";
      return sizes.get(expert) > 1 ? "centre" : "lone";
    };
    const values = saliency < 0 ? null : data.lists[saliency];
    return { index, owners, weights: data.lists[weights], saliency: values, error, rare, precision, undecided, fates: owners.map((_, expert) => fate(expert)) };
  };
  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const drawn = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const picture = (width, height, label) => drawn("svg", { width, height, role: "img", "aria-label": label });
  const short = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4))));
  // The colour of a custom property in the current theme, [r, g, b].
  const probe = element("span");
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  };
  const css = (channels) => `rgb(${channels.map(Math.round).join(" ")})`;
  const told = (layer, expert) => {
    const saliency = layer.saliency === null ? "" : `, saliency ${short(layer.saliency[expert])}`;
    const fate = { absorbed: `merged into expert ${layer.owners[expert]} with weight ${short(layer.weights[expert])}`, centre: `kept with weight ${short(layer.weights[expert])} in its group` };
    return `Layer ${layer.index}, expert ${expert}${saliency}: ${fate[layer.fates[expert]] || FATES[layer.fates[expert]]}.`;
  };
  const legend = (target, entries) => target.replaceChildren(...entries);
  const fateEntries = (layers) => {
    const present = new Set(layers.flatMap((layer) => layer.fates));
    return Object.keys(FATES).filter((fate) => present.has(fate)).map((fate) => element("span", {}, element("i", { className: `fate-${fate}` }), FATES[fate]));
  };

  const state = { view: data.views[0], layers: [], chosen: 0, cells: null };
  let wanted = {}; // first values of the selects

  const fill = (select, values, before) => {
    select.replaceChildren(...values.map((value) => element("option", { value, textContent: value })));
    select.value = values.map(String).includes(before) ? before : String(values[0]);
  };
  const distinct = (views, field) => [...new Set(views.map((view) => view[field]))];
  // Each select offers what the choices before it leave, and keeps its value where it can.
  const choose = () => {
    let views = data.views;
    for (const field of ["mix", "method", "experts"]) {
      const select = at(`view-${field}`);
      fill(select, distinct(views, field), wanted[field] || select.value);
      views = views.filter((view) => String(view[field]) === select.value);
    }
    state.view = views[0];
    state.layers = state.view.layers.map(opened);
    fill(at("view-layer"), state.layers.map((layer) => layer.index), at("view-layer").value);
    wanted = {};
    pick();
  };
  const pick = () => {
    state.chosen = state.layers.findIndex((layer) => String(layer.index) === at("view-layer").value);
    draw();
  };

  const order = (layer) => {
    const experts = layer.owners.map((_, expert) => expert);
    return at("map-order").value === "saliency" && layer.saliency !== null ? experts.sort((a, b) => layer.saliency[b] - layer.saliency[a] || a - b) : experts;
  };
  const drawMap = () => {
    const canvas = at("map");
    const known = state.layers.some((layer) => layer.saliency !== null);
    at("map-colour").querySelector("[value=saliency]").disabled = !known;
    at("map-order").querySelector("[value=saliency]").disabled = !known;
    if (!known) at("map-colour").value = "fate";
    const left = 30, top = 4, bottom = 18;
    const experts = Math.max(1, ...state.layers.map((layer) => layer.owners.length));
    const space = canvas.parentElement.clientWidth - left - 2;
    const wide = Math.min(40, Math.max(7, Math.floor(space / experts)));
    const high = Math.min(26, Math.max(9, Math.floor(460 / state.layers.length)));
    const width = left + wide * experts + 2, height = top + high * state.layers.length + bottom, scale = devicePixelRatio || 1;
    Object.assign(canvas, { width: width * scale, height: height * scale });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const stops = [colour("--low"), colour("--middle"), colour("--high")], soft = css(colour("--soft"));
    const fates = Object.fromEntries([["lone", "--lone"], ["centre", "--centre"], ["absorbed", "--absorbed"], ["dropped", "--dropped"]].map(([fate, name]) => [fate, css(colour(name))]));
    const by = at("map-colour").value;
    const shade = (share) => {
      const from = share < 0.5 ? 0 : 1, along = 2 * share - from;
      return css(stops[from].map((channel, part) => channel + (stops[from + 1][part] - channel) * along));
    };
    pen.font = `10px ${getComputedStyle(document.body).fontFamily}`;
    const rows = state.layers.map(order);
    state.layers.forEach((layer, row) => {
      const largest = layer.saliency === null ? 0 : Math.max(...layer.saliency);
      rows[row].forEach((expert, place) => {
        const share = by === "saliency" && layer.saliency !== null && largest > 0 ? layer.saliency[expert] / largest : 0;
        pen.fillStyle = by === "fate" || layer.saliency === null ? fates[layer.fates[expert]] : shade(Math.min(1, Math.max(0, share)));
        pen.fillRect(left + place * wide, top + row * high, wide - 1, high - 1);
      });
      pen.fillStyle = soft;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      if (high >= 11 || row % 2 === 0) pen.fillText(layer.index, left - 6, top + row * high + high / 2);
    });
    pen.strokeStyle = css(colour("--text"));
    pen.lineWidth = 2;
    pen.strokeRect(left - 1.5, top + state.chosen * high - 1.5, wide * experts + 2, high + 2);
    pen.fillStyle = soft;
    pen.textBaseline = "alphabetic";
    if (at("map-order").value === "saliency" && known) {
      pen.textAlign = "left";
      pen.fillText("most salient", left, height - 5);
      pen.textAlign = "right";
      pen.fillText("least", left + wide * experts, height - 5);
    } else {
      pen.textAlign = "center";
      const step = [1, 2, 4, 8, 16, 32, 64].find((count) => count * wide >= 24) || 128;
      for (let expert = 0; expert < experts; expert += step) pen.fillText(expert, left + (expert + 0.5) * wide, height - 5);
    }
    state.cells = (x, y) => {
      const row = Math.floor((y - top) / high), place = Math.floor((x - left) / wide);
      return row in state.layers && place in rows[row] ? [row, rows[row][place]] : null;
    };
    const ramp = element("span", {}, "0 ", element("i", { className: "ramp" }), " largest in the layer");
    legend(at("map-legend"), by === "fate" ? fateEntries(state.layers) : [ramp]);
  };

  const drawBars = (layer) => {
    const target = at("bars");
    at("bars-title").textContent = `Saliency of the experts of layer ${layer.index}`;
    at("bars-note").textContent = layer.rare ? `${Math.round(1000 * layer.rare) / 10}% of these experts saw fewer than ${data.few} calibration tokens, so their saliency is uncertain.` : "";
    if (layer.precision !== undefined) at("bars-note").textContent += ` Mean outputs come from a sample of tokens: similarities have a standard error of at most ${layer.precision}, and the groups of ${layer.undecided} experts are undecided.`;
    legend(at("bars-legend"), layer.saliency === null ? [] : fateEntries([layer]));
    if (layer.saliency === null) {
      target.replaceChildren(element("p", { className: "hint", textContent: "The saliency of this layer is not known." }));
      return;
    }
    const left = 46, top = 8, high = 190, experts = layer.owners.map((_, expert) => expert);
    experts.sort((a, b) => layer.saliency[b] - layer.saliency[a] || a - b);
    const step = Math.max(3, (target.parentElement.clientWidth - left - 4) / experts.length);
    const largest = Math.max(...layer.saliency) || 1;
    const svg = picture(left + step * experts.length + 2, top + high + 20, at("bars-title").textContent);
    for (const share of [0, 0.5, 1]) {
      const y = top + high * (1 - share);
      svg.append(drawn("line", { x1: left, x2: left + step * experts.length, y1: y, y2: y, stroke: "currentColor", "stroke-opacity": 0.15 }));
      svg.append(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, short(largest * share)));
    }
    const every = Math.ceil(22 / step);
    experts.forEach((expert, place) => {
      const tall = Math.max(0.5, (high * Math.max(0, layer.saliency[expert])) / largest);
      const bar = drawn("rect", { x: left + place * step + 0.5, y: top + high - tall, width: step - Math.min(1.5, step / 4), height: tall, class: `fate-${layer.fates[expert]}` });
      bar.append(drawn("title", {}, told(layer, expert)));
      svg.append(bar);
      if (place % every === 0) svg.append(drawn("text", { x: left + (place + 0.5) * step, y: top + high + 14, "text-anchor": "middle" }, String(expert)));
    });
    target.replaceChildren(svg);
  };

  const drawGroups = (layer) => {
    at("groups-title").textContent = `Groups of layer ${layer.index}`;
    const by = (fate) => layer.fates.flatMap((other, expert) => (other === fate ? [expert] : []));
    const card = (centre) => {
      const members = layer.owners.flatMap((owner, expert) => (owner === centre && expert !== centre ? [expert] : []));
      members.sort((a, b) => layer.weights[b] - layer.weights[a] || a - b);
      const part = (expert) => {
        const made = element("span", { className: expert === centre ? "fate-centre" : "fate-absorbed", title: told(layer, expert) });
        made.style.flex = `${layer.weights[expert]} 1 0`;
        return made;
      };
      const entry = (expert) => element("li", {}, element("b", { textContent: expert }), " ", element("small", { textContent: short(layer.weights[expert]) }));
      return element("div", { className: "group" },
        element("p", {}, element("b", { textContent: `Expert ${centre}` }), ` with ${members.length} merged into it`),
        element("div", { className: "share" }, ...[centre, ...members].map(part)),
        element("ul", { className: "members" }, ...[centre, ...members].map(entry)));
    };
    const lone = by("lone"), dropped = by("dropped"), centres = by("centre");
    const sizes = new Map(centres.map((centre) => [centre, layer.owners.filter((owner) => owner === centre).length]));
    centres.sort((a, b) => sizes.get(b) - sizes.get(a) || a - b);
    const said = (words, experts) => (experts.length ? [element("p", { className: "others" }, element("b", { textContent: `${words}: ` }), experts.join(", "))] : []);
    at("groups").replaceChildren(
      ...(centres.length ? [element("p", { className: "hint", textContent: "Each expert is shown with its weight in the merged one; the weights of a group sum to 1." }), element("div", { className: "groups" }, ...centres.map(card))] : [element("p", { className: "hint", textContent: "No experts were merged." })]),
      ...said("Kept alone", lone), ...said("Dropped", dropped));
  };

  const drawError = () => {
    const target = at("error");
    const beside = data.views.filter((view) => view.mix === state.view.mix && view.experts === state.view.experts && view.layers.some((layer) => layer[4] !== null));
    at("error-title").textContent = "Error of every layer";
    if (!beside.length) {
      target.replaceChildren(element("p", { className: "hint", textContent: "Not known for this mix and number of experts." }));
      return;
    }
    const left = 52, right = 8, top = 8, high = 190, width = Math.max(240, target.clientWidth);
    const indices = [...new Set(beside.flatMap((view) => view.layers.map((layer) => layer[0])))].sort((a, b) => a - b);
    const largest = Math.max(...beside.flatMap((view) => view.layers.map((layer) => layer[4] || 0))) || 1;
    const x = (index) => left + (indices.length < 2 ? 0.5 : indices.indexOf(index) / (indices.length - 1)) * (width - left - right - 8) + 4;
    const y = (error) => top + high * (1 - error / largest);
    const svg = picture(width, top + high + 34, at("error-title").textContent);
    for (const share of [0, 0.5, 1]) {
      svg.append(drawn("line", { x1: left, x2: width - right, y1: y(share * largest), y2: y(share * largest), stroke: "currentColor", "stroke-opacity": 0.15 }));
      svg.append(drawn("text", { x: left - 6, y: y(share * largest) + 4, "text-anchor": "end" }, short(share * largest)));
    }
    const every = Math.ceil((indices.length * 26) / (width - left));
    indices.forEach((index, place) => place % every === 0 && svg.append(drawn("text", { x: x(index), y: top + high + 15, "text-anchor": "middle" }, String(index))));
    svg.append(drawn("text", { x: (left + width) / 2, y: top + high + 31, "text-anchor": "middle" }, "layer"));
    const chosen = state.layers[state.chosen].index;
    svg.append(drawn("line", { x1: x(chosen), x2: x(chosen), y1: top, y2: top + high, stroke: "currentColor", "stroke-opacity": 0.35, "stroke-dasharray": "3 3" }));
    beside.sort((a, b) => (a === state.view) - (b === state.view));
    for (const view of beside) {
      const own = view === state.view, known = view.layers.filter((layer) => layer[4] !== null), tone = data.colours[view.method];
      svg.append(drawn("polyline", { points: known.map((layer) => `${x(layer[0])},${y(layer[4])}`).join(" "), fill: "none", stroke: tone, "stroke-width": own ? 3 : 1.5, "stroke-opacity": own ? 1 : 0.55 }));
      for (const layer of known) svg.append(drawn("circle", { cx: x(layer[0]), cy: y(layer[4]), r: own ? 4 : 2.5, fill: tone }, drawn("title", {}, `${view.method}, layer ${layer[0]}: ${short(layer[4])}`)));
    }
    const names = element("p", { className: "legend" }, ...distinct(beside, "method").map((method) => {
      const mark = element("i");
      mark.style.background = data.colours[method];
      return element("span", {}, mark, method === state.view.method ? element("b", { textContent: method }) : method);
    }));
    target.replaceChildren(svg, names, element("p", { className: "hint", textContent: `${data.error}; all methods with this mix and size` }));
  };

  const draw = () => {
    const count = (fate) => state.layers.reduce((sum, layer) => sum + layer.fates.filter((other) => other === fate).length, 0);
    const all = state.layers.reduce((sum, layer) => sum + layer.owners.length, 0);
    at("view-summary").textContent = `${state.view.method} on ${state.view.mix}, ${state.view.experts} experts: of ${all} experts in ${state.layers.length} layers, ${count("lone")} are kept alone, ${count("centre")} are kept with others merged into them, ${count("absorbed")} are merged into another and ${count("dropped")} are dropped.`;
    const link = at("view-recipe");
    link.hidden = state.view.link === null;
    if (state.view.link !== null) link.href = state.view.link;
    drawMap();
    drawBars(state.layers[state.chosen]);
    drawGroups(state.layers[state.chosen]);
    drawError();
  };
  const pointed = (event) => {
    const box = at("map").getBoundingClientRect();
    return state.cells(event.clientX - box.left, event.clientY - box.top);
  };

  document.body.append(probe);
  probe.hidden = true;
  at("views").hidden = false;
  for (const field of ["mix", "method", "experts"]) at(`view-${field}`).addEventListener("change", choose);
  at("view-layer").addEventListener("change", pick);
  for (const id of ["map-colour", "map-order"]) at(id).addEventListener("change", drawMap);
  at("map").addEventListener("pointermove", (event) => {
    const cell = pointed(event);
    if (cell) at("map-readout").textContent = told(state.layers[cell[0]], cell[1]);
  });
  at("map").addEventListener("click", (event) => {
    const cell = pointed(event);
    if (!cell) return;
    at("view-layer").value = String(state.layers[cell[0]].index);
    pick();
    at("map-readout").textContent = told(state.layers[cell[0]], cell[1]);
  });
  document.addEventListener("themechange", draw);
  at("views").closest("details").addEventListener("toggle", draw); // folded, the views have no width
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) draw(); // phones change only the height when their bars hide
    width = innerWidth;
  });
  // Start with the first model that has merged experts: it shows more than one that only dropped some.
  const merged = data.views.find((view) => view.layers.some((layer) => data.lists[layer[1]].some((owner, expert) => owner >= 0 && owner !== expert)));
  if (merged !== undefined) for (const field of ["mix", "method", "experts"]) wanted[field] = String(merged[field]);
  choose();
})();
