// Axes, lines, bands and bars in SVG; a map of points on a canvas. Everything is laid out in real pixels, so text never shrinks.

// Colours: one meaning each. Classes keep theirs on every map.
const CLASS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#999933", "#8B4513", "#332288"];
const colorOf = (c) => CLASS[c % CLASS.length];
const INK = "#1a1a1a",
  GREY = "#767676",
  FAINT = "#d9dde2",
  ACCENT = "#00558c";

// An element that draws itself anew whenever its box changes: draw(width, height).
function sized(el, draw) {
  let last = "";
  const look = () => {
    const { width, height } = el.getBoundingClientRect();
    if (width < 20 || height < 20) return;
    const key = `${width}x${height}@${devicePixelRatio}`;
    if (key !== last) {
      last = key;
      draw(width, height);
    }
  };
  const observer = new ResizeObserver(look);
  observer.observe(el);
  return () => observer.disconnect();
}

// A chart with fixed axes. spec: {x: [low, high], y: [low, high], xticks, yticks, xformat, yformat, xlabel, ylabel, zero}
function chart(panel, spec) {
  const root = s("svg", { class: "lml-svg", role: "img" });
  panel.append(root);
  const layers = { axes: s("g"), marks: s("g") };
  root.append(layers.axes, layers.marks);
  const c = { root, layers, spec, x: (v) => v, y: (v) => v, draw: () => {} };
  const text = (x, y, value, more = {}) => s("text", { x, y, class: "lml-axis", text: value, ...more });
  c.text = text;
  c.frame = (width, height) => {
    const left = spec.left ?? 64,
      right = spec.right ?? 14,
      top = spec.top ?? 12,
      bottom = spec.xlabel ? 50 : 28;
    Object.assign(c, { width, height, left, top, w: width - left - right, h: height - top - bottom });
    c.x = (v) => left + ((v - spec.x[0]) / (spec.x[1] - spec.x[0])) * c.w;
    c.y = (v) => top + c.h - ((v - spec.y[0]) / (spec.y[1] - spec.y[0])) * c.h;
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const every = Math.max(1, Math.ceil((spec.xticks.length * 46) / c.w));
    layers.axes.replaceChildren(
      ...spec.yticks.flatMap((v) => [
        s("line", { x1: left, x2: left + c.w, y1: c.y(v), y2: c.y(v), stroke: v === spec.zero ? GREY : FAINT }),
        text(left - 8, c.y(v) + 5, spec.yformat(v), { "text-anchor": "end" }),
      ]),
      ...spec.xticks
        .filter((_, k) => k % every === 0)
        .map((v) => text(c.x(v), top + c.h + 20, spec.xformat(v), { "text-anchor": "middle" })),
      ...(spec.xlabel
        ? [text(left + c.w / 2, height - 6, spec.xlabel, { "text-anchor": "middle", class: "lml-axis lml-label" })]
        : []),
      ...(spec.ylabel ? [text(left, 14, spec.ylabel, { class: "lml-axis lml-label" })] : []),
    );
    c.draw();
  };
  c.path = (xs, ys) => {
    let d = "";
    xs.forEach((v, k) => {
      if (ys[k] != null && !Number.isNaN(ys[k]))
        d += `${d ? "L" : "M"}${c.x(v).toFixed(1)},${c.y(clamp(ys[k], spec.y[0], spec.y[1])).toFixed(1)}`;
    });
    return d;
  };
  c.band = (xs, low, high) => {
    const ok = xs.map((_, k) => k).filter((k) => !Number.isNaN(low[k]) && !Number.isNaN(high[k]));
    if (!ok.length) return "";
    const at = (k, v) => `${c.x(xs[k]).toFixed(1)},${c.y(clamp(v, spec.y[0], spec.y[1])).toFixed(1)}`;
    return `M${ok.map((k) => at(k, high[k])).join("L")}L${ok
      .reverse()
      .map((k) => at(k, low[k]))
      .join("L")}Z`;
  };
  c.close = sized(panel, c.frame);
  return c;
}

