// Rerank: documents for a question, P(yes) as bars, and the prompt to the letter.
import { ask } from "./api.js";
import { $, bar, el } from "./dom.js";
import { number, t } from "./strings.js";

const EXAMPLE = {
  query: "how do I keep bread fresh?",
  documents: [
    "Wrapped in a cloth, a loaf stays good for three days; sliced and frozen, for months.",
    "Bread is baked at 230 °C, the last ten minutes without steam.",
    "面包切片冷冻，可以保存几个月。",
    "The bakery on the corner opens at six.",
    "A bread bin of clay keeps the crust crisp and the crumb moist.",
  ],
};
let question = new AbortController();
let ranked = []; // { index, text, score }
let asked = {};

/** Sets up what stays. */
export function begin() {
  $("rerank-form").addEventListener("submit", (event) => {
    event.preventDefault();
    rerank();
  });
  $("rerank-example").addEventListener("click", () => {
    $("rerank-query").value = EXAMPLE.query;
    $("rerank-documents").value = EXAMPLE.documents.join("\n");
    rerank();
  });
}

/** Is called when the view comes up. */
export function enter() {
  $("rerank-query").focus();
}

/** Writes what depends on the language. */
export function say() {
  draw();
}

async function rerank() {
  question.abort();
  question = new AbortController();
  const documents = $("rerank-documents").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const instruction = $("rerank-instruction").value.trim() || null;
  const query = $("rerank-query").value;
  $("rerank-status").textContent = t("computing");
  try {
    const body = { query, documents, instruction, return_documents: false };
    const { results } = await ask("/v1/rerank", body, question.signal);
    asked = { query, instruction };
    ranked = results.map(({ index, relevance_score: score }) => ({ index, score, text: documents[index] }));
    draw();
  } catch (error) {
    if (error.name !== "AbortError") $("rerank-status").textContent = error.message;
  }
}

function draw() {
  $("rerank-status").textContent = ranked.length ? t("ranked", number(ranked.length)) : "";
  $("rerank-result").replaceChildren(
    ...ranked.map(({ index, text, score }) => {
      const shown = el("pre", { class: "prompt", tabindex: "0", "aria-label": t("prompt-of", index + 1) });
      const details = el("details", {}, el("summary", {}, t("prompt")), shown);
      details.addEventListener("toggle", () => details.open && !shown.hasChildNodes() && showPrompt(shown, text));
      return el(
        "li",
        {},
        el("p", { class: "text" }, text),
        el("p", { class: "value" }, bar(score), el("strong", {}, score.toFixed(3))),
        details,
      );
    }),
  );
}

async function showPrompt(node, document) {
  try {
    const { n_tokens, pieces } = await ask("/desk/prompt", { ...asked, document });
    node.replaceChildren(
      ...pieces.map(({ text, control }) => (control ? el("span", { class: "control" }, text) : text)),
      el("span", { class: "count" }, `\n${t("tokens", number(n_tokens))}`),
    );
  } catch (error) {
    node.textContent = error.message;
  }
}
