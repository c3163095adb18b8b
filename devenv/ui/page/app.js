"use strict";

// The token: from the URL's fragment, kept for this tab only, and taken out of the address bar.

const byId = (id) => document.getElementById(id);

async function findToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token")) {
    sessionStorage.setItem("token", given.get("token"));
  } else if (given.has("ticket")) {
    const answer = await fetch("/api/ticket", { method: "POST", headers: { Authorization: `Ticket ${given.get("ticket")}` } });
    if (answer.ok) {
      sessionStorage.setItem("token", (await answer.json()).token);
    }
  }
  if (given.has("token") || given.has("ticket")) {
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem("token") || "";
}

let token = "";

// Server-sent events over fetch: an EventSource cannot send the token in a header.

async function follow(path, signal, take, opened) {
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${token}` }, signal });
  if (!answer.ok) {
    const why = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(why.error || `HTTP ${answer.status}`), { final: answer.status === 401 });
  }
  opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const found = /^event: (.*)\ndata: (.*)$/s.exec(part);
      if (found) {
        take(found[1], JSON.parse(found[2]));
      }
    }
  }
}

async function followAlways(path, signal, take, lost) {
  for (;;) {
    try {
      await follow(path, signal, take, () => lost("", true));
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      lost(error.final ? `No entry: ${error.message}.` : "devenv ui does not answer; trying again …", false);
      if (error.final) {
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// Elements. Text from elsewhere is only ever set as text.

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) {
      made[key] = value;
    } else {
      made.setAttribute(key, value);
    }
  }
  made.append(...children);
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

function milliseconds(value) {
  return value === null || value === undefined ? "" : value < 10 ? value.toFixed(1) : String(Math.round(value));
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

// DAG files

const files = new Map();
const opened = new Map(); // what the person opened or closed, so that it stays so

function takeFiles(data) {
  if (data.all) {
    files.clear();
  }
  for (const path of data.gone) {
    files.delete(path);
  }
  for (const state of data.changed) {
    files.set(state.file, state);
  }
  showFiles();
}

function wordFor(state) {
  if (!state.ok) return "broken";
  return state.problems.some((problem) => problem.severity === "warning") ? "warning" : "ok";
}

function showFiles() {
  const order = { broken: 0, warning: 1, ok: 2 };
  const wanted = byId("files-filter").value.trim().toLowerCase();
  const onlyBroken = byId("files-broken").checked;
  const all = [...files.values()];
  const shown = all
    .filter((state) => !onlyBroken || !state.ok)
    .filter((state) => !wanted || [state.file, ...state.dag_ids].some((name) => name.toLowerCase().includes(wanted)))
    .sort((a, b) => order[wordFor(a)] - order[wordFor(b)] || a.file.localeCompare(b.file));
  keepFocus(byId("files-list"), () => byId("files-list").replaceChildren(...shown.slice(0, 500).map(fileRow)));
  const broken = all.filter((state) => !state.ok).length;
  setText("files-count", `${plural(all.length, "file")}, ${broken ? `${broken} broken` : "all parse"}`);
  byId("files-count").className = broken ? "broken" : "ok";
  const hidden = shown.length > 500 ? `${shown.length - 500} more; filter to see them.` : "";
  setText("files-empty", all.length && !shown.length ? "No file is like this." : all.length ? hidden : "No DAG file is known yet.");
  if (!all.length) {
    setText("files-count", "");
  }
  document.title = broken ? `(${broken} broken) devenv` : "devenv";
}

function fileRow(state) {
  const word = wordFor(state);
  const problems = state.problems.filter((problem) => problem.severity !== "info");
  const dags = state.dag_ids.length ? state.dag_ids.join(", ") : state.ok ? "no DAG" : "";
  const facts = [
    state.milliseconds ? `parsed in ${milliseconds(state.milliseconds)} ms` : "",
    state.at ? `at ${clock(state.at)}` : "",
    `says the ${state.speakers.join(" and the ")}`,
  ];
  const line = [
    element("span", { className: `state ${word}` }, `${{ ok: "✓", warning: "!", broken: "✗" }[word]} ${word}`),
    element("span", { className: "path" }, state.file),
    element("span", {}, dags),
    element("span", { className: "facts" }, facts.filter(Boolean).join(", ")),
  ];
  if (!problems.length) {
    return element("li", {}, element("div", { className: "file" }, ...line));
  }
  const details = element("details", { open: opened.get(state.file) ?? !state.ok });
  const summary = element("summary", { className: "file", "data-key": state.file }, ...line);
  summary.addEventListener("click", () => opened.set(state.file, !details.open));
  details.append(summary, ...problems.map((problem) => problemBox(problem, state.file)));
  return element("li", {}, details);
}

function problemBox(problem, file) {
  const box = element("div", { className: problem.severity === "error" ? "problem" : "problem mild" });
  const place = problem.file || file;
  box.append(element("p", {}, element("strong", {}, problem.type || problem.severity), `: ${problem.message}`));
  if (problem.line) {
    box.append(element("p", { className: "path" }, `${place}:${problem.line}${problem.column ? `:${problem.column}` : ""}`));
  }
  if (problem.excerpt.length) {
    const digits = String(problem.excerpt_line + problem.excerpt.length - 1).length;
    const lines = problem.excerpt.map((code, index) => {
      const number = problem.excerpt_line + index;
      const here = number === problem.line;
      return element("span", { className: here ? "here" : "" }, `${here ? "❱" : " "} ${String(number).padStart(digits)} │ ${code}`);
    });
    box.append(element("pre", { tabIndex: 0, role: "region", "aria-label": `${place}, line ${problem.line}` }, ...lines));
  }
  if (problem.hint) {
    box.append(element("p", {}, `→ ${problem.hint}`));
  }
  return box;
}

function keepFocus(parent, change) {
  const key = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  change();
  if (key !== undefined) {
    [...parent.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
  }
}

function setText(id, text) {
  if (byId(id).textContent !== text) {
    byId(id).textContent = text; // set only when it differs: a status is read out when it is set
  }
}

// Saves

const SERIES = [
  ["volume", "it is in the DAG volume", "M-4-4h8v8h-8z"],
  ["verdict", "the verdict", "M0-5.5 5.5 4.5h-11z"],
  ["scheduler", "the scheduler parsed it", "M0-5.5 5.5 0 0 5.5-5.5 0z"],
];
const COLUMNS = 60;

function showSaves(saves) {
  const shown = saves.slice(-COLUMNS);
  setText("saves-note", saves.length ? `the last ${shown.length} of ${plural(saves.length, "save")}` : "No save was seen yet.");
  byId("saves-rows").replaceChildren(...SERIES.map((series) => savesRow(series, shown)));
  byId("chart").replaceChildren(...(shown.length ? [chart(shown)] : []));
}

function savesRow([name, title, shape], saves) {
  const values = saves.map((save) => save[name]).filter((value) => value !== null);
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => milliseconds(sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]);
  const key = svg("svg", { class: "key", viewBox: "-6 -6 12 12", "aria-hidden": "true" }, svg("path", { d: shape, class: name }));
  const numbers = values.length ? [values.length, milliseconds(values.at(-1)), at(0.5), at(0.95), milliseconds(sorted.at(-1))] : [0, "", "", "", ""];
  return element("tr", {}, element("th", { scope: "row" }, key, title), ...numbers.map((value) => element("td", {}, String(value))));
}

function chart(saves) {
  const [width, height, left, right, top, bottom] = [1000, 260, 64, 16, 12, 34];
  const values = saves.flatMap((save) => SERIES.map(([name]) => save[name])).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.max(0.1, Math.min(...values))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const y = (value) => top + (height - top - bottom) * (1 - (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low));
  const step = (width - left - right) / Math.max(saves.length, 12);
  const x = (index) => left + step * (index + 0.5);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": describe(saves) });
  for (let power = low; power <= high; power += 1) {
    const value = 10 ** power;
    const label = value >= 1000 ? `${value / 1000} s` : `${value} ms`;
    drawn.append(
      svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, label),
    );
  }
  saves.forEach((save, index) => {
    const points = SERIES.filter(([name]) => save[name] !== null).map(([name, , shape]) => [name, shape, y(save[name])]);
    const heights = points.map((point) => point[2]);
    const column = svg("g", {}, svg("title", {}, describeSave(save)));
    column.append(svg("line", { x1: x(index), x2: x(index), y1: Math.min(...heights), y2: Math.max(...heights), class: "stem" }));
    for (const [name, shape, at] of points) {
      column.append(svg("path", { d: shape, class: name, transform: `translate(${x(index).toFixed(1)} ${at.toFixed(1)})` }));
    }
    drawn.append(column);
  });
  drawn.append(svg("text", { x: left, y: height - 10 }, clock(saves[0].at)));
  if (saves.length > 1) {
    drawn.append(svg("text", { x: Math.max(x(saves.length - 1), left + 130), y: height - 10, "text-anchor": "end" }, clock(saves.at(-1).at)));
  }
  return drawn;
}

function describeSave(save) {
  const parts = SERIES.filter(([name]) => save[name] !== null).map(([name, title]) => `${title} ${milliseconds(save[name])} ms`);
  return `${clock(save.at)} ${save.path}: ${parts.join(", ")}`;
}

function describe(saves) {
  return `${plural(saves.length, "save")} from ${clock(saves[0].at)} to ${clock(saves.at(-1).at)}; the table below has the figures. The last: ${describeSave(saves.at(-1))}.`;
}

// Environment and watch

let components = [];

function showEnvironment(data) {
  setText("identifier", data.identifier || "");
  const counts = Object.entries(data.dags || {}).map(([state, count]) => `${count} ${state}`);
  const versions = Object.entries(data.versions || {}).map(([name, version]) => `${name} ${version}`);
  const parts = [
    data.state === "unknown" ? `cannot be looked at: ${data.silent}` : `${data.backend}, ${data.state}`,
    ...versions,
    counts.length ? `DAGs: ${counts.join(", ")}` : "",
    data.silent && data.state !== "unknown" ? `Airflow does not answer: ${data.silent}` : "",
    data.hint || (data.state === "stopped" || data.state === "missing" ? "devenv up starts it" : ""),
  ];
  setText("summary", parts.filter(Boolean).join(" · "));
  byId("summary").className = { up: "", partly: "warning" }[data.state] ?? "broken";
  components = data.components || [];
  showComponents();
  const troubles = (data.troubles || []).map((trouble) =>
    element("li", {}, `${trouble.dag_id} ${trouble.task}: ${trouble.text}${trouble.hint ? ` → ${trouble.hint}` : ""}`),
  );
  byId("troubles").replaceChildren(...troubles);
  const urls = Object.entries(data.urls || {}).map(([name, url]) => element("a", { href: url, rel: "noreferrer", target: "_blank" }, `${name} ↗`));
  byId("urls").replaceChildren(...urls.flatMap((link, index) => (index ? [" · ", link] : [link])));
  const select = byId("logs-component");
  const names = ["", ...components.map((component) => component.name)];
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => element("option", { value: name }, name || "all")));
    select.value = names.includes(chosen) ? chosen : "";
  }
}

function showComponents() {
  const rows = components.map((component) => {
    const logs = element("button", { type: "button", "data-key": component.name, "aria-label": `log of ${component.name}` }, "log");
    logs.addEventListener("click", () => {
      byId("logs-component").value = component.name;
      followLogs();
      byId("logs").scrollIntoView();
      byId("logs-lines").focus();
    });
    return element(
      "tr", {},
      element("th", { scope: "row" }, component.name),
      element("td", { className: component.health }, component.health),
      element("td", {}, component.restarts ? String(component.restarts) : ""),
      element("td", {}, component.since ? span(Date.now() / 1000 - component.since) : ""),
      element("td", { className: "detail" }, component.detail || component.image),
      element("td", {}, logs),
    );
  });
  keepFocus(byId("components-rows"), () => byId("components-rows").replaceChildren(...rows));
}

function showWatch(data) {
  let text = "Nothing watches the DAG folder (devenv watch): this is what Airflow knows.";
  if (data.pid !== null) {
    text = `Process ${data.pid} watches ${data.started.folder || "the DAG folder"}`;
    text += data.started.target ? ` (${data.started.target}, ${data.started.watcher})` : "";
    text += data.connection.state ? `; the connection is lost (${data.connection.reason}), trying again` : "";
  }
  setText("watch", text);
  byId("watch").className = data.pid === null || data.connection.state ? "warning" : "quiet";
}

// Logs

const LOG_LINES = 2000;
let logLines = [];
let logStop = new AbortController();

function followLogs() {
  logStop.abort();
  logStop = new AbortController();
  const component = byId("logs-component").value;
  const started = () => {
    logLines = [];
    showLogs();
  };
  followAlways(
    `/api/logs?component=${encodeURIComponent(component)}`,
    logStop.signal,
    (_name, lines) => addLogs(lines),
    (_why, connected) => connected && started(),
  );
}

function addLogs(lines) {
  logLines.push(...lines);
  if (logLines.length > LOG_LINES) {
    logLines = logLines.slice(-LOG_LINES);
  }
  const shown = byId("logs-lines");
  const wanted = lines.filter(logMatches);
  shown.append(...wanted.map(logRow));
  while (shown.childElementCount > LOG_LINES) {
    shown.firstElementChild.remove();
  }
  afterLogs();
}

function logMatches(line) {
  const wanted = byId("logs-filter").value.toLowerCase();
  return !wanted || line.text.toLowerCase().includes(wanted) || line.component.includes(wanted);
}

function logRow(line) {
  const bad = /\b(ERROR|CRITICAL|FATAL|Traceback)\b/.test(line.text);
  return element("div", { className: bad ? "error" : "" }, element("time", {}, clock(line.time)), " ", element("b", {}, line.component), ` ${line.text}`);
}

function showLogs() {
  byId("logs-lines").replaceChildren(...logLines.filter(logMatches).map(logRow));
  afterLogs();
}

function afterLogs() {
  const shown = byId("logs-lines");
  setText("logs-count", `${plural(shown.childElementCount, "line")}`);
  if (byId("logs-follow").checked) {
    shown.scrollTop = shown.scrollHeight;
  }
}

// Secrets

function showSecrets(data) {
  setText("secrets-note", data.silent ? `Vault does not run; these are the seeds (${data.silent})` : "");
  byId("secrets-rows").replaceChildren(
    ...data.entries.map((entry) =>
      element(
        "tr", {},
        element("th", { scope: "row", className: "path" }, entry.path),
        element("td", { className: "code" }, [...entry.keys, ...entry.missing.map((key) => `${key} (missing)`)].join(", ")),
        element("td", {}, entry.source),
        element("td", {}, entry.readers),
      ),
    ),
  );
}

const SHOW = { files: takeFiles, saves: showSaves, environment: showEnvironment, watch: showWatch, secrets: showSecrets };

async function start() {
  token = await findToken();
  byId("files-filter").addEventListener("input", showFiles);
  byId("files-broken").addEventListener("change", showFiles);
  byId("logs-component").addEventListener("change", followLogs);
  byId("logs-filter").addEventListener("input", showLogs);
  byId("logs-follow").addEventListener("change", afterLogs);
  setInterval(showComponents, 30000);
  followLogs();
  await followAlways("/api/events", new AbortController().signal, (name, data) => SHOW[name]?.(data), (why) => setText("connection", why));
}

start();
