// The models that a preview is made with: the plan's until a person picks, and that person's from then on.

import { byId, el } from "./dom.js";
import { modelFacts, modelRows } from "./models.js";

/** Return the list; `onPick` is called when a person has ticked or unticked one. */
export function previewModels(onPick) {
  const place = byId("preview-models");
  let picked = null; // by a person, and not by the plan
  let offered = "";
  let usual = ""; // what the newest plan ticked
  place.addEventListener("change", () => {
    picked = ticked();
    onPick();
  });

  const boxes = () => [...place.querySelectorAll("input")];
  const ticked = () => boxes().filter((box) => box.checked).map((box) => box.value);

  return {
    ticked,
    /** What a person picked, null where nobody did. */
    get picked() {
      return picked;
    },
    /** Begin anew with what was picked before for this video, null where nothing was. */
    begin(names) {
      picked = names;
      const chosen = names ?? [usual]; // a video whose plan is refused is shown with what is ticked, and with nothing else
      for (const box of boxes()) box.checked = chosen.includes(box.value);
    },
    /** Offer models; the planned one is ticked until a person has ticked others. */
    offer(models, planned) {
      const names = JSON.stringify(models);
      usual = planned;
      const chosen = new Set(picked ?? [planned]);
      const row = (one) => choice(one, chosen.has(one.name));
      if (names !== offered) place.replaceChildren(...modelRows(models, row, "preview-models"));
      else for (const box of boxes()) box.checked = chosen.has(box.value); // what has the focus stays
      offered = names;
    },
  };
}

function choice(model, isTicked) {
  const fact = model.name === "bicubic" ? "the same as “Before”" : modelFacts(model)[0];
  return el(
    "label",
    { class: "check" },
    el("input", { type: "checkbox", value: model.name, checked: isTicked }),
    el("span", {}, model.name, " ", el("span", { class: "note" }, fact)),
  );
}
