// What the server has: models and shelves. Asked for at the start, and again by those who need it fresh.
import { ask } from "./api.js";

/** The last answer of /desk/state. */
export let state = { embedding: [], reranking: [], shelves: [], kinds: [] };

/** Asks again, and tells whoever listens to "state". */
export async function refresh() {
  state = await ask("/desk/state");
  dispatchEvent(new Event("state"));
  return state;
}

/** Returns whether anything is being indexed. */
export const isIndexing = () => state.shelves.some(({ job }) => job && ["running", "stopping"].includes(job.state));
