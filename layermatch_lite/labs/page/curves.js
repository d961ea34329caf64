// Training lab: curves of one or two methods over the steps of a training, recorded or live.

const METHOD = {
  supervised: ["#555555", "2 6"],
  fixmatch: ["#D55E00", null],
  grad_relu: ["#B87700", "12 4 2 4"],
  avg_clustering: ["#00785a", "8 4"],
  layermatch: ["#0072B2", "14 5"],
};

VIEWS.training = (lab) => {
  const titles = [
    ["Test accuracy", "Share of test samples that the averaged (EMA) model classifies rightly."],
    ["Labels over τ", "Thin: the share of samples over τ. Thick: the share of right labels among them."],
  ];
  const boxes = titles.map(([name, help]) =>
    h("div", { class: "lml-column" }, h("div", { class: "lml-over" }, term(name, help)), h("div", { class: "lml-panel" })),
  );
  const legend = h("div", { class: "lml-key" });
  lab.stage.append(legend, h("div", { class: "lml-curves" }, ...boxes));
  let state = null,
    frame = null;
  const charts = boxes.map((box) =>
    chart(box.lastChild, {
      x: [0, 300],
      xticks: [0, 150, 300],
      xformat: String,
      xlabel: "step",
      y: [0, 1],
      yticks: [0, 0.25, 0.5, 0.75, 1],
      yformat: (v) => percent(v),
      right: 20,
    }),
  );
  const pick = [
    [["accuracy", 3.5]],
    [
      ["mask_rate", 1.8],
      ["pseudo_label_accuracy", 3.5],
    ],
  ];
  charts.forEach((c, i) => {
    c.draw = () => {
      if (!frame || !c.width) return;
      c.layers.marks.replaceChildren(
        ...frame.histories.flatMap(({ method, records }) =>
          pick[i].map(([key, width]) => {
            const shown = records.filter((r) => r.step <= state.step),
              [color, dash] = METHOD[method];
            return s("path", {
              d: c.path(
                shown.map((r) => r.step),
                shown.map((r) => r[key]),
              ),
              fill: "none",
              stroke: color,
              "stroke-width": width,
              "stroke-dasharray": dash,
              "data-curve": `${method} ${key}`,
            });
          }),
        ),
        s("line", { x1: c.x(state.step), x2: c.x(state.step), y1: c.top, y2: c.top + c.h, stroke: ACCENT, "stroke-width": 1.5 }),
      );
    };
    draggable(c, (x) => {
      const steps = lab.seen ?? [];
      if (!steps.length) return;
      const step = steps.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a));
      if (step !== lab.state.step) lab.try(() => lab.set({ step }, { dragged: true }));
    });
  });
  return trained(lab, {
    last: (next) => next.steps,
    frames: (pack) => pack.steps.map((step) => ({ step, histories: pack.histories })),
    paint(next, found, all) {
      [state, frame] = [next, found];
      lab.seen = all.map((one) => one.step);
      const last = all.at(-1); // the newest frame has all curves so far
      frame = { ...found, histories: last.histories };
      legend.replaceChildren(
        ...frame.histories.map(({ method, name }) =>
          h(
            "span",
            {},
            s(
              "svg",
              { width: 40, height: 12 },
              s("line", {
                x1: 0,
                x2: 40,
                y1: 6,
                y2: 6,
                stroke: METHOD[method][0],
                "stroke-width": 4,
                "stroke-dasharray": METHOD[method][1],
              }),
            ),
            name,
          ),
        ),
      );
      charts.forEach((c) => {
        c.spec.x = [0, state.steps];
        c.spec.xticks = [0, state.steps / 2, state.steps];
        if (c.width) c.frame(c.width, c.height);
      });
      const now = frame.histories.map(({ name, records }) => ({ name, r: records.findLast((r) => r.step <= state.step) }));
      if (now.some(({ r }) => !r)) return lab.say("Before the first record: press Play, or Train live.");
      const words = now.map(
        ({ name, r }) =>
          `${name} ${percent(r.accuracy, 1)}${r.mask_rate == null ? "" : `, with ${percent(r.mask_rate)} of the samples over τ and ${percent(r.pseudo_label_accuracy)} of these labels right`}`,
      );
      const gap =
        now.length > 1
          ? ` The second is ${(100 * Math.abs(now[1].r.accuracy - now[0].r.accuracy)).toFixed(1)} points ${now[1].r.accuracy >= now[0].r.accuracy ? "ahead" : "behind"}; this is one seed, and a difference between two runs proves nothing yet.`
          : "";
      lab.say(`Step ${state.step} of ${state.steps}, test accuracy: ${words.join("; ")}.${gap}`);
      charts.forEach((c, i) =>
        c.root.setAttribute(
          "aria-label",
          `${titles[i][0]} over the steps: ${frame.histories
            .map(
              ({ name, records }) =>
                `${name} ${pick[i]
                  .map(([key]) => {
                    const r = records.findLast((one) => one.step <= state.step && one[key] != null);
                    return r ? r[key].toFixed(2) : "none";
                  })
                  .join(" and ")}`,
            )
            .join("; ")} at step ${state.step}.`,
        ),
      );
    },
    close() {
      charts.forEach((c) => c.close());
    },
  });
};
