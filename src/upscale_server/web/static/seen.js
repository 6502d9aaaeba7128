// Tells what has come into sight, so that a long list asks the server only for what somebody looks at.

const waiting = new WeakMap();
let observer = null;

/** Call `onSeen` with whether an element is in sight, or nearly, whenever that changes, until `signal` ends it. */
export function whenSeen(element, onSeen, signal) {
  observer ??= new IntersectionObserver(
    (changes) => {
      for (const one of changes) waiting.get(one.target)?.(one.isIntersecting);
    },
    { rootMargin: "200px" },
  );
  waiting.set(element, onSeen);
  observer.observe(element);
  signal.addEventListener("abort", () => observer.unobserve(element), { once: true });
}
