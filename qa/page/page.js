// The page's behaviour. Buttons carry `data-act`: some acts are done here, the others are sent to
// the server. Runs once; Gradio gives it `trigger`, and other names besides.
(() => {

// All acts but these change the conversation, and are done one at a time: what is pressed while a
// question is being asked would be passed over, so these buttons are off meanwhile.
const LOOKING = ["open", "show", "remove", "refresh", "export"];
const send = (name, data = {}) =>
  trigger(LOOKING.includes(name) ? "look" : "submit", { name, ...data });
// Of what is asked for in quick succession the last is to be shown, whichever is answered last.
let latest = null;
const open = (name, data) => {
  latest = { ...data, request: String(Number(latest?.request ?? 0) + 1) };
  send(name, latest);
  latest.name = name;
};
const find = (selector, within = document) => within.querySelector(selector);
const page = find(".gradio-container");
const narrow = () => window.matchMedia("(max-width: 60rem)").matches;
document.documentElement.lang = "en";
const made = (tag, text, className) => Object.assign(document.createElement(tag), { textContent: text, className });

// The panel beside the conversation: a source or the list of documents. On narrow screens it is a
// sheet over the conversation, which opens when something is asked for and not by itself.
let cameFrom = null;
const show = (panel) => {
  if (page.dataset.panel !== panel) find("#aside").scrollTop = 0;
  page.dataset.panel = panel;
  page.dataset.sheet = "open";
};
const close = () => {
  delete page.dataset.sheet;
  if (!narrow()) {
    page.dataset.panel = "documents";
    find("#aside").scrollTop = 0;
  }
  if (cameFrom?.isConnected) cameFrom.focus();
};
page.dataset.panel = "documents";
const box = () => find("#question textarea, #question input");
// Not by the box's own means: it would take the focus back whenever it is emptied.
if (!narrow()) box()?.focus();

// A server that is gone is said in the page's own words, in place of Gradio's. When it is back, the
// page begins anew with the conversation that the browser keeps, and with what was being typed.
const DRAFT = "citespan-draft";
const lost = () => {
  if (find(".lost")) return;
  const notice = made("p", "", "lost");
  notice.setAttribute("role", "alert");
  notice.append(
    made("strong", "The server does not answer."),
    " Your conversation is kept in this browser. The page goes on by itself when the server is back;"
      + " if it was stopped, start ", made("code", "citespan chat"), " again.",
  );
  find("#header").after(notice);
  const again = () => {
    sessionStorage.setItem(DRAFT, box()?.value ?? "");
    location.reload();
  };
  const look = () => fetch("/api/health").then(again, wait);
  // Never at once: a page that is being left loses its connection too.
  const wait = () => setTimeout(look, 2000);
  wait();
};
new MutationObserver(() => {
  const toast = find(".toast-wrap:not([hidden])");
  if (!toast?.textContent.includes("Connection to the server was lost")) return;
  toast.hidden = true;
  lost();
}).observe(document.body, { childList: true, subtree: true });
const draft = sessionStorage.getItem(DRAFT);
sessionStorage.removeItem(DRAFT);
const resume = () => {
  if (!box()) return requestAnimationFrame(resume);
  box().value = draft;
  box().dispatchEvent(new Event("input", { bubbles: true }));
};
if (draft) resume();

const local = {
  documents: () => show("documents"),
  close,
  choose: () => find("#files").click(),
  doubt: (button) => {
    const row = button.closest("li");
    find(".confirm", row).hidden = false;
    find(".confirm .strong", row).focus();
  },
  keep: (button) => {
    const row = button.closest("li");
    find(".confirm", row).hidden = true;
    find(".remove", row).focus();
  },
  mark: (button) => {
    const span = selected();
    if (span) send("mark", { turn: button.dataset.turn, ...span });
    find(".marker").hidden = true;
    getSelection().removeAllRanges();
  },
};

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest("button")) menu.open = false;
  }
  const button = event.target.closest("[data-act]");
  if (!button || button.disabled) return;
  const { act, ...data } = button.dataset;
  if (local[act]) return local[act](button);
  if (act === "open" || act === "show") {
    if (!button.closest("#aside")) cameFrom = button;
    show("source");
    return open(act, data);
  }
  if (act === "remove") button.closest("li").setAttribute("aria-busy", "true");
  send(act, data);
});

