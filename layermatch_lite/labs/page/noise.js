// Noise lab, first view: a network trained with wrong labels, its features as a map, and what classifier and features know.

const KNOWS = [
  ["own", "the classifier says", INK, "Accuracy of the network's own last layer on test samples."],
  [
    "kmeans",
    "groups by k-means",
    "#7766CC",
    "k-means of the features, each group named after its class: what they hold without any label.",
  ],
  ["probe", "a fresh layer reads", "#332288", "A new linear layer fitted to the same features with true labels: what they hold."],
];
const RATES = [0, 0.2, 0.4, 0.6, 0.8];
const HOW = {
  uniform: "scattered over all classes",
  pair: "all in the same direction",
  confusion: "the network's own confusions",
  low_confidence: "where the network is unsure",
  own: "the network's own errors",
};
const LEARNS = {
  all: "every layer learns from the labels",
  features: "only the features learn from the labels",
  classifier: "only the classifier learns from the labels",
};

VIEWS.noise = (lab) => {
  const train = trainView(lab),
    gradient = gradientView(lab);
  const tabs = [
    ["train", "Train with wrong labels"],
    ["gradient", "Look at one gradient"],
  ].map(([value, text]) => button(text, () => lab.try(() => lab.set({ view: value })), { "data-view": value }));
  lab.el
    .querySelector(".lml-question")
    .replaceWith(h("div", { class: "lml-switch", role: "group", "aria-label": "view" }, ...tabs));
  return {
    needs: (state) => [`noise_${state.data}`],
    spoken: (name, state) => (name === "share" && state.errors === "own" ? `${percent(state.share)} its own` : undefined),
    draw(state, [pack], before, dragged) {
      tabs.forEach((tab) => tab.setAttribute("aria-pressed", tab.dataset.view === state.view));
      const [here, other] = state.view === "train" ? [train, gradient] : [gradient, train];
      if (!here.el.isConnected) lab.stage.replaceChildren(here.el);
      other.el.remove();
      lab.stage.setAttribute("data-view", state.view);
      here.draw(state, pack, dragged);
    },
    close() {
      train.close();
      gradient.close();
    },
  };
};

