// Search: the first stage at every key, then the reranker's order moves in, then the sentences are marked.
import { ask } from "./api.js";
import { $, bar, debounced, el, fill } from "./dom.js";
import { isCut, nodesOf, wordsOf } from "./snippet.js";
import { refresh, state } from "./state.js";
import { kindName, number, t } from "./strings.js";

const PAUSE = 220; // milliseconds without a key after which the reranker is asked
const DEPTHS = [16, 50]; // passages that it reads: those that are seen first, then all
let question = new AbortController();
let hits = []; // as the server gave them
let shownFor = ""; // what they answer
let isRanked = false;
const cards = new Map(); // by the key of a hit: { hit, node, span, open }
const watcher = new IntersectionObserver(onSight, { rootMargin: "200px" });
const sight = new Set();

const keyOf = (hit) => [hit.shelf, hit.source, hit.place, hit.line, hit.end_line, hit.text].join("\0");

/** Sets up what stays. */
export function begin() {
  const query = $("query");
  // Half of a Chinese word is no question: what is being composed waits until it stands.
  query.addEventListener("input", (event) => event.isComposing || look());
  query.addEventListener("compositionend", () => look());
  query.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      $("hits").firstElementChild?.focus();
    }
  });
  $("search-form").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["folder", "after", "before"]) $(id).addEventListener("change", () => look());
  $("shelf").addEventListener("change", () => {
    fillFolders();
    look();
  });
  $("kinds").addEventListener("change", () => look());
  $("clear").addEventListener("click", () => {
    for (const id of ["shelf", "folder", "after", "before"]) $(id).value = "";
    for (const box of $("kinds").querySelectorAll("input")) box.checked = false;
    look();
  });
  $("hits").addEventListener("keydown", onKey);
  document.addEventListener("keydown", (event) => {
    const inField = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key !== "/" || inField || event.ctrlKey || event.metaKey || event.altKey || !state.shelves.length) return;
    event.preventDefault();
    if ($("view-search").hidden) location.hash = "#/search";
    query.focus();
    query.select();
  });
  const isWide = matchMedia("(min-width: 62rem)");
  const fold = () => ($("filters").open = isWide.matches);
  isWide.addEventListener("change", fold);
  fold();
  addEventListener("state", fillFilters);
}

/** Is called when the view comes up. */
export function enter(parameters) {
  const asked = parameters.get("q");
  if (asked && asked !== $("query").value) {
    $("query").value = asked;
    look();
  }
  $("query").focus();
}

/** Writes what depends on the language. */
export function say() {
  fillFilters();
  draw();
  status();
}

function fillFilters() {
  const several = state.shelves.length > 1;
  $("shelf-field").hidden = !several;
  fill($("shelf"), [["", t("everywhere")], ...state.shelves.map(({ number, name }) => [number, name])]);
  fillFolders();
  const present = state.kinds.filter((kind) => state.shelves.some(({ kinds }) => kinds[kind]));
  const chosen = new Set(kinds());
  if ([...$("kinds").querySelectorAll("input")].map(({ value }) => value).join() !== present.join() || !present.length) {
    $("kinds").replaceChildren(
      ...present.map((value) =>
        el("label", {}, el("input", { type: "checkbox", value, checked: chosen.has(value) }), el("span", {}, "")),
      ),
    );
  }
  for (const label of $("kinds").children) label.lastChild.textContent = kindName(label.firstChild.value);
  if (!$("query").value.trim()) status();
}

function fillFolders() {
  const here = state.shelves.filter(({ number }) => $("shelf").value === "" || String(number) === $("shelf").value);
  const folders = here.flatMap(({ folders }) => folders);
  fill($("folder"), [["", t("all-folders")], ...folders.map(({ path, name, documents }) => [path, `${name} (${number(documents)})`])]);
}

const kinds = () => [...$("kinds").querySelectorAll(":checked")].map(({ value }) => value);

/** Returns the moment of a local date, in seconds; `days` later. */
function moment(id, days) {
  if (!$(id).value) return null;
  const [year, month, day] = $(id).value.split("-").map(Number);
  return new Date(year, month - 1, day + days).getTime() / 1000;
}