// Drag anywhere in a chart: at(x in the chart's own units). Arrow keys stay with the slider, which says the same.
function draggable(c, at) {
  const value = (event) => {
    const box = c.root.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * c.width;
    return clamp(c.spec.x[0] + ((x - c.left) / c.w) * (c.spec.x[1] - c.spec.x[0]), ...c.spec.x);
  };
  c.root.classList.add("lml-drag");
  c.root.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse") {
      c.root.setPointerCapture(event.pointerId);
      at(value(event));
    }
  });
  c.root.addEventListener("pointermove", (event) => {
    if (event.buttons) at(value(event));
  });
  c.root.addEventListener("click", (event) => at(value(event))); // a tap; a finger that scrolls the page is none
}

// The marker of a chart: a line with a handle.
function marker(c, x) {
  return [
    s("line", { x1: c.x(x), x2: c.x(x), y1: c.top, y2: c.top + c.h, stroke: ACCENT, "stroke-width": 2 }),
    s("circle", { cx: c.x(x), cy: c.top, r: 9, fill: ACCENT, stroke: "white", "stroke-width": 2.5 }),
  ];
}

// --- a map of points -------------------------------------------------------------------------------------------------

// move(points): Float64Array of x, y in [0, 1], which fill the panel; looks[k] says how point k is drawn: {color, faint, glyph}.
// A glyph is a text in a white circle, legible over other points. centres: {name, color, own: [k, ...]}, named above their points.
function pointMap(panel, { onPick, tip } = {}) {
  const canvas = h("canvas", { class: "lml-map", role: "img" });
  panel.append(canvas);
  const m = { canvas, looks: [], centres: [], trail: null, hover: null };
  let width = 0,
    height = 0,
    at = null;
  const motion = glide((points) => {
    at = points;
    paint();
  });
  const spot = (x, y) => [22 + x * (width - 44), height - 24 - y * (height - 66)];
  const place = (k) => spot(at[2 * k], at[2 * k + 1]);
  function paint() {
    if (!at || !width) return;
    const g = canvas.getContext("2d", { alpha: false }),
      scale = devicePixelRatio,
      size = clamp(Math.min(width, height) / 70, 3.6, 7.5);
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.fillStyle = "white";
    g.fillRect(0, 0, width + 1, height + 1);
    g.textAlign = "center";
    g.textBaseline = "middle";
    const circle = (x, y, r) => {
      g.beginPath();
      g.arc(x, y, r, 0, 2 * Math.PI);
    };
    const ringed = (k, r, color, line) => {
      circle(...place(k), r);
      g.lineWidth = line;
      g.strokeStyle = color;
      g.stroke();
    };
    m.looks.forEach(({ color, faint, glyph }, k) => {
      if (glyph != null) return;
      g.globalAlpha = faint ? 0.25 : 0.9;
      circle(...place(k), size * 0.85);
      g.fillStyle = color;
      g.fill();
    });
    g.globalAlpha = 1;
    g.font = `700 ${Math.round(size * 2)}px system-ui, sans-serif`;
    m.looks.forEach(({ color, glyph }, k) => {
      if (glyph == null) return;
      const [x, y] = place(k);
      circle(x, y, size * 1.35);
      g.fillStyle = "white";
      g.fill();
      g.lineWidth = 1.8;
      g.strokeStyle = color;
      g.stroke();
      g.fillStyle = INK;
      g.fillText(glyph, x, y + 0.5);
    });
    if (m.trail) {
      g.beginPath();
      m.trail.path.forEach(([x, y], k) => g[k ? "lineTo" : "moveTo"](...spot(x, y)));
      g.lineWidth = 2;
      g.strokeStyle = INK;
      g.setLineDash([5, 4]);
      g.stroke();
      g.setLineDash([]);
      for (const k of m.trail.near) ringed(k, size * 1.7, ACCENT, 1.5);
      ringed(m.trail.k, size * 2.4, INK, 3.5);
    }
    m.centres.forEach(({ name, color }, c) => {
      const k = 2 * (m.looks.length + c),
        [x, y] = spot(at[k], at[k + 1]);
      if (Number.isNaN(x)) return;
      g.font = `800 ${name.length > 2 ? 16 : clamp(Math.round(size * 4), 18, 28)}px system-ui, sans-serif`;
      g.lineWidth = 5;
      g.strokeStyle = "rgba(255,255,255,.95)";
      g.fillStyle = darker(color);
      const above = Math.max(16, y - size * 1.4 - 12);
      g.strokeText(name, x, above);
      g.fillText(name, x, above);
    });
    if (m.hover != null) ringed(m.hover, size * 1.9, INK, 2);
  }
  // Where the name of these points stands: in the middle, above most of them.
  function above(points, own) {
    const sorted = (values) => values.sort((a, b) => a - b),
      x = sorted(own.map((k) => points[2 * k]))[own.length >> 1];
    const near = sorted(own.filter((k) => Math.abs(points[2 * k] - x) < 0.08).map((k) => points[2 * k + 1]));
    return [x ?? NaN, near[Math.floor(near.length * 0.96)] ?? NaN];
  }
  function nearest(event) {
    if (!at) return null;
    const box = canvas.getBoundingClientRect(),
      x = event.clientX - box.left,
      y = event.clientY - box.top;
    let best = null,
      least = 22 ** 2;
    for (let k = 0; k < m.looks.length; k++) {
      const [px, py] = place(k),
        d = (px - x) ** 2 + (py - y) ** 2;
      if (d < least) {
        least = d;
        best = k;
      }
    }
    return best;
  }
  canvas.addEventListener("pointermove", (event) => {
    const k = nearest(event);
    if (k !== m.hover) {
      m.hover = k;
      paint();
      m.onHover?.(k);
    }
    if (k != null && tip) TIP.show(event.clientX, event.clientY, tip(k));
    else TIP.hide();
  });
  canvas.addEventListener("pointerleave", () => {
    m.hover = null;
    TIP.hide();
    paint();
    m.onHover?.(null);
  });
  if (onPick) {
    canvas.classList.add("lml-pick");
    canvas.addEventListener("click", (event) => {
      const k = nearest(event);
      if (k != null) onPick(k);
    });
  }
  m.move = (points, milliseconds) => motion.to([...points, ...m.centres.flatMap(({ own }) => above(points, own))], milliseconds);
  m.paint = paint;
  m.close = (() => {
    const off = sized(panel, (w, hgt) => {
      [width, height] = [w, hgt];
      canvas.width = Math.round(w * devicePixelRatio);
      canvas.height = Math.round(hgt * devicePixelRatio);
      paint();
    });
    return () => {
      off();
      motion.stop();
    };
  })();
  return m;
}

