// Index: what is in each index, what was skipped and why, and what is being done to it.
import { ask } from "./api.js";
import { $, bar, el } from "./dom.js";
import { refresh, state } from "./state.js";
import { kindName, number, t } from "./strings.js";

const cards = new Map(); // by the number of a shelf

/** Sets up what stays. */
export function begin() {
  addEventListener("state", () => $("view-index").hidden || draw());
}

/** Is called when the view comes up. */
export function enter() {
  draw();
  refresh().catch(fail);
}

/** Writes what depends on the language. */
export function say() {
  cards.clear();
  $("shelves").replaceChildren();
  draw();
}

const fail = (error) => ($("index-status").textContent = error.message);

async function act(path, body) {
  $("index-status").textContent = "";
  try {
    await ask(path, body);
    await refresh();
  } catch (error) {
    fail(error);
  }
}

/** Draws each shelf; what is typed into, pressed or unfolded stays the same element. */
function draw() {
  for (const shelf of state.shelves) {
    if (!cards.has(shelf.number)) {
      cards.set(shelf.number, makeCard(shelf));
      $("shelves").append(cards.get(shelf.number).node);
    }
    fillCard(cards.get(shelf.number), shelf);
  }
}

function makeCard({ number: shelf, name, path }) {
  const title = el("h2", { id: `shelf-${shelf}` }, name);
  const update = el("button", { type: "button", class: "main", onclick: () => act("/desk/index", { shelf }) }, t("update"));
  const stop = el("button", { type: "button", onclick: () => act("/desk/stop", { shelf }) }, t("stop"));
  const added = el("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: t("add-hint"), required: true });
  const addButton = el("button", { type: "submit" }, t("add"));
  const add = el("form", { class: "add" }, el("label", { class: "field" }, el("span", {}, t("add-path")), added), addButton);
  add.addEventListener("submit", (event) => {
    event.preventDefault();
    act("/desk/index", { shelf, add: added.value }).then(() => (added.value = ""));
  });
  const parts = {
    facts: el("dl", { class: "facts" }),
    progress: el("div", { class: "job" }),
    said: el("p", { class: "status", role: "status" }),
    bar: el("progress", { "aria-labelledby": `shelf-${shelf}` }),
    skipped: el("details", { hidden: true }, el("summary"), el("div")),
    kinds: el("details", {}, el("summary", {}, t("kinds-title")), el("ul", { class: "counts" })),
    folders: el("details", {}, el("summary", {}, t("folders")), el("ul", { class: "counts" })),
    roots: el("p", { class: "note" }),
    update,
    stop,
    addButton,
  };
  parts.progress.append(parts.bar, parts.said);
  const where = el("p", { class: "note path" }, path);
  parts.node = el(
    "article",
    { class: "paper", "aria-labelledby": `shelf-${shelf}` },
    el("div", { class: "shelf-head" }, title, el("div", { class: "row" }, update, stop)),
    parts.roots,
    parts.facts,
    parts.progress,
    parts.skipped,
    parts.kinds,
    parts.folders,
    add,
    where,
  );
  return parts;
}

function fillCard(card, shelf) {
  const { job } = shelf;
  const isBusy = Boolean(job) && ["running", "stopping"].includes(job.state);
  card.roots.textContent = shelf.roots.length ? t("made-of", shelf.roots.join(", ")) : "";
  const facts = [
    [number(shelf.documents), t("n-documents")],
    [number(shelf.passages), t("n-passages")],
    [bytes(shelf.nbytes), t("size")],
    [shelf.model, t("model")],
  ];
  card.facts.replaceChildren(...facts.map(([value, name]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  card.update.disabled = card.addButton.disabled = isBusy;
  card.stop.hidden = !isBusy;
  card.stop.disabled = job?.state === "stopping";
  card.bar.hidden = !isBusy;
  if (isBusy && job.found && job.read) {
    card.bar.max = job.found;
    card.bar.value = job.read;
  } else card.bar.removeAttribute("value");
  const said = shelf.error ? shelf.error : job ? saidOf(job) : shelf.incomplete ? t("incomplete", number(shelf.incomplete)) : "";
  if (card.said.textContent !== said) card.said.textContent = said;
  fillSkipped(card.skipped, job);
  fillCounts(card.kinds, Object.entries(shelf.kinds).map(([kind, n]) => [kindName(kind), n]), shelf.documents);
  fillCounts(card.folders, shelf.folders.map(({ name, documents }) => [name, documents]), shelf.documents);
}

function saidOf(job) {
  const rate = job.seconds ? Math.round(job.passages / job.seconds) : 0;
  const embedded = t("embedded", number(job.passages), number(rate));
  if (job.state === "stopping") return t("stopping");
  if (job.state === "stopped") return t("stopped", number(job.passages));
  if (job.state === "failed") return t("failed", job.error);
  if (job.state === "done") {
    const { added, changed, removed, unchanged } = job.changes;
    return t("done", number(added), number(changed), number(removed), number(unchanged));
  }
  if (!job.read && !job.passages) return t("finding", number(job.found));
  return `${t("reading", number(job.read), number(job.found))} · ${embedded}`;
}

function fillSkipped(details, job) {
  details.hidden = !job?.n_skipped;
  if (details.hidden) return;
  details.firstChild.textContent = t("skipped", number(job.n_skipped));
  const byReason = new Map();
  for (const { source, reason } of job.skipped) byReason.set(reason, [...(byReason.get(reason) ?? []), source]);
  const groups = [...byReason].map(([reason, sources]) =>
    el("div", {}, el("h3", {}, `${reason} (${number(sources.length)})`), el("ul", {}, ...sources.map((source) => el("li", {}, source)))),
  );
  const rest = job.n_skipped - job.skipped.length;
  details.lastChild.replaceChildren(...groups, rest ? el("p", {}, t("skipped-more", number(rest))) : "");
}

function fillCounts(details, counts, most) {
  details.hidden = !counts.length;
  details.lastChild.replaceChildren(
    ...counts.map(([name, n]) => el("li", {}, el("span", { class: "text" }, name), bar(n / (most || 1)), el("span", {}, number(n)))),
  );
}

function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1000 || unit === "GB") return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1000;
  }
}
