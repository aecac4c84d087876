// The page: which view is shown, in which language, and whether the server is there.
import { isThere, keepKey, takeToken } from "./api.js";
import { $ } from "./dom.js";
import { state, refresh, isIndexing } from "./state.js";
import { t, toggleLanguage, translate } from "./strings.js";
import * as compare from "./compare.js";
import * as index from "./index-view.js";
import * as rerank from "./rerank.js";
import * as search from "./search.js";

const VIEWS = { search, compare, rerank, index };
const NEEDS_SHELVES = new Set(["search", "index"]);
let shown = null;

function offered() {
  return Object.keys(VIEWS).filter((name) => {
    if (NEEDS_SHELVES.has(name)) return state.shelves.length > 0;
    return name === "compare" ? state.embedding.length > 0 : state.reranking.length > 0;
  });
}

function show() {
  const names = offered();
  const [wanted, rest] = location.hash.replace(/^#\/?/, "").split("?");
  const name = names.includes(wanted) ? wanted : names[0];
  for (const link of document.querySelectorAll("nav a")) {
    link.hidden = !names.includes(link.dataset.view);
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const view of Object.keys(VIEWS)) $(`view-${view}`).hidden = view !== name;
  document.title = name ? `${t(name)} – qsift` : "qsift";
  if (name && name !== shown) VIEWS[name].enter?.(new URLSearchParams(rest ?? ""));
  shown = name;
}

function say() {
  translate();
  $("language").textContent = t("other-language");
  $("language").lang = document.documentElement.lang === "en" ? "zh-CN" : "en";
  for (const view of Object.values(VIEWS)) view.say();
}

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

async function start() {
  try {
    await refresh();
  } catch (error) {
    if (error.status !== 401) banner(error.message);
    return;
  }
  banner("");
  say();
  show();
}

addEventListener("hashchange", () => {
  if (!takeToken()) return show();
  $("key-dialog").close();
  start();
});
addEventListener("gone", () => banner(t("gone")));
addEventListener("key-needed", () => $("key-dialog").open || $("key-dialog").showModal());
$("key-form").addEventListener("submit", () => {
  keepKey($("key").value);
  $("key").value = "";
  start();
});
$("language").addEventListener("click", () => {
  toggleLanguage();
  say();
  show();
});
// A server that ended is noticed without a question, and one that came back as well.
setInterval(async () => {
  if (document.hidden) return;
  const wasGone = !$("banner").hidden;
  if (!(await isThere())) banner(t("gone"));
  else if (wasGone) start();
}, 4000);
// What is being indexed changes counts everywhere; the rest of the time only a visit of the view asks.
setInterval(() => !document.hidden && isIndexing() && refresh().catch(() => {}), 700);

translate();
for (const view of Object.values(VIEWS)) view.begin();
start();