// How a map's coordinates fill a panel: part -> x, y in [0, 1]. The outermost hundredth on each side is put on the edge.
function fitting(values) {
  const [x, y] = [0, 1].map((i) => values.filter((_, k) => (k & 1) === i).sort((a, b) => a - b));
  const ends = [x, y].map((v) => [v[Math.floor(v.length / 100)], v[Math.ceil((v.length * 99) / 100) - 1]]);
  return (part) =>
    Float64Array.from(part, (v, k) => {
      const [low, high] = ends[k & 1];
      return clamp((v - low) / Math.max(1e-9, high - low), -0.02, 1.02);
    });
}

const darker = (color) => `rgb(${[1, 3, 5].map((i) => Math.round(parseInt(color.slice(i, i + 2), 16) * 0.72)).join()})`;

// A small picture of one sample: an image of grey or colour bytes, or a curve.
function thumbnail(values, shape, side = 84) {
  if (shape.length === 3) {
    const [channels, rows, columns] = shape,
      canvas = h("canvas", { width: columns, height: rows, class: "lml-thumb", style: `width:${side}px;height:${side}px` });
    const g = canvas.getContext("2d"),
      image = g.createImageData(columns, rows),
      n = rows * columns;
    for (let k = 0; k < n; k++) {
      for (let c = 0; c < 3; c++) image.data[4 * k + c] = channels === 3 ? values[c * n + k] : 255 - values[k];
      image.data[4 * k + 3] = 255;
    }
    g.putImageData(image, 0, 0);
    return canvas;
  }
  const n = shape[shape.length - 1],
    points = Array.from(values, (v, k) => `${(k / (n - 1)) * side * 1.6},${(1 - v / 255) * side}`).join(" ");
  return s(
    "svg",
    { width: side * 1.6, height: side, viewBox: `-2 -4 ${side * 1.6 + 4} ${side + 8}`, class: "lml-thumb" },
    s("polyline", { points, fill: "none", stroke: INK, "stroke-width": 2 }),
  );
}
