// A passage as it is shown: the words of the question, and the sentence that carried the score, marked.
import { el } from "./dom.js";

const longest = (kind) => (kind === "code" ? 330 : 460);
const BEFORE = 110;
const COMMON = new Set(
  ("a an and are as at be by can do does for from has have how i if in is it its my not of on or that the this to was " +
    "were what when where which who why will with you your").split(" "),
);
const segmenter = new Intl.Segmenter(undefined, { granularity: "word" });

const plain = (word) => word.normalize("NFKC").toLowerCase();
const isWide = (word) => /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u.test(word);

/** Returns the words of a question that are worth marking. */
export function wordsOf(question) {
  const words = [...segmenter.segment(question)].filter((part) => part.isWordLike).map((part) => plain(part.segment));
  const telling = words.filter((word) => !COMMON.has(word) && (isWide(word) || word.length > 1 || /\d/.test(word)));
  return telling.length ? telling : words;
}

/** Returns whether two words are the same, or share all but an ending: "cut" and "cuts", "index" and "indexed". */
function isSame(word, wanted) {
  if (word === wanted) return true;
  const [short, long] = word.length < wanted.length ? [word, wanted] : [wanted, word];
  return short.length > 3 - (long.length - short.length === 1) && long.length - short.length < 4 && long.startsWith(short);
}

/** Returns where a text is cut for showing: [start, end], around the sentence or the first marked word. */
function cut(text, span, places, most) {
  if (text.length <= most) return [0, text.length];
  const anchor = span?.start ?? places[0]?.[0] ?? 0;
  let start = anchor > BEFORE ? text.indexOf(" ", anchor - BEFORE) + 1 : 0;
  if (start <= 0 || start > anchor) start = Math.max(0, anchor > BEFORE ? anchor - BEFORE : 0);
  let end = Math.min(text.length, Math.max(start + most, span?.end ?? 0));
  const space = text.lastIndexOf(" ", end);
  if (end < text.length && space > end - 30 && space > (span?.end ?? 0)) end = space;
  // Never half of a character.
  if (/[\uDC00-\uDFFF]/.test(text[start] ?? "")) start += 1;
  if (/[\uD800-\uDBFF]/.test(text[end - 1] ?? "")) end -= 1;
  return [start, end];
}

/** Returns [start, end] of each word in a text that is one of `words`. */
function marked(text, words) {
  const found = [];
  if (!words.length) return found;
  for (const { segment, index, isWordLike } of segmenter.segment(text)) {
    if (isWordLike && words.some((wanted) => isSame(plain(segment), wanted))) found.push([index, index + segment.length]);
  }
  return found;
}

/** Returns a text whose lines flow where only the file's width broke them. It keeps its length: places stay places. */
function flowing(text) {
  return text.replace(/(?<=[^\n|])(?<!```\w*)\n(?=[^\s|#>*+•\-\d<`])/g, " ");
}

/** Returns the nodes of a passage; `span` is the sentence's place or null, `whole` whether nothing is left out. */
export function nodesOf({ text: written, kind }, words, span, whole) {
  const text = kind === "code" ? written : flowing(written);
  const everywhere = marked(text, words);
  const [start, end] = whole ? [0, text.length] : cut(text, span, everywhere, longest(kind));
  const places = everywhere.filter(([from, to]) => from >= start && to <= end);
  const nodes = [];
  const piece = (from, to) => {
    const parts = [];
    const shown = (a, b) => (whole || kind === "code" ? text.slice(a, b) : text.slice(a, b).replace(/\n\s*\n/g, "\n"));
    let at = from;
    for (const [wordStart, wordEnd] of places) {
      if (wordStart < at || wordEnd > to) continue;
      parts.push(shown(at, wordStart), el("b", {}, text.slice(wordStart, wordEnd)));
      at = wordEnd;
    }
    return [...parts, shown(at, to)];
  };
  if (start > 0) nodes.push("… ");
  if (span && span.start < end && span.end > start) {
    const [from, to] = [Math.max(start, span.start), Math.min(end, span.end)];
    nodes.push(...piece(start, from), el("mark", {}, ...piece(from, to)), ...piece(to, end));
  } else {
    nodes.push(...piece(start, end));
  }
  if (end < text.length) nodes.push(" …");
  return nodes;
}

/** Returns whether a passage is shown in part. */
export const isCut = ({ text, kind }) => text.length > longest(kind);
