// Every word of the page, in English and Chinese. {0} and {1} are what is put in.
const STRINGS = {
  "skip": ["Skip to the content", "跳到正文"],
  "views": ["Views", "视图"],
  "other-language": ["中文", "English"],
  "search": ["Search", "搜索"],
  "compare": ["Compare", "比较"],
  "rerank": ["Rerank", "重排"],
  "index": ["Index", "索引"],
  "query": ["Question", "问题"],
  "query-hint": ["Ask your files …", "向你的文件提问……"],
  "filters": ["Filters", "筛选"],
  "shelf": ["Where", "范围"],
  "everywhere": ["Everywhere", "全部"],
  "folder": ["Folder", "文件夹"],
  "all-folders": ["All folders", "全部文件夹"],
  "kind": ["Kind", "类型"],
  "kind-text": ["Text", "文本"],
  "kind-markdown": ["Markdown", "Markdown"],
  "kind-code": ["Code", "代码"],
  "kind-html": ["HTML", "HTML"],
  "kind-pdf": ["PDF", "PDF"],
  "kind-tex": ["TeX", "TeX"],
  "kind-docx": ["Word", "Word"],
  "kind-odt": ["OpenDocument", "OpenDocument"],
  "kind-pptx": ["PowerPoint", "PowerPoint"],
  "kind-xlsx": ["Excel", "Excel"],
  "kind-epub": ["EPUB", "EPUB"],
  "kind-ipynb": ["Notebooks", "笔记本"],
  "kind-mail": ["Mail", "邮件"],
  "kind-csv": ["Tables", "表格"],
  "kind-jsonl": ["JSON lines", "JSON 行"],
  "kind-srt": ["Subtitles", "字幕"],
  "after": ["Changed since", "修改于此日或之后"],
  "before": ["Changed until", "修改于此日或之前"],
  "clear": ["Clear filters", "清除筛选"],
  "keys": [
    "/ to search · ↓ ↑ to move · Enter to open · c to copy the citation",
    "/ 搜索 · ↓ ↑ 移动 · Enter 打开 · c 复制引用",
  ],
  "start": ["{0} passages of {1} documents.", "共 {0} 个段落，来自 {1} 个文档。"],
  "sorting": ["{0} passages found. Reading them …", "找到 {0} 个段落，正在细读……"],
  "found": ["{0} passages, the best first.", "{0} 个段落，最佳在前。"],
  "found-first": ["{0} passages, as the first stage found them.", "{0} 个段落，按第一阶段的次序。"],
  "nothing": ["Nothing was found. Other words, or fewer filters, may help.", "没有找到。换个说法，或减少筛选条件。"],
  "empty": ["There is nothing in the index yet. See Index.", "索引里还没有内容，请看“索引”。"],
  "line": ["line {0}", "第 {0} 行"],
  "lines": ["lines {0}–{1}", "第 {0}–{1} 行"],
  "unit-page": ["page {0}", "第 {0} 页"],
  "unit-slide": ["slide {0}", "幻灯片 {0}"],
  "unit-sheet": ["sheet {0}", "工作表 {0}"],
  "unit-cell": ["cell {0}", "单元格 {0}"],
  "unit-chapter": ["chapter {0}", "章节 {0}"],
  "unit-section": ["section {0}", "小节 {0}"],
  "unit-message": ["message {0}", "邮件 {0}"],
  "yes": ["P(yes)", "P(yes)"],
  "yes-long": ["The reranker's probability that this answers: {0}", "重排模型认为它能回答的概率：{0}"],
  "cosine": ["cosine {0}", "余弦 {0}"],
  "first-stage": ["first stage {0}", "第一阶段第 {0} 名"],
  "open": ["Open", "打开"],
  "cite": ["Copy citation", "复制引用"],
  "more": ["Show all", "展开"],
  "less": ["Show less", "收起"],
  "opened": ["{0} was opened.", "已打开 {0}。"],
  "copied": ["The citation is on the clipboard.", "引用已复制。"],
  "not-copied": ["The browser did not allow copying. The citation: {0}", "浏览器不允许复制。引用：{0}"],
  "compare-lead": [
    "How alike does the embedding model find these texts, and does a narrower or coarser vector still say so?",
    "嵌入模型认为这些文本有多相似？向量变窄或变粗之后，结论还一样吗？",
  ],
  "texts": ["Texts", "文本"],
  "one-a-line": ["One a line", "每行一条"],
  "query-optional": ["Question, if there is one", "问题（可选）"],
  "instruction": ["Instruction", "指令"],
  "model-default": ["The model's own", "模型自带"],
  "compare-now": ["Compare", "比较"],
  "example": ["An example", "示例"],
  "model": ["Model", "模型"],
  "width": ["Width", "维数"],
  "precision": ["Numbers", "数值"],
  "matrix": ["Similarities", "相似度"],
  "ranking": ["Ranking", "排序"],
  "ranking-of": ["Nearest to {0}", "与 {0} 最近"],
  "the-question": ["the question", "问题"],
  "ranking-note": [
    "The arrows say how many places a text moved from where {0} puts it at width {1} in float32.",
    "箭头表示与 {0} 在 {1} 维 float32 下的名次相比移动了几位。",
  ],
  "up": ["up {0}", "上升 {0}"],
  "down": ["down {0}", "下降 {0}"],
  "same": ["same place", "名次不变"],
  "choose-row": ["Rank by: {0}", "以此排序：{0}"],
  "need-two": ["Two texts are needed, or one and a question.", "需要两条文本，或一条文本加一个问题。"],
  "too-many": ["{0} texts are too many; 40 are possible.", "{0} 条太多了，最多 40 条。"],
  "computing": ["Computing …", "正在计算……"],
  "rerank-lead": [
    "The reranker reads each document together with the question, and says how likely it is an answer.",
    "重排模型把每个文档与问题放在一起读，并给出它是答案的概率。",
  ],
  "documents": ["Documents", "文档"],
  "rerank-now": ["Rank", "排序"],
  "ranked": ["{0} documents, the best first.", "{0} 个文档，最佳在前。"],
  "prompt": ["The prompt", "提示原文"],
  "prompt-of": ["The prompt of document {0}", "第 {0} 个文档的提示原文"],
  "tokens": ["{0} tokens", "{0} 个词元"],
  "n-documents": ["documents", "文档"],
  "n-passages": ["passages", "段落"],
  "size": ["on disk", "磁盘占用"],
  "incomplete": ["{0} documents are not whole yet; an update goes on with them.", "{0} 个文档尚未完成，更新时会继续。"],
  "update": ["Update", "更新"],
  "stop": ["Stop", "停止"],
  "add": ["Add", "添加"],
  "add-path": ["Add a file or folder", "添加文件或文件夹"],
  "add-hint": ["~/papers", "~/papers"],
  "reading": ["Looking at {0} of {1} documents", "正在查看第 {0} / {1} 个文档"],
  "finding": ["Looking for documents: {0}", "正在寻找文档：{0}"],
  "embedded": ["{0} passages embedded, {1} a second", "已嵌入 {0} 个段落，每秒 {1} 个"],
  "stopping": ["Stopping; what is written stays.", "正在停止，已写入的会保留。"],
  "stopped": ["Stopped. {0} passages were embedded; what is written stays.", "已停止。嵌入了 {0} 个段落，已写入的会保留。"],
  "failed": ["It failed. {0}", "失败：{0}"],
  "done": [
    "Up to date: {0} added, {1} changed, {2} removed, {3} unchanged.",
    "已是最新：新增 {0}，修改 {1}，移除 {2}，未变 {3}。",
  ],
  "skipped": ["{0} skipped", "跳过 {0} 个"],
  "skipped-more": ["… and {0} more", "……另有 {0} 个"],
  "folders": ["Folders", "文件夹"],
  "kinds-title": ["Kinds", "类型"],
  "made-of": ["of {0}", "来自 {0}"],
  "key-title": ["A key is needed", "需要密钥"],
  "key-lead": [
    "Open the address that qsift desk printed: it ends with the token. Or type the token, or the server's API key, here.",
    "请打开 qsift desk 打印的地址，它以令牌结尾。也可以在此输入令牌或服务器的 API 密钥。",
  ],
  "key": ["Token or key", "令牌或密钥"],
  "key-send": ["Go on", "继续"],
  "gone": [
    "The server has ended, or cannot be reached. This page goes on when it is back.",
    "服务器已停止或无法访问。恢复后本页会继续。",
  ],
};

const kept = localStorage.getItem("qsift-language");
let language = kept ?? (navigator.language.startsWith("zh") ? "zh" : "en");

/** Returns a text in the page's language. */
export function t(name, ...values) {
  const text = STRINGS[name][language === "zh" ? 1 : 0];
  return text.replace(/\{(\d)\}/g, (_, number) => values[number]);
}

/** Returns what a kind of documents is called; its own name, where the table has no other. */
export const kindName = (kind) => (`kind-${kind}` in STRINGS ? t(`kind-${kind}`) : kind);

/** Returns a number as the language writes it. */
export const number = (value) => value.toLocaleString(language === "zh" ? "zh-CN" : "en");

/** Goes to the other language. */
export function toggleLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("qsift-language", language);
}

/** Writes the page's fixed texts. */
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.ariaLabel = t(node.dataset.tLabel);
  for (const node of document.querySelectorAll("[data-t-placeholder]")) node.placeholder = t(node.dataset.tPlaceholder);
}