function trainView(lab) {
  const mapBox = h("div", { class: "lml-panel" }),
    bars = h("div", { class: "lml-bars" }),
    curveBox = h("div", { class: "lml-panel" });
  const el = h("div", { class: "lml-two lml-noise" }, mapBox, h("div", { class: "lml-column" }, bars, curveBox));
  let pack = null,
    state = null,
    network = 0;
  const frames = {}; // where the points of a kind of error lie at all rates
  const map = pointMap(mapBox, {
    tip: (k) => [
      thumbnail(pack.images.subarray(k * pack.pixels, (k + 1) * pack.pixels), pack.image_shape),
      h("div", { text: `a ${pack.classes[pack.y[k]]}, called ${pack.classes[pack.predicted[network * pack.N + k]]}` }),
    ],
  });
  const caption = h("div", { class: "lml-caption" });
  mapBox.append(caption);
  const rows = KNOWS.map(([key, name, color, help]) => {
    const fill = h("i", { style: `background:${color}` }),
      value = h("b"),
      dots = h("span", { class: "lml-dots" });
    bars.append(
      h(
        "div",
        { class: "lml-row", "data-readout": key },
        h("span", { class: "lml-name" }, term(name, help)),
        h("span", { class: "lml-track" }, fill, dots),
        value,
      ),
    );
    return { key, color, fill, value, dots };
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const c = chart(curveBox, {
    x: [0, 0.8],
    y: [0, 1],
    xticks: RATES,
    yticks: ticks,
    xformat: (v) => percent(v),
    yformat: (v) => percent(v),
    xlabel: "share of wrong labels",
    right: 24,
  });
  draggable(c, (x) => {
    const rate = Math.round(clamp(x, 0, 0.8) * 5) / 5;
    if (rate !== lab.state.rate) lab.try(() => lab.set({ rate }, { dragged: true }));
  });
  const index = (rate) => pack.networks.indexOf(`${rate === 0 ? "uniform" : state.kind} ${rate.toFixed(1)} ${state.taught}`);
  const readouts = (rate, key) => {
    const m = index(rate),
      S = pack.seeds.length,
      k = pack.readouts.indexOf(key);
    return Array.from({ length: S }, (_, i) => pack.values[(m * S + i) * pack.readouts.length + k] / 10000);
  };
  c.draw = () => {
    if (!state || !c.width) return;
    c.layers.marks.replaceChildren(
      ...KNOWS.flatMap(([key, , color]) => {
        const all = RATES.map((r) => readouts(r, key)),
          middle = all.map(mean);
        return [
          s("path", {
            d: c.path(RATES, middle),
            fill: "none",
            stroke: color,
            "stroke-width": key === "own" ? 4 : 2.5,
            "stroke-dasharray": key === "kmeans" ? "7 5" : null,
          }),
          ...RATES.map((r, k) => s("circle", { cx: c.x(r), cy: c.y(middle[k]), r: key === "own" ? 5 : 4, fill: color })),
        ];
      }),
      ...marker(c, state.rate),
    );
  };
  return {
    el,
    draw(next, data, dragged) {
      [state, pack] = [next, data];
      const N = pack.N,
        wrong = [];
      network = index(state.rate);
      const part = (m) => pack.points.subarray(m * 2 * N, (m + 1) * 2 * N);
      map.looks = Array.from({ length: N }, (_, k) => {
        const own = pack.y[k],
          said = pack.predicted[network * N + k];
        if (own !== said) wrong.push(k);
        return { color: CLASS[own], glyph: own === said ? null : pack.classes[said] };
      });
      map.centres = pack.classes.map((name, c) => ({
        name,
        color: CLASS[c],
        own: Array.from({ length: N }, (_, k) => k).filter((k) => pack.y[k] === c),
      }));
      // One frame for all rates of a kind: the slider moves points, not the frame.
      const way = `${state.data} ${state.kind} ${state.taught}`;
      frames[way] ??= fitting(Float64Array.from(RATES.map(index).flatMap((m) => [...part(m)])));
      map.move(frames[way](part(network)), dragged ? 280 : 450);
      const found = Object.fromEntries(
        rows.map((row) => {
          const values = readouts(state.rate, row.key),
            middle = mean(values);
          row.fill.style.width = css(middle);
          row.value.textContent = percent(middle);
          while (row.dots.childElementCount < values.length) row.dots.append(h("u"));
          values.forEach((v, k) => {
            row.dots.children[k].style.left = css(v);
          });
          return [row.key, middle];
        }),
      );
      c.root.setAttribute(
        "aria-label",
        `Over the share of wrong labels, means of ten networks: ${KNOWS.map(([key, name]) => `${name} ${RATES.map((r) => percent(mean(readouts(r, key)))).join(", ")}`).join("; ")}.`,
      );
      c.draw();
      const what =
        state.rate === 0
          ? "No wrong labels"
          : `${percent(state.rate)} of the labels wrong, ${HOW[state.kind]}; ${LEARNS[state.taught]}`;
      caption.textContent = `number: what the classifier wrongly says`;
      const gap = found.probe - found.own;
      const verdict =
        state.rate === 0
          ? "this is what the network can do."
          : gap > 0.2
            ? "the last layer says what it was taught, and the features still know better."
            : gap > 0.06
              ? "the last layer says less than the features know."
              : "the last layer says nearly all that the features know.";
      lab.say(
        `${what}: the classifier is right on ${percent(found.own)}, a fresh layer on the same features on ${percent(found.probe)}, and k-means, each group named after its class, on ${percent(found.kmeans)} (means of ${pack.seeds.length} networks): ${verdict}`,
      );
      map.canvas.setAttribute(
        "aria-label",
        `Map of the features of ${N} test samples of one network (seed ${pack.seeds[0]}), ${what.toLowerCase()}; ${wrong.length} of them are wrongly classified.`,
      );
    },
    close() {
      map.close();
      c.close();
    },
  };
}
