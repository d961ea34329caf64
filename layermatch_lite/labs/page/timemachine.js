// Time machine: one or two recorded runs on one clock, their features as maps, and one sample that is followed.

VIEWS.time = (lab) => {
  const boxes = [0, 1].map(() => h("div", { class: "lml-panel" })),
    side = h("div", { class: "lml-side" });
  const el = h("div", { class: "lml-three" }, ...boxes, side);
  lab.stage.append(el);
  let state = null,
    packs = [],
    photos = new Map();
  const headings = boxes.map((box) => {
    const one = h("div", { class: "lml-heading" });
    box.append(one);
    return one;
  });
  const maps = boxes.map((box, i) =>
    pointMap(box, {
      onPick: (k) => {
        if (i === 0 || same) lab.try(() => lab.set({ sample: k === lab.state.sample ? -1 : k }));
      }, // the other run's samples are others: the followed one is the left run's
      tip: (k) => tip(i, k),
    }),
  );
  maps.forEach((map, i) => {
    map.onHover = (k) => {
      const other = maps[1 - i];
      if (other.hover !== k && alike()) {
        other.hover = k;
        other.paint();
      }
    };
  });
  const caption = h("div", { class: "lml-caption" });
  boxes[0].append(caption);
  const wrongButton = button("Next wrong one", () =>
    lab.try(() => {
      const p = packs[0],
        at = moment(p),
        wrong = wrongOf(p, at);
      if (!wrong.length)
        throw new InputError(`no pseudo-label over τ is wrong at step ${p.steps[at]} of the left run; choose another moment.`);
      lab.set({ sample: wrong.find((k) => k > lab.state.sample) ?? wrong[0] });
    }),
  );
  const sampled = (i) => packs[i].samples ?? packs[1 - i].samples; // which ones; shipped recordings do not say
  // Do both runs hold the same samples? Only then is one sample followed in both.
  const alike = () =>
    packs.length > 1 && packs[0].data === packs[1].data && String(packs[0].y) === String(packs[1].y) && sampled(0) === sampled(1);
  // The right run stands at its last moment that is not later than the left one's: one clock, whatever was recorded when.
  const moment = (p) => {
    const at = Math.min(state.snapshot, packs[0].steps.length - 1);
    return p === packs[0]
      ? at
      : Math.max(
          0,
          p.steps.findLastIndex((step) => step <= packs[0].steps[at]),
        );
  };
  const UNKNOWN = 255; // a true class that nobody knows
  const truth = (p, k) => (p.y[k] === UNKNOWN ? "a sample of unknown class" : article(p.classes[p.y[k]]));
  const isWrong = (p, at, k) => p.y[k] !== UNKNOWN && p.labels[at * p.N + k] !== p.y[k];
  const tally = (p, count) => (p.y.includes(UNKNOWN) ? `${count.wrong} of ${count.known}` : `${count.wrong} of ${count.over}`);
  const wrongOf = (p, at) => {
    const found = [];
    for (let k = 0; k < p.N; k++) if (p.mask[at * p.N + k] && isWrong(p, at, k)) found.push(k);
    return found;
  };
  const brief = (p) => p.name.split(", ").at(-1);
  const article = (name) => `${/^[aeiou8]/.test(name) ? "an" : "a"} ${name}`;
  const short = (p, c) => [...p.classes[c]].slice(0, 2).join(""); // whole characters

  function picture(p, k, side) {
    const found = photos.get(p.pictures);
    if (!found?.images) return null;
    const pixels = found.images.shape[1];
    return thumbnail(found.images.subarray(k * pixels, (k + 1) * pixels), found.shape, side);
  }
  function fetchPictures(p) {
    if (!p.pictures || photos.has(p.pictures)) return;
    const have = (found) => {
      photos.set(p.pictures, found);
      details();
    };
    photos.set(p.pictures, null);
    lab.host.get(p.pictures).then(have, () => have({}));
  }
  function tip(i, k) {
    const p = packs[i] ?? packs[0],
      at = moment(p),
      q = p.labels[at * p.N + k],
      c = p.confidence[at * p.N + k] / 10000;
    return [
      picture(p, k, 84),
      h("div", {
        text: `${truth(p, k)}, called ${article(p.classes[q])} with confidence ${c.toFixed(2)}${p.mask[at * p.N + k] ? "" : " (below τ)"}`,
      }),
    ].filter(Boolean);
  }

  // (S, N, 2) of the chosen map, in one frame for the whole run but its start, which may lie far off.
  const spread = new WeakMap();
  function points(p) {
    const all = p[p.maps.includes(state.map) ? state.map : p.maps[0]];
    if (!spread.has(all)) spread.set(all, fitting(p.steps.length > 1 ? all.subarray(2 * p.N) : all)(all));
    return spread.get(all);
  }

  function paint(i, milliseconds) {
    const p = packs[i],
      map = maps[i],
      at = moment(p),
      N = p.N;
    const count = { over: 0, known: 0, wrong: 0 },
      centres = p.classes.map(() => []);
    map.looks = Array.from({ length: N }, (_, k) => {
      const own = p.y[k],
        said = p.labels[at * N + k],
        over = p.mask[at * N + k];
      const color = own === UNKNOWN ? GREY : colorOf(own);
      centres[own]?.push(k);
      count.over += over;
      count.known += over && own !== UNKNOWN;
      if (!over) return { color, faint: true };
      if (!isWrong(p, at, k)) return { color };
      count.wrong += 1;
      return { color, glyph: short(p, said) };
    });
    map.centres = centres.map((own, c) => ({ name: p.classes[c], color: colorOf(c), own }));
    const all = points(p),
      k = state.sample;
    map.trail =
      k >= 0 && k < N && (i === 0 || same)
        ? {
            k,
            near: p.near.subarray((at * N + k) * p.near.shape[2], (at * N + k + 1) * p.near.shape[2]),
            path: Array.from({ length: at + 1 }, (_, t) => [all[(t * N + k) * 2], all[(t * N + k) * 2 + 1]]),
          }
        : null;
    map.move(all.subarray(at * 2 * N, (at + 1) * 2 * N), milliseconds);
    headings[i].textContent = `${same || packs.length === 1 ? brief(p) : p.name}: ${tally(p, count)} wrong`;
    map.canvas.setAttribute(
      "aria-label",
      `${p.name}, step ${p.steps[at]}: map of the features of ${N} samples; ${count.over} pseudo-labels are over τ, ${count.wrong} of them wrong.`,
    );
    return count;
  }

  // The life of the followed sample in each run: its confidence over the steps, each moment with the label it was given.
  const lives = [0, 1].map(() => h("div", { class: "lml-panel lml-life" }));
  let same = false; // are the samples of both runs the same?
  let lived = ""; // the sample and runs whose lives are drawn
  const itself = h("div", { class: "lml-itself" }),
    called = h("div");
  side.append(itself, ...lives);
  const charts = lives.map((box) => {
    const c = chart(box, {
      x: [0, 1],
      y: [0, 1],
      xticks: [],
      yticks: [0, 1],
      yformat: (v) => String(v),
      xformat: String,
      left: 26,
      right: 12,
      top: 26,
    });
    draggable(c, (x) => {
      if (!packs.length) return;
      const S = packs[0].steps.length - 1,
        snapshot = Math.round(x * S);
      if (snapshot !== lab.state.snapshot) lab.try(() => lab.set({ snapshot }, { dragged: true }));
    });
    return c;
  });
  function life(i) {
    const p = packs[i],
      c = charts[i],
      k = state.sample;
    lives[i].hidden = !p || k < 0 || k >= p.N || (i > 0 && !same);
    if (lives[i].hidden) return;
    const S = p.steps.length,
      at = (t) => c.x(S > 1 ? t / (S - 1) : 0);
    const now = s("line", { stroke: ACCENT, "stroke-width": 2 });
    c.mark = () => put(now, { x1: at(moment(p)), x2: at(moment(p)), y1: c.top, y2: c.top + c.h }, []);
    c.draw = () => {
      const N = p.N,
        conf = p.steps.map((_, t) => p.confidence[t * N + k] / 10000),
        r = clamp(c.w / S / 2.1, 5, 10);
      c.layers.marks.replaceChildren(
        c.text(c.left, 15, brief(p), { "font-weight": 600 }),
        s("line", { x1: c.left, x2: c.left + c.w, y1: c.y(p.tau), y2: c.y(p.tau), stroke: INK, "stroke-dasharray": "3 4" }),
        c.text(c.left + c.w, c.y(p.tau) - 4, "τ", { "text-anchor": "end" }),
        s("polyline", {
          points: conf.map((v, t) => `${at(t)},${c.y(v)}`).join(" "),
          fill: "none",
          stroke: GREY,
          "stroke-width": 1.5,
        }),
        now,
        ...conf.flatMap((v, t) => {
          const q = p.labels[t * N + k],
            right = !isWrong(p, t, k); // of an unknown class: not called wrong
          return [
            s("circle", { cx: at(t), cy: c.y(v), r, fill: right ? colorOf(q) : "white", stroke: colorOf(q), "stroke-width": 2 }),
            s("text", {
              x: at(t),
              y: c.y(v) + r * 0.55,
              "text-anchor": "middle",
              fill: right ? "white" : INK,
              "font-size": r * 1.5,
              "font-weight": 700,
              "font-family": "system-ui, sans-serif",
              text: short(p, q),
            }),
          ];
        }),
      );
      c.mark();
    };
    if (c.width) c.draw();
    const said = p.steps
      .map((step, t) => `${p.classes[p.labels[t * p.N + k]]} at step ${step}`)
      .filter((_, t) => t === 0 || p.labels[t * p.N + k] !== p.labels[(t - 1) * p.N + k]);
    c.root.setAttribute(
      "aria-label",
      `Confidence of sample ${k} over the training with ${brief(p)}; its labels: ${said.join(", ")}.`,
    );
  }
  function details() {
    const p = packs[0],
      k = state.sample,
      found = photos.get(p.pictures);
    side.classList.toggle("lml-empty", k < 0);
    if (k >= 0) {
      const q = p.labels[moment(p) * p.N + k];
      const how = p.y[k] === UNKNOWN ? "" : q === p.y[k] ? "rightly " : "wrongly ";
      called.textContent = `now ${how}called ${article(p.classes[q])}`;
    }
    const shown = `${k} ${packs.map((one) => one.run)} ${found ? Boolean(found.images) : "asked"}`;
    if (shown === lived)
      return charts.forEach((c, i) => {
        if (packs[i] && k >= 0 && c.width) c.mark?.();
      });
    lived = shown;
    const words =
      "Click a point to follow it through the training: its way on the map, its nearest neighbours, its label at every moment.";
    const absent = found && !found.images ? h("small", { text: "(its photograph would come from your own CIFAR-10)" }) : null;
    const name = k < 0 ? null : h("div", {}, h("b", { text: `sample ${k}: ${truth(p, k)}` }), called, absent);
    itself.replaceChildren(...(k < 0 ? [h("p", { text: words })] : [picture(p, k, 60), name].filter(Boolean)));
    lives.forEach((_, i) => life(i));
  }

  function sentence(counts) {
    const parts = packs.map((p, i) => {
      const at = moment(p),
        wrong = wrongOf(p, at),
        N = p.N,
        worst = p.classes
          .map((_, c) => {
            const over = [],
              said = {};
            for (let k = 0; k < N; k++) if (p.y[k] === c && p.mask[at * N + k]) over.push(k);
            for (const k of over) said[p.labels[at * N + k]] = (said[p.labels[at * N + k]] ?? 0) + 1;
            const [q, n] = Object.entries(said)
              .filter(([q]) => Number(q) !== c)
              .sort((a, b) => b[1] - a[1])[0] ?? [c, 0];
            return { c, q: Number(q), n, of: over.length };
          })
          .sort((a, b) => b.n - a.n)[0];
      const start = `${p.name}, step ${p.steps[at]}: ${tally(p, counts[i])} labels over τ = ${p.tau} ${p.y.includes(UNKNOWN) ? "whose true class is known " : ""}are wrong`;
      return wrong.length
        ? `${start}; of ${worst.of} confident ${plural(p.classes[worst.c])} ${worst.n} are called ${p.classes[worst.q]}.`
        : `${start}.`;
    });
    const k = state.sample,
      p = packs[0];
    if (k >= 0) {
      const at = moment(p),
        N = p.N,
        near = p.near.subarray((at * N + k) * p.near.shape[2], (at * N + k + 1) * p.near.shape[2]),
        q = p.labels[at * N + k];
      const alike = Array.from(near).filter((n) => p.labels[at * N + n] === q).length;
      parts.push(
        `${packs.length > 1 ? "On the left, sample" : "Sample"} ${k}, ${truth(p, k)}, is called ${article(p.classes[q])}; so are ${alike} of its ${near.length} nearest neighbours.`,
      );
    }
    return parts.join(" ");
  }
  const plural = (name) => (/^\d$/.test(name) ? `${name}s` : name === "deer" ? name : `${name}s`);

  return {
    needs: (next) => [next.run, ...(next.beside === "none" ? [] : [next.beside])].map((run) => `run_${run}`),
    buttons: [wrongButton],
    play: { field: "snapshot", ms: 420, last: () => packs[0].steps.length - 1 },
    check(next, found, changes) {
      const p = found[0];
      if (changes.sample != null && next.sample >= p.N)
        throw new InputError(`sample=${next.sample} is not allowed; this recording has samples 0 to ${p.N - 1}.`);
    },
    clamp: (next, [p]) => ({
      ...next,
      snapshot: Math.min(next.snapshot, p.steps.length - 1),
      sample: next.sample < p.N ? next.sample : -1, // another sample is not the one that was asked for
    }),
    spoken: (name, next) =>
      name === "snapshot" && packs[0] ? `step ${packs[0].steps[Math.min(next.snapshot, packs[0].steps.length - 1)]}` : undefined,
    draw(next, found, before, dragged) {
      const other = packs.length !== found.length;
      [state, packs] = [next, found];
      lab.control("snapshot").limit(0, packs[0].steps.length - 1);
      lab.control("sample").limit(-1, packs[0].N - 1);
      boxes[1].hidden = packs.length < 2;
      if (other) el.classList.toggle("lml-single", packs.length < 2);
      if (other || before.run !== next.run || before.beside !== next.beside) same = alike();
      caption.textContent = `${packs[0].classes.every((name) => /^\d+$/.test(name)) ? "number" : "letters"}: a wrong label · faint: below τ${packs.some((p) => p.y.includes(UNKNOWN)) ? " · grey: class unknown" : ""}`;
      packs.forEach(fetchPictures);
      const counts = packs.map((_, i) => paint(i, dragged ? 0 : 380));
      details();
      lab.say(sentence(counts));
    },
    close() {
      maps.forEach((map) => map.close());
      charts.forEach((c) => c.close());
    },
  };
};