// What is drawn anew is brought into view: the cited words, and the latest question.
const onChange = (selector, react) => {
  const target = find(selector);
  if (target) new MutationObserver(() => react(target)).observe(target, { childList: true, subtree: true });
};
const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const bring = (element, block) => element?.scrollIntoView({ block, behavior: still ? "auto" : "smooth" });
let shown = "";
let drawn = "";
onChange("#source", (source) => {
  const section = find("section", source);
  const before = drawn;
  drawn = section?.outerHTML ?? "";
  // Gradio draws also what has not changed.
  if (!section || drawn === before) return;
  const { request } = section.dataset;
  if (request && latest && Number(request) < Number(latest.request)) {
    const { name, ...data } = latest;
    return send(name, data);
  }
  // On a narrow screen only a click opens it: what is drawn late must not hide the list of documents.
  if (!narrow()) page.dataset.panel = "source";
  const image = find("img", source);
  const place = find(".box, #cited", source);
  if (!place) return;
  const scroller = find("#aside");
  const centre = () => {
    const top = place.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
    scroller.scrollTo({ top: scroller.scrollTop + top - scroller.clientHeight / 3 });
  };
  if (image && !image.complete) image.addEventListener("load", centre, { once: true });
  requestAnimationFrame(centre);
});
onChange("#conversation", () => {
  const asking = find(".turn.pending") !== null;
  for (const button of document.querySelectorAll("[data-act]")) {
    const { act } = button.dataset;
    if (act === "mark" || !(act in local || LOOKING.includes(act))) button.disabled = asking;
  }
  const latest = find(".turn.pending") ?? find('.turn[data-latest="true"]');
  const key = latest ? latest.id + latest.className : "";
  if (latest && key !== shown) requestAnimationFrame(() => bring(latest, "start"));
  shown = key;
});

// Words selected in a source, as offsets of its text: lines carry theirs, and offsets count code
// points, where JavaScript counts halves of some characters.
const codePoints = (text) => Array.from(text).length;
const offset = (node, at) => {
  const line = (node.nodeType === Node.TEXT_NODE ? node.parentElement : node).closest("[data-at]");
  if (!line) return null;
  const before = document.createRange();
  before.setStart(line, 0);
  before.setEnd(node, at);
  return Number(line.dataset.at) + codePoints(before.toString());
};
const selected = () => {
  const selection = getSelection();
  const section = find("#source section[data-turn]");
  if (!section || !selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  if (!find(".text", section)?.contains(range.commonAncestorContainer)) return null;
  const start = offset(range.startContainer, range.startOffset);
  const end = offset(range.endContainer, range.endOffset);
  if (start === null || end === null || start >= end) return null;
  return { document: section.dataset.document, start, end };
};
document.addEventListener("selectionchange", () => {
  const marker = find(".marker");
  if (!marker) return;
  const span = selected();
  // A click on its own button takes the selection away only after it was used.
  if (!span && marker.contains(document.activeElement)) return;
  marker.hidden = !span;
  if (span) {
    const words = getSelection().toString().replace(/\s+/g, " ");
    find(".selected", marker).textContent = words.length > 80 ? words.slice(0, 79) + "…" : words;
  }
});
// Pressing the button must not take the selection away before it is used.
document.addEventListener("mousedown", (event) => {
  if (event.target.closest(".marker")) event.preventDefault();
});

// Uploads: one request a file, so that each has its own progress and its own reason.
const arrivals = () => find("#arrivals");
let waiting = 0;
const upload = (file) => {
  const row = document.createElement("li");
  const name = made("span", file.name, "title");
  const state = made("span", "Waiting", "state");
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", file.name);
  row.append(name, bar, state);
  arrivals().append(row);
  const form = new FormData();
  form.append("files", file);
  const request = new XMLHttpRequest();
  request.open("POST", "/api/documents");
  request.upload.onprogress = (event) => {
    bar.value = event.loaded / event.total;
    state.textContent = event.loaded < event.total ? `${Math.round(100 * bar.value)}%` : "Reading";
    if (event.loaded >= event.total) bar.removeAttribute("value");
  };
  const done = (outcome, text) => {
    row.dataset.outcome = outcome;
    bar.remove();
    state.textContent = text;
    waiting -= 1;
    if (!waiting) send("refresh");
  };
  request.onload = () => {
    let reply = {};
    try { reply = JSON.parse(request.responseText); } catch { /* said below */ }
    if (request.status === 201) return done("added", "Added");
    const reason = (reply.error ?? `the server refused it (${request.status})`).replace(/^nothing was added: /, "");
    const own = reason.startsWith(`${file.name} `);
    done("failed", own ? `Not added: it ${reason.slice(file.name.length + 1)}` : `Not added: ${reason}`);
  };
  request.onerror = () => done("failed", "Not added: the connection broke; try again");
  waiting += 1;
  request.send(form);
};
const bringAll = (files) => {
  if (!files.length) return;
  show("documents");
  if (!waiting) arrivals().replaceChildren();
  for (const file of files) upload(file);
};
document.addEventListener("change", (event) => {
  if (event.target.id !== "files") return;
  bringAll([...event.target.files]);
  event.target.value = "";
});
document.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  page.dataset.drag = "over";
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) delete page.dataset.drag;
});
document.addEventListener("drop", (event) => {
  delete page.dataset.drag;
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  bringAll([...event.dataTransfer.files]);
});

// Keys: / to ask, Escape to close, arrows for the next and previous citation.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea");
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
    return close();
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    box()?.focus();
  }
  const step = { ArrowRight: "1", ArrowLeft: "-1" }[event.key];
  if (step) find(`.step[data-step="${step}"]`)?.click();
});

})();
