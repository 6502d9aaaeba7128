// Asks what a video should become: its size, the model, and what few people change. It knows the form and no server.

import { byId, el } from "./dom.js";
import { modelFacts, modelRows } from "./models.js";
import { shownSize } from "./probe_card.js";
import { isTask, revealSize, showSizes } from "./size_choices.js";

/** Return the part of the form that asks for the goal; `onChange` is told whenever an answer changes. */
export function goalForm(onChange) {
  const form = byId("workbench");
  let wishedModel = ""; // the models may be told later than what was asked for
  let seen = null; // the size of the video
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => {
    if (!event.target.closest("[data-goal]")) return;
    if (event.target.name === "model") wishedModel = "";
    if (event.target.name === "fit" && seen) showSizes(seen, form.elements.fit.value);
    byId("custom").hidden = sizeOf(form) !== "custom";
    onChange();
  });
  return {
    fields: () => fieldsOf(form, wishedModel),
    suggest(probe) {
      seen = shownSize(probe);
      wishedModel = "";
      suggest(form, seen);
    },
    showModels: (models) => showModels(models, modelOf(form) || wishedModel),
    /** Fill the form with what an earlier job was asked for, or with what `fields` gave. */
    take(asked) {
      wishedModel = asked.model ?? "";
      take(form, asked);
      if (seen) showSizes(seen, form.elements.fit.value);
      revealSize();
    },
  };
}

const sizeOf = (form) => form.elements.size.value;
const modelOf = (form) => form.elements.model?.value ?? "";

/** Return the fields of a job as they are asked for now; what is left open is left out. */
function fieldsOf(form, wishedModel) {
  const fields = { ...sizeFields(form) };
  const put = (name, value) => {
    if (value !== "" && value !== null && !Number.isNaN(value)) fields[name] = value;
  };
  put("model", form.elements.model ? modelOf(form) : wishedModel);
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
  if (chosen === "custom") return { target: `${Number(form.elements.width.value)}x${Number(form.elements.height.value)}` }; // "1e3" is a number, too
  if (chosen === "asked") return JSON.parse(form.elements.asked.value);
  return isTask(chosen) ? { task_type: chosen } : { scale: Number(chosen) };
}

/** Choose what people mostly want of such a video, and say what each size comes to. */
function suggest(form, seen) {
  const long = Math.max(seen.width, seen.height);
  const choice = long < 640 ? "2" : long <= 1024 ? "SD2HD" : long <= 2048 ? "HD24K" : long <= 4096 ? "4K28K" : "2";
  form.elements.size.value = choice;
  byId("size-asked").hidden = true;
  byId("custom").hidden = true;
  byId("more-sizes").open = false;
  showSizes(seen, form.elements.fit.value);
  revealSize();
}

/** Show the models; the first choice leaves it to the server. */
function showModels(models, chosen) {
  const rows = modelRows(models, (one) => modelRow(one.name, one.name, one.summary, modelFacts(one)), "choices choices--wide");
  const automatic = modelRow("", "Chosen for you", "The best that this machine does in good time, for this video.", []);
  byId("models").replaceChildren(automatic, ...rows);
  const kept = models.some((one) => one.name === chosen) ? chosen : "";
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
