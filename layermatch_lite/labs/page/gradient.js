// Noise lab, second view: what the gradient of wrong labels does in each layer, with Grad-ReLU as a valve.

function gradientView(lab) {
  const net = h("div", { class: "lml-panel lml-net" }),
    curveBox = h("div", { class: "lml-panel" });
  const el = h("div", { class: "lml-stack" }, net, curveBox);
  let pack = null,
    state = null,
    show = "";
  const root = s("svg", { class: "lml-svg", role: "group" });
  net.append(root);
  const limits = { alignment: [-0.5, 1], benefit: [-0.5, 1.5] };
  const c = chart(curveBox, {
    x: [0, 1],
    y: limits.alignment,
    xticks: [0, 0.2, 0.4, 0.6, 0.8, 1],
    yticks: [-0.5, 0, 0.5, 1],
    zero: 0,
    xformat: (v) => percent(v),
    yformat: (v) => signed(v, 1),
    xlabel: "share of wrong labels",
    right: 126,
  });
  draggable(c, (x) => {
    const share = Math.round(clamp(x, 0, 1) * 10) / 10;
    if (share !== lab.state.share) lab.try(() => lab.set({ share }, { dragged: true }));
  });
  const BLUES = ["#6BB1E3", "#2E86C1", "#145A8C", "#082F4D"],
    PIPE = "#9db4c6";
  const value = (layer, rate, which) => {
    // which: 0 mean, 1 low, 2 high
    const { shape } = pack.sweep,
      [T, K, R, L, Q] = [
        pack.taus.indexOf(state.tau),
        pack.errors.indexOf(state.errors),
        pack.rates.indexOf(rate),
        layer,
        pack.quantities.indexOf(state.quantity),
      ];
    const D = pack.moments.indexOf(state.step);
    const v = pack.sweep[(((((D * shape[1] + T) * shape[2] + K) * shape[3] + R) * shape[4] + L) * shape[5] + Q) * 3 + which];
    return v === -32768 ? NaN : v / 1000;
  };
  const share = (rate, which) => {
    const { shape } = pack.shares,
      at =
        (((pack.moments.indexOf(state.step) * shape[1] + pack.taus.indexOf(state.tau)) * shape[2] +
          pack.errors.indexOf(state.errors)) *
          shape[3] +
          pack.rates.indexOf(rate)) *
          2 +
        which;
    const v = pack.shares[at];
    return v === -32768 ? NaN : v / 10000;
  };
  // The layers as they are drawn, with the place of each one's values; the gate has values of its own for the classifier.
  const layers = () => {
    const last = pack.layers.length - 2,
      row = pack.layers.slice(0, last).map((name, k) => ({ name, at: k, color: BLUES[Math.min(3, k)] }));
    return [...row, { name: "classifier", at: state.grad_relu === "gate" ? last + 1 : last, color: INK, last: true }];
  };
  c.draw = () => {
    if (!state || !c.width) return;
    const xs = pack.rates,
      ends = [];
    c.layers.marks.replaceChildren(
      ...layers().flatMap((layer) => {
        const [mid, low, high] = [0, 1, 2].map((w) => xs.map((r) => value(layer.at, r, w)));
        const blocked = layer.last && state.grad_relu === "block";
        ends.push({ layer, y: c.y(clamp(mid[mid.length - 1] || 0, ...c.spec.y)) });
        return [
          layer.name === (show || "classifier")
            ? s("path", { d: c.band(xs, low, high), fill: layer.color, opacity: 0.14 })
            : s("g"),
          s("path", {
            d: c.path(xs, mid),
            fill: "none",
            stroke: layer.color,
            "stroke-width": layer.last ? 4 : 2.5,
            opacity: blocked ? 0.35 : 1,
            "stroke-dasharray": layer.last && state.grad_relu !== "off" ? "8 6" : null,
          }),
        ];
      }),
      ...labelled(ends),
      ...marker(c, state.share),
    );
  };
  const labelled = (ends) => {
    ends.sort((a, b) => a.y - b.y);
    ends.forEach((e, k) => {
      if (k) e.y = Math.max(e.y, ends[k - 1].y + 18);
    });
    const over = Math.max(0, (ends.at(-1)?.y ?? 0) - (c.top + c.h));
    return ends.flatMap(({ layer, y }) => [
      s("rect", { x: c.left + c.w + 14, y: y - over - 2, width: 16, height: 5, fill: layer.color }),
      s("text", { x: c.left + c.w + 36, y: y - over + 6, class: "lml-axis", text: layer.name }),
    ]);
  };
  function tint(v) {
    if (Number.isNaN(v)) return "#eeeeee";
    const t = clamp(Math.abs(v), 0, 1),
      [r, g, b] = v >= 0 ? [33, 102, 172] : [213, 94, 0];
    return `rgb(${[r, g, b].map((one) => Math.round(255 - (255 - one) * (0.08 + 0.92 * t))).join()})`;
  }
  let size = [0, 0];
  function drawNet() {
    if (!state || !size[0]) return;
    const [width, height] = size,
      row = layers(),
      n = row.length,
      gap = 14,
      right = clamp(width * 0.13, 92, 170),
      w = (width - 12 - right - gap * n) / n;
    const top = 28,
      pipe = height - 24,
      tall = Math.max(30, pipe - top - 46),
      end = width - right + 18;
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    // The gradient comes from the pseudo-labels, at the right, along the pipe; the classifier's branch has a valve.
    const parts = [
      s("path", { d: `M${end},${pipe}H${12 + w / 2}`, stroke: PIPE, "stroke-width": 9, fill: "none", "stroke-linecap": "round" }),
      s("text", { x: end + 8, y: pipe - 4, class: "lml-axis", "font-weight": 650, text: "pseudo-" }),
      s("text", { x: end + 8, y: pipe + 14, class: "lml-axis", "font-weight": 650, text: "labels" }),
    ];
    row.forEach((layer, k) => {
      const x = 8 + k * (w + gap),
        v = value(layer.at, state.share, 0),
        blocked = layer.last && state.grad_relu === "block",
        strong = Math.abs(v) > 0.55;
      const shown = w < 60 ? signed(v, 1) : signed(v),
        middle = x + w / 2;
      const box = s(
        "g",
        {
          tabindex: 0,
          role: "img",
          "data-layer": layer.name,
          "data-value": blocked ? "0" : v.toFixed(3),
          "aria-label": `${layer.name}: ${state.quantity} ${blocked ? "blocked" : signed(v)}`,
        },
        s("rect", {
          x,
          y: top,
          width: w,
          height: tall,
          rx: 8,
          fill: blocked ? "white" : tint(v),
          stroke: layer.last ? INK : GREY,
          "stroke-width": layer.last ? 3 : 1.5,
          "stroke-dasharray": blocked ? "6 5" : null,
        }),
        s("text", {
          x: middle,
          y: top - 9,
          "text-anchor": "middle",
          class: "lml-axis",
          "font-weight": layer.last ? 750 : 500,
          text: w < 80 ? layer.name.replace("conv ", "c").replace("classifier", "last") : layer.name,
        }),
        s("text", {
          x: middle,
          y: top + tall / 2 + 8,
          "text-anchor": "middle",
          class: "lml-number",
          fill: blocked ? GREY : strong ? "white" : INK,
          text: blocked ? (w < 80 ? "0" : "blocked") : shown,
        }),
      );
      const tip = () => {
        const r = box.getBoundingClientRect();
        TIP.show(
          r.left,
          r.bottom - 20,
          `${layer.name}: ${state.quantity} ${signed(v)}; nine draws in ten lie between ${signed(value(layer.at, state.share, 1))} and ${signed(value(layer.at, state.share, 2))}.${blocked ? " Grad-ReLU keeps it out." : ""}`,
        );
        show = layer.name;
        c.draw();
      };
      const leave = () => {
        TIP.hide();
        show = "";
        c.draw();
      };
      for (const [name, action] of [
        ["pointerenter", tip],
        ["focus", tip],
        ["pointerleave", leave],
        ["blur", leave],
      ])
        box.addEventListener(name, action);
      const flows = blocked ? "#e3e7eb" : PIPE,
        y = top + tall;
      parts.push(
        s("path", { d: `M${middle},${pipe}V${y + 6}`, stroke: flows, "stroke-width": 7, fill: "none" }),
        s("path", { d: `M${middle - 9},${y + 14}L${middle},${y + 3}L${middle + 9},${y + 14}Z`, fill: flows }),
        box,
      );
      if (layer.last) parts.push(...valve(middle, (pipe + y) / 2 + 6, state.grad_relu));
    });
    root.replaceChildren(...parts);
  }
  // A wheel on the pipe: open along it, closed across, half-open for the gate.
  function valve(x, y, mode) {
    const words = {
      off: "Grad-ReLU off: all of it reaches the classifier",
      gate: "gate: only what does not oppose the labelled gradient passes",
      block: "block: nothing reaches the classifier",
    }[mode];
    return [
      s("circle", { cx: x, cy: y, r: 13, fill: "white", stroke: ACCENT, "stroke-width": 3 }, s("title", { text: words })),
      s("line", {
        x1: x,
        x2: x,
        y1: y - 12,
        y2: y + 12,
        stroke: mode === "off" ? ACCENT : "#c4002b",
        "stroke-width": 5.5,
        transform: `rotate(${{ off: 0, gate: 45, block: 90 }[mode]} ${x} ${y})`,
      }),
    ];
  }
  const off = sized(net, (w, height) => {
    size = [w, height];
    drawNet();
  });
  return {
    el,
    draw(next, data) {
      [state, pack] = [next, data];
      c.spec.y = limits[state.quantity];
      c.spec.yticks = state.quantity === "alignment" ? [-0.5, 0, 0.5, 1] : [-0.5, 0, 0.5, 1, 1.5];
      c.spec.xlabel = state.errors === "own" ? "share of labels that are its own" : "share of wrong labels";
      drawNet();
      if (c.width) c.frame(c.width, c.height);
      const row = layers(),
        values = row.map((layer) => value(layer.at, state.share, 0)),
        last = values.at(-1),
        others = values.slice(0, -1);
      const wrong = share(state.share, 1),
        passes = share(state.share, 0);
      c.root.setAttribute(
        "aria-label",
        `${state.quantity} over the ${c.spec.xlabel}: ${row.map((layer) => `${layer.name} ${pack.rates.map((r) => signed(value(layer.at, r, 0))).join(", ")}`).join("; ")}.`,
      );
      root.setAttribute("aria-label", row.map((layer, k) => `${layer.name} ${signed(values[k])}`).join(", "));
      if (Number.isNaN(last))
        return lab.say(
          `No sample is as confident as τ = ${state.tau}: nothing is learnt from pseudo-labels. Choose a later step or a lower τ.`,
        );
      const low = Math.min(...others),
        high = Math.max(...others);
      const blocked = state.grad_relu === "block";
      const range = `${signed(low)} to ${signed(high)} in the feature layers, ${blocked ? "it would be " : ""}${signed(last)} in the classifier`;
      const verdict = blocked
        ? "Grad-ReLU keeps it out of the classifier; the features get what they got before."
        : last < low - 0.05
          ? "The classifier gets the worst of it."
          : last > high + 0.05
            ? "Here the classifier is served best: not every error hurts it most."
            : "Classifier and features fare alike.";
      const strategy = { off: "", block: "", gate: " The gate lets through what does not oppose the labelled gradient." }[
        state.grad_relu
      ];
      lab.say(
        `${percent(passes)} of the samples pass τ = ${state.tau}, ${percent(wrong)} of their labels are wrong (${HOW[state.errors]}). ${state.quantity === "alignment" ? "Alignment with the true gradient" : "Benefit"}: ${range}, mean of ${pack.draws} draws. ${verdict}${strategy}`,
      );
    },
    close() {
      off();
      c.close();
    },
  };
}
