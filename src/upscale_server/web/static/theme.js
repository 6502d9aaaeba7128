// Keeps the light that a person chose; loaded before the page is drawn, so that nothing flashes. Which elements change
// is the style sheet's business.
(() => {
  const CHOICES = ["auto", "light", "dark"];
  const WORDS = { auto: "as the system", light: "light", dark: "dark" };

  function chosen() {
    try {
      const kept = localStorage.getItem("theme");
      return CHOICES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser may forbid to keep anything
    }
  }

  function show(choice) {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    const button = document.getElementById("theme");
    if (!button) return;
    button.setAttribute("aria-label", `Light or dark: ${WORDS[choice]}`);
    button.title = `Light or dark: ${WORDS[choice]}`;
    button.dataset.choice = choice;
  }

  function next() {
    const choice = CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length];
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // as above: the choice then lasts as long as the page
    }
    show(choice);
  }

  show(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    show(chosen());
    document.getElementById("theme")?.addEventListener("click", next);
  });
})();