function asked(query) {
  return {
    query,
    shelf: $("shelf").value === "" ? null : Number($("shelf").value),
    folder: $("folder").value || null,
    kinds: kinds(),
    after: moment("after", 0),
    before: moment("before", 1),
  };
}

async function look() {
  question.abort();
  question = new AbortController();
  const { signal } = question;
  const query = $("query").value;
  history.replaceState(null, "", query.trim() ? `#/search?q=${encodeURIComponent(query)}` : "#/search");
  if (!query.trim()) {
    hits = [];
    shownFor = "";
    draw();
    status();
    return;
  }
  try {
    const body = asked(query);
    take((await ask("/desk/search", body, signal)).hits, query, false);
    if (state.reranking.length && hits.length) {
      await pause(PAUSE, signal);
      for (const rerank of DEPTHS) {
        take((await ask("/desk/search", { ...body, rerank }, signal)).hits, query, rerank === DEPTHS.at(-1));
      }
    }
    await markSentences(signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    $("search-status").textContent = error.message;
    if (error.status === 503 || error.status === 404) refresh().catch(() => {});
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function take(found, query, ranked) {
  hits = found;
  isRanked = ranked;
  if (query !== shownFor) for (const card of cards.values()) card.span = null;
  shownFor = query;
  draw();
  status();
}

function status() {
  const many = (name) => number(state.shelves.reduce((sum, shelf) => sum + shelf[name], 0));
  let text;
  if (!shownFor) text = state.shelves.some(({ passages }) => passages) ? t("start", many("passages"), many("documents")) : t("empty");
  else if (!hits.length) text = t("nothing");
  else if (isRanked) text = t("found", number(hits.length));
  else text = t(state.reranking.length ? "sorting" : "found-first", number(hits.length));
  $("search-status").textContent = text;
  $("hits").classList.toggle("waiting", Boolean(shownFor) && hits.length > 0 && !isRanked && state.reranking.length > 0);
}

/** Draws the hits: cards that were there move to their new places, and the focus stays where it was. */
function draw() {
  const list = $("hits");
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const before = new Map([...list.children].map((node) => [node, node.getBoundingClientRect().top]));
  const words = wordsOf(shownFor);
  const present = new Set(hits.map(keyOf));
  for (const [key, card] of cards) {
    if (present.has(key)) continue;
    watcher.unobserve(card.node);
    sight.delete(card);
    cards.delete(key);
  }
  const nodes = hits.map((hit) => {
    const key = keyOf(hit);
    let card = cards.get(key);
    if (!card) {
      card = { hit, node: el("li", { class: "hit", tabindex: "-1" }), span: null, open: false };
      cards.set(key, card);
      watcher.observe(card.node);
    }
    card.hit = hit;
    fillCard(card, words);
    return card.node;
  });
  list.replaceChildren(...nodes);
  if (nodes.length) nodes[0].tabIndex = 0;
  for (const node of nodes.slice(1)) node.tabIndex = -1;
  if (focused) (list.contains(focused) ? focused : nodes[0] ?? $("query")).focus({ preventScroll: true });
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const node of nodes) {
    const from = before.get(node);
    const by = from === undefined ? 0 : from - node.getBoundingClientRect().top;
    if (by) node.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 280, easing: "ease-out" });
    else if (from === undefined) node.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 160 });
  }
}

