// Asks what a video should become: its size, the model, and what few people change. It knows the form and no server.

import { byId, el } from "./dom.js";
import { shownSize } from "./probe_card.js";
import { rounded } from "./words.js";

const BOXES = {
  SD2HD: [1920, 1080],
  SD24K: [3840, 2160],
  HD24K: [3840, 2160],
  "4K28K": [7680, 4320],
};

/** Return the part of the form that asks for the goal; `onChange` is told whenever an answer changes. */
export function goalForm(onChange) {
  const form = byId("workbench");
  let wishedModel = ""; // the models may be told later than what was asked for
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (!event.target.closest("[data-goal]")) return;
    wishedModel = "";
    byId("custom").hidden = sizeOf(form) !== "custom";
    onChange();
  });
  return {
    fields: () => fieldsOf(form),
    suggest: (probe) => suggest(form, probe),
    showModels: (models) => showModels(models, modelOf(form) || wishedModel),
    /** Fill the form with what an earlier job was asked for, or with what `fields` gave. */
    take(asked) {
      wishedModel = asked.model ?? "";
      take(form, asked);
    },
  };
}

const sizeOf = (form) => form.elements.size.value;
const modelOf = (form) => form.elements.model?.value ?? "";

/** Return the fields of a job as they are asked for now; what is left open is left out. */
function fieldsOf(form) {
  const fields = { ...sizeFields(form) };
  const put = (name, value) => {
    if (value !== "" && value !== null && !Number.isNaN(value)) fields[name] = value;
  };
  put("model", modelOf(form));
  put("fit", "scale" in fields ? "" : form.elements.fit.value);
  put("codec", form.elements.codec.value);
  put("crf", form.elements.crf.value === "" ? "" : Number(form.elements.crf.value));
  put("maximum_optimized_size_mb", form.elements.most.value === "" ? "" : Number(form.elements.most.value));
  if (form.elements.quality.checked) fields.quality = true;
  if (form.elements.partial.checked) fields.allow_partial = true;
  return fields;
}

function sizeFields(form) {
  const chosen = sizeOf(form);
  if (chosen === "custom") return { target: `${form.elements.width.value}x${form.elements.height.value}` };
  if (chosen === "asked") return JSON.parse(form.elements.asked.value);
  return chosen in BOXES ? { task_type: chosen } : { scale: Number(chosen) };
}

/** Choose what people mostly want of such a video, and say what a factor comes to. */
function suggest(form, probe) {
  const { width, height } = shownSize(probe);
  const long = Math.max(width, height);
  const choice = long < 640 ? "2" : long <= 1024 ? "SD2HD" : long <= 2048 ? "HD24K" : long <= 4096 ? "4K28K" : "2";
  form.elements.size.value = choice;
  byId("size-asked").hidden = true;
  byId("custom").hidden = true;
  for (const factor of [2, 4]) {
    byId(`size-${factor}-words`).textContent = `${width * factor} × ${height * factor}`;
  }
}

/** Show the models, the fastest here first; the first choice leaves it to the server. */
function showModels(models, chosen) {
  const speed = (one) => one.seconds_per_megapixel ?? Number.POSITIVE_INFINITY;
  const sorted = [...models].sort((a, b) => speed(a) - speed(b));
  const rows = sorted.map((one) => modelRow(one.name, one.name, one.summary, modelFacts(one)));
  const automatic = modelRow("", "Chosen for you", "The best that this machine does in good time, for this video.", []);
  byId("models").replaceChildren(automatic, ...rows);
  const kept = sorted.some((one) => one.name === chosen) ? chosen : "";
  byId("workbench").elements.model.value = kept;
}

function modelRow(value, name, summary, facts) {
  return el(
    "label",
    { class: "choice choice--wide" },
    el("input", { type: "radio", name: "model", value, "data-goal": true, checked: value === "" }),
    el(
      "span",
      { class: "choice-words" },
      el("span", { class: "choice-name" }, name),
      el("span", { class: "note" }, summary),
      facts.length > 0 && el("span", { class: "row row--chips" }, facts.map((fact) => el("span", { class: "chip" }, fact))),
    ),
  );
}

/** Return what is worth knowing of a model before choosing it. */
export function modelFacts(model) {
  const [speed] = Object.entries(model.frames_per_second ?? {});
  const measured = speed
    ? `about ${speed[1].toFixed(speed[1] < 10 ? 1 : 0)} fps here at ${speed[0].replace("x", " × ")}`
    : model.seconds_per_megapixel
      ? `${rounded(1 / model.seconds_per_megapixel)} Mpx a second here`
      : "speed not measured here yet";
  return [measured, model.scales.map((scale) => `×${scale}`).join(" "), model.licence].filter(Boolean);
}

/** Fill the form with what an earlier job was asked for. */
function take(form, asked) {
  const put = (name, value) => {
    form.elements[name].value = value ?? "";
  };
  takeSize(form, { task_type: asked.task ?? asked.task_type, target: asked.to ?? asked.target, scale: asked.scale });
  if (form.elements.model) {
    put("model", "");
    put("model", asked.model); // one that is not there any more leaves the choice to the server
  }
  for (const name of ["fit", "codec", "crf"]) put(name, asked[name]);
  if (!form.elements.codec.value) put("codec", "hevc");
  put("most", asked.maximum_mb ?? asked.maximum_optimized_size_mb);
  form.elements.quality.checked = Boolean(asked.quality);
  form.elements.partial.checked = Boolean(asked.allow_partial);
}

/** Choose a size as it was asked for; what the form has no words for is one choice more, as it was. */
function takeSize(form, { task_type, target, scale }) {
  const [, width, height] = /^(\d+)x(\d+)$/.exec(target ?? "") ?? [];
  const known = [...form.elements.size].map((one) => one.value).filter((value) => value !== "asked");
  const wanted = task_type ?? (width ? "custom" : target ? "" : String(scale ?? 2));
  const isKnown = known.includes(wanted);
  if (width) form.elements.width.value = width;
  if (height) form.elements.height.value = height;
  form.elements.asked.value = JSON.stringify(target ? { target } : task_type ? { task_type } : { scale });
  byId("size-asked-words").textContent = target ?? task_type ?? `× ${scale}`;
  byId("size-asked").hidden = isKnown;
  form.elements.size.value = isKnown ? wanted : "asked";
  byId("custom").hidden = sizeOf(form) !== "custom";
}
