// Compare: the similarities of texts as a heat map, and how a ranking moves with width, numbers and model.
import { ask } from "./api.js";
import { $, bar, el, fill } from "./dom.js";
import { state } from "./state.js";
import { number, t } from "./strings.js";

const EXAMPLE = {
  query: "how long does green tea steep?",
  texts: [
    "Green tea steeps for two minutes at 75 °C; longer makes it bitter.",
    "Black tea wants boiling water and four minutes.",
    "绿茶用七十五度的水泡两分钟。",
    "The kettle switches itself off when the water boils.",
    "Espresso runs through the filter in thirty seconds.",
    "Sourdough rises overnight in a cool kitchen.",
  ],
};
let question = new AbortController();
let rows = []; // the texts, the question first if there is one
let hasQuery = false;
let row = 0; // which one the ranking is of
let answers = new Map(); // by the name of a model

/** Sets up what stays. */
export function begin() {
  $("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  $("compare-example").addEventListener("click", () => {
    $("compare-query").value = EXAMPLE.query;
    $("compare-texts").value = EXAMPLE.texts.join("\n");
    compare();
  });
  $("compare-model").addEventListener("change", () => compare());
  $("compare-width").addEventListener("input", draw);
  $("compare-precision").addEventListener("change", draw);
}

/** Is called when the view comes up. */
export function enter() {
  $("compare-texts").focus();
}

/** Writes what depends on the language. */
export function say() {
  fill($("compare-model"), state.embedding.map(({ name, quant }) => [name, `${name} · ${quant}`]));
  $("model-field").hidden = state.embedding.length < 2;
  if (answers.size) draw();
}

async function compare() {
  question.abort();
  question = new AbortController();
  const texts = $("compare-texts").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const query = $("compare-query").value.trim() || null;
  const instruction = $("compare-instruction").value.trim() || null;
  const status = $("compare-status");
  if (texts.length + (query ? 1 : 0) < 2) {
    status.textContent = t("need-two");
    return;
  }
  if (texts.length > 40) {
    status.textContent = t("too-many", number(texts.length));
    return;
  }
  status.textContent = t("computing");
  const first = state.embedding[0].name;
  const chosen = $("compare-model").value || first;
  try {
    const found = new Map();
    for (const model of new Set([first, chosen])) {
      found.set(model, await ask("/desk/compare", { texts, query, instruction, model }, question.signal));
    }
    answers = found;
  } catch (error) {
    if (error.name !== "AbortError") status.textContent = error.message;
    return;
  }
  status.textContent = "";
  rows = query ? [query, ...texts] : texts;
  hasQuery = Boolean(query);
  row = row < rows.length ? row : 0;
  const { widths, precisions } = answers.get(chosen);
  const slider = $("compare-width");
  if (slider.max !== String(widths.length - 1)) {
    slider.max = widths.length - 1;
    slider.value = widths.length - 1;
  }
  if (!$("compare-precision").children.length) {
    $("compare-precision").replaceChildren(
      ...precisions.map((value, place) =>
        el("label", {}, el("input", { type: "radio", name: "precision", value, checked: place === 0 }), el("span", {}, value)),
      ),
    );
  }
  $("compare-result").hidden = false;
  draw();
}

function draw() {
  const chosen = answers.get($("compare-model").value) ?? [...answers.values()][0];
  const width = chosen.widths[$("compare-width").value];
  const precision = $("compare-precision").querySelector(":checked").value;
  const matrix = chosen.matrices[precision][width];
  $("width-shown").textContent = width;
  $("compare-width").setAttribute("aria-valuetext", width);
  drawHeat(matrix);
  const reference = [...answers.values()][0];
  drawRanking(matrix[row], reference.matrices.float32[reference.width][row], reference);
}

const label = (place) => (hasQuery ? (place === 0 ? "?" : String(place)) : String(place + 1));

function drawHeat(matrix) {
  const others = matrix.flatMap((line, i) => line.filter((_, j) => i !== j));
  const [least, most] = [Math.min(...others), Math.max(...others)];
  const heads = rows.map((text, place) => el("th", { scope: "col", title: text }, label(place)));
  const body = matrix.map((line, i) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        el(
          "button",
          { type: "button", "aria-pressed": String(i === row), title: t("choose-row", rows[i]), onclick: () => choose(i) },
          el("span", { class: "number" }, label(i)),
          el("span", { class: "text" }, rows[i]),
        ),
      ),
      ...line.map((value, j) => {
        const cell = el("td", { class: i === j ? "self" : null }, value.toFixed(2));
        cell.style.setProperty("--v", i === j ? 0 : (value - least) / (most - least || 1));
        return cell;
      }),
    ),
  );
  $("heat").replaceChildren(el("thead", {}, el("tr", {}, el("td"), ...heads)), el("tbody", {}, ...body));
}

function choose(place) {
  row = place;
  draw();
  $("heat").querySelectorAll("th button")[place].focus();
}

/** Returns the texts' places, the nearest first, without the one that they are compared with. */
function ranked(cosines) {
  return cosines.map((_, place) => place).filter((place) => place !== row).sort((a, b) => cosines[b] - cosines[a]);
}

function drawRanking(cosines, reference, { name, width }) {
  const before = ranked(reference);
  const isQuestion = hasQuery && row === 0;
  $("ranking-title").textContent = t("ranking-of", isQuestion ? t("the-question") : label(row));
  $("ranking").replaceChildren(
    ...ranked(cosines).map((place, rank) => {
      const moved = before.indexOf(place) - rank;
      const said = moved > 0 ? t("up", moved) : moved < 0 ? t("down", -moved) : t("same");
      const arrow = moved > 0 ? `▲ ${moved}` : moved < 0 ? `▼ ${-moved}` : "·";
      return el(
        "li",
        {},
        el("p", { class: "text" }, rows[place]),
        el(
          "p",
          { class: "value" },
          bar(cosines[place]),
          el("strong", {}, cosines[place].toFixed(3)),
          el("span", { class: moved > 0 ? "moved up" : moved < 0 ? "moved down" : "moved", "aria-hidden": "true" }, arrow),
          el("span", { class: "visually-hidden" }, said),
        ),
      );
    }),
  );
  $("ranking-note").textContent = t("ranking-note", name, width);
}
