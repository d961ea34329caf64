// Threshold lab: what a threshold lets through at one moment of a recorded run, and how much of it is right.

VIEWS.threshold = (lab) => {
  const curveBox = h("div", { class: "lml-panel" }),
    barBox = h("div", { class: "lml-panel" });
  lab.stage.append(h("div", { class: "lml-two" }, curveBox, barBox));
  const LINES = [
    ["rate", "pass τ", "#B87700", "9 5", "Mask rate: share of the samples whose confidence reaches τ."],
    ["accuracy", "right among them", "#00558c", null, "Pseudo-label accuracy: share of right labels among those that pass."],
    ["product", "both", INK, "2 5", "The product of both: share of the samples that teach something true."],
  ];
  const TAUS = Array.from({ length: 100 }, (_, k) => k / 100);
  let state = null,
    p = null,
    chosen = [],
    curves = null;
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const c = chart(curveBox, {
    x: [0, 1],
    y: [0, 1],
    xticks: [0, 0.2, 0.4, 0.6, 0.8, 1],
    yticks: ticks,
    xformat: String,
    yformat: (v) => percent(v),
    xlabel: "threshold τ",
    top: 36,
  });
  draggable(c, (x) => {
    const tau = Math.round(clamp(x, 0, 0.99) * 100) / 100;
    if (tau !== lab.state.tau) lab.try(() => lab.set({ tau }, { dragged: true }));
  });
  const legend = h(
    "div",
    { class: "lml-legend" },
    ...LINES.map(([, name, color, dash, help]) =>
      h(
        "span",
        {},
        s(
          "svg",
          { width: 30, height: 12 },
          s("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: color, "stroke-width": 4, "stroke-dasharray": dash }),
        ),
        term(name, help),
      ),
    ),
  );
  curveBox.append(legend);

  // (rate, accuracy, product) at tau, of the chosen samples. Confidences are whole numbers of 1 / 10000.
  function passed(tau) {
    const at = state.snapshot * p.N,
      limit = Math.round(tau * 10000);
    let over = 0,
      right = 0;
    for (const k of chosen)
      if (p.confidence[at + k] >= limit) {
        over += 1;
        right += p.labels[at + k] === p.y[k] ? 1 : 0;
      }
    return { over, right, rate: over / chosen.length, accuracy: right / over, product: right / chosen.length };
  }
  c.draw = () => {
    if (!curves || !c.width) return;
    const here = passed(state.tau);
    c.layers.marks.replaceChildren(
      ...LINES.map(([key, , color, dash]) =>
        s("path", { d: c.path(TAUS, curves[key]), fill: "none", stroke: color, "stroke-width": 3.5, "stroke-dasharray": dash }),
      ),
      ...marker(c, state.tau),
      ...LINES.flatMap(([key, , color]) =>
        Number.isNaN(here[key])
          ? []
          : [s("circle", { cx: c.x(state.tau), cy: c.y(here[key]), r: 7, fill: color, stroke: "white", "stroke-width": 2 })],
      ),
    );
  };

  const bars = s("svg", { class: "lml-svg", role: "group", "aria-label": "pseudo-labels per class" });
  const hatch = s(
    "pattern",
    { id: `lml-hatch-${++count}`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    s("rect", { width: 7, height: 7, fill: "white" }),
    s("line", { x1: 0, x2: 0, y1: 0, y2: 7, stroke: INK, "stroke-width": 5 }),
  );
  const KINDS = [
    ["right", "#7DB8DE"],
    ["wrong", `url(#${hatch.id})`],
    ["below τ", "#E6E9ED"],
  ];
  const key = h(
    "div",
    { class: "lml-legend" },
    ...KINDS.map(([name, fill]) =>
      h("span", {}, s("svg", { width: 18, height: 14 }, s("rect", { width: 18, height: 14, fill, stroke: INK })), name),
    ),
  );
  barBox.append(bars, key);
  let size = [0, 0];
  const off = sized(barBox, (w, height) => {
    size = [w, height];
    drawBars();
  });
  function drawBars() {
    if (!p || !size[0]) return;
    const [width, height] = size,
      C = p.classes.length,
      long = p.classes.some((name) => name.length > 2),
      left = 44,
      top = 40,
      bottom = long ? 92 : 50,
      w = (width - left - 8) / C,
      tall = height - top - bottom;
    const counts = p.classes.map(() => [0, 0, 0]),
      at = state.snapshot * p.N,
      limit = Math.round(state.tau * 10000);
    for (let k = 0; k < p.N; k++)
      counts[p.labels[at + k]][p.confidence[at + k] < limit ? 2 : p.labels[at + k] === p.y[k] ? 0 : 1] += 1;
    const most = 20 * Math.ceil(Math.max(...counts.map((one) => one[0] + one[1] + one[2])) / 20),
      y = (v) => top + tall - (v / most) * tall;
    bars.setAttribute("viewBox", `0 0 ${width} ${height}`);
    bars.replaceChildren(
      hatch,
      ...[0, most / 2, most].flatMap((v) => [
        s("line", { x1: left, x2: width - 8, y1: y(v), y2: y(v), stroke: FAINT }),
        s("text", { x: left - 8, y: y(v) + 5, "text-anchor": "end", class: "lml-axis", text: v }),
      ]),
      ...counts.map((one, q) => {
        let base = 0;
        const x = left + q * w + w * 0.1,
          name = p.classes[q],
          dim = state.label !== "all" && state.label !== name;
        const words = `called ${name}: ${one[0]} right and ${one[1]} wrong over τ, ${one[2]} below`;
        const group = s(
          "g",
          { tabindex: 0, role: "button", "aria-label": words, class: "lml-pick", opacity: dim ? 0.35 : 1 },
          s("rect", { x: left + q * w, y: top, width: w, height: tall, fill: "transparent" }),
          ...one.map((v, i) => {
            const rect = s("rect", {
              x,
              y: y(base + v),
              width: w * 0.8,
              height: Math.max(0, y(base) - y(base + v)),
              fill: KINDS[i][1],
              stroke: INK,
              "stroke-width": v ? 1 : 0,
            });
            base += v;
            return rect;
          }),
          s(
            "text",
            long
              ? {
                  x: 0,
                  y: 0,
                  transform: `translate(${x + w * 0.55},${top + tall + 16}) rotate(-38)`,
                  "text-anchor": "end",
                  class: "lml-axis",
                  text: name.length > 14 ? `${[...name].slice(0, 13).join("")}…` : name,
                }
              : { x: x + w * 0.4, y: top + tall + 20, "text-anchor": "middle", class: "lml-axis", text: name },
          ),
        );
        const pick = () => lab.try(() => lab.set({ label: lab.state.label === name ? "all" : name }));
        group.addEventListener("click", pick);
        group.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") {
            event.preventDefault();
            pick();
          }
        });
        group.addEventListener("pointerenter", (event) => TIP.show(event.clientX, event.clientY, words));
        group.addEventListener("pointerleave", TIP.hide);
        return group;
      }),
      s("text", {
        x: left + (width - left) / 2,
        y: height - 6,
        "text-anchor": "middle",
        class: "lml-axis lml-label",
        text: "pseudo-label",
      }),
    );
    return counts;
  }

  return {
    needs: (next) => [`run_${next.run}`],
    play: { field: "snapshot", ms: 420, last: () => p.steps.length - 1 },
    clamp: (next, [pack]) => ({
      ...next,
      snapshot: Math.min(next.snapshot, pack.steps.length - 1),
      label: pack.classes.includes(next.label) ? next.label : "all",
    }),
    check(next, [pack], changes) {
      if (pack.y.includes(255))
        throw new InputError(
          `${pack.name}: the true classes of some samples are unknown, and this lab counts right labels; open it in the time machine.`,
        );
      if (!changes.run && next.label !== "all" && !pack.classes.includes(next.label))
        throw new InputError(`label=${next.label} is unknown; choose from all, ${pack.classes.join(", ")}.`);
    },
    spoken: (name, next) =>
      name === "snapshot" && p ? `step ${p.steps[Math.min(next.snapshot, p.steps.length - 1)]}` : undefined,
    draw(next, [pack]) {
      p = pack;
      const { snapshot, label, run } = state ?? {};
      state = next;
      lab.control("snapshot").limit(0, p.steps.length - 1);
      lab.control("label").bound(["all", ...p.classes].map((value) => ({ value, label: value })));
      if (!curves || snapshot !== state.snapshot || label !== state.label || run !== state.run) {
        const q = p.classes.indexOf(state.label);
        chosen = Array.from({ length: p.N }, (_, k) => k).filter((k) => q < 0 || p.labels[state.snapshot * p.N + k] === q);
        const all = TAUS.map(passed);
        curves = Object.fromEntries(LINES.map(([name]) => [name, all.map((v) => v[name])]));
      }
      c.draw();
      const counts = drawBars(),
        here = passed(state.tau),
        who = state.label === "all" ? "samples" : `samples that the network calls ${state.label}`;
      const when = `${p.name} (trained with τ = ${p.tau}), step ${p.steps[state.snapshot]}`;
      c.root.setAttribute(
        "aria-label",
        `${when}: over τ, the share of ${who} that pass, of right labels among them, and both. At τ = ${state.tau.toFixed(2)}: ${percent(here.rate)}, ${percent(here.accuracy)}, ${percent(here.product)}.`,
      );
      if (!chosen.length) return lab.say(`${when}: there are no ${who}; choose another pseudo-label.`);
      if (!here.over)
        return lab.say(
          `${when}: of ${chosen.length} ${who} none passes τ = ${state.tau.toFixed(2)}; nothing is learnt from them, neither right nor wrong.`,
        );
      lab.say(
        `${when}: of ${chosen.length} ${who}, ${percent(here.rate)} pass τ = ${state.tau.toFixed(2)} and ${percent(here.accuracy)} of these labels are right; so ${percent(here.product)} would teach what is true, ${percent(here.rate - here.product)} what is false.${classes(counts)}`,
      );
    },
    close() {
      c.close();
      off();
    },
  };
  function classes(counts) {
    if (!counts || state.label !== "all") return "";
    const over = counts.map((one) => one[0] + one[1]),
      silent = p.classes.filter((_, q) => !over[q]);
    const enough = over.map((n, q) => ({ n, q, right: counts[q][0] })).filter(({ n }) => n >= 10); // a share of fewer says little
    const [least] = enough.sort((a, b) => a.right / a.n - b.right / b.n);
    const worst = least ? ` Least to be trusted: “${p.classes[least.q]}”, ${least.right} of ${least.n} right.` : "";
    return `${worst}${silent.length ? ` No label over τ says ${silent.join(", ")}.` : ""}`;
  }
};