function fillCard(card, words) {
  const { hit } = card;
  const slash = hit.shown.lastIndexOf("/") + 1;
  const score = hit.score === null ? null : hit.score.toFixed(3);
  const place = placeOf(hit);
  const isCode = hit.kind === "code";
  card.node.replaceChildren(
    el(
      "div",
      { class: "hit-head" },
      el(
        "h2",
        {},
        state.shelves.length > 1 ? el("span", { class: "shelf" }, `${state.shelves[hit.shelf]?.name ?? ""} · `) : null,
        el("span", { class: "in-folder" }, hit.shown.slice(0, slash)),
        hit.shown.slice(slash),
        el("span", { class: "lines" }, ` ${place}`),
      ),
      el(
        "p",
        { class: "scores" },
        score === null
          ? null
          : el("span", { class: "yes", title: t("yes-long", score) }, el("span", { class: "label" }, `${t("yes")} `), bar(hit.score), el("strong", {}, score)),
        el("span", {}, t("cosine", hit.similarity.toFixed(3))),
        el("span", {}, t("first-stage", hit.rank)),
      ),
    ),
    el(isCode ? "pre" : "p", { class: "snippet" }, ...nodesOf(hit, words, card.span, card.open)),
    el(
      "p",
      { class: "actions" },
      el("button", { type: "button", class: "quiet", onclick: () => open(hit) }, t("open")),
      el("button", { type: "button", class: "quiet", onclick: () => cite(card) }, t("cite")),
      isCut(hit)
        ? el("button", { type: "button", class: "quiet", "aria-expanded": String(card.open), onclick: () => unfold(card) }, t(card.open ? "less" : "more"))
        : null,
    ),
  );
}

function unfold(card) {
  card.open = !card.open;
  fillCard(card, wordsOf(shownFor));
  card.node.querySelector("[aria-expanded]").focus();
}

function placeOf(hit) {
  const lines = hit.line === hit.end_line ? t("line", hit.line) : t("lines", hit.line, hit.end_line);
  const [unit, ...label] = hit.place.split(" ");
  const place = unit && t(`unit-${unit}`, label.join(" "));
  return unit === "page" ? place : place ? `${place}, ${lines}` : lines;
}

function onKey(event) {
  const node = event.target.closest(".hit");
  if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
  const card = [...cards.values()].find((one) => one.node === node);
  const move = (to) => {
    event.preventDefault();
    if (to) {
      for (const other of $("hits").children) other.tabIndex = other === to ? 0 : -1;
      to.focus();
    } else if (event.key !== "ArrowDown") $("query").focus();
  };
  if (event.key === "ArrowDown") move(node.nextElementSibling);
  else if (event.key === "ArrowUp") move(node.previousElementSibling);
  else if (event.key === "Escape") move(null);
  else if (event.key === "Enter" && event.target === node) open(card.hit);
  else if (event.key === "c") cite(card);
}

async function open(hit) {
  try {
    await ask("/desk/open", { shelf: hit.shelf, source: hit.source, line: hit.line });
    $("search-status").textContent = t("opened", hit.shown);
  } catch (error) {
    $("search-status").textContent = error.message;
  }
}

async function cite({ hit, span }) {
  const quoted = (span ? hit.text.slice(span.start, span.end) : hit.text.slice(0, 200)).replace(/\s+/g, " ").trim();
  const citation = `“${quoted}” (${hit.shown}, ${placeOf(hit)})`;
  try {
    await navigator.clipboard.writeText(citation);
    $("search-status").textContent = t("copied");
  } catch {
    $("search-status").textContent = t("not-copied", citation);
  }
}

function onSight(entries) {
  for (const { target, isIntersecting } of entries) {
    const card = [...cards.values()].find(({ node }) => node === target);
    if (!card) continue;
    if (isIntersecting) sight.add(card);
    else sight.delete(card);
  }
  later();
}

const later = debounced(60, () => markSentences(question.signal).catch(() => {}));

/** Marks the sentence that carried the score in the hits that can be seen. */
async function markSentences(signal) {
  if (state.reranking.length && !isRanked) return;
  const query = shownFor;
  const bare = [...sight].filter((card) => card.span === null && cards.get(keyOf(card.hit)) === card).slice(0, 8);
  if (!bare.length || !query.trim()) return;
  for (const card of bare) card.span = undefined; // asked for
  try {
    const passages = bare.map(({ hit }) => ({ text: hit.text, kind: hit.kind }));
    const { spans } = await ask("/desk/sentences", { query, passages }, signal);
    if (query !== shownFor) return; // the cards belong to another question by now
    bare.forEach((card, place) => {
      card.span = spans[place] ?? undefined;
      fillCard(card, wordsOf(query));
    });
  } catch (error) {
    if (query === shownFor) for (const card of bare) card.span ??= null;
    throw error;
  }
  await markSentences(signal);
}
