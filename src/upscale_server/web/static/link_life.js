// Says how long a signed link works: whoever holds one can download until then, without a key.

/** Return the words, empty for a link that does not say; `address` may be one of our own store or of an object store. */
export function linkLife(address) {
  const end = endOf(address);
  if (!end) return "";
  const until = end.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return `Whoever has this link can download until ${until}. After that, load the page again for a new one.`;
}

/** Return the moment at which a link ends, null where it does not say. */
export function endOf(address) {
  const query = new URL(address, location.href).searchParams;
  if (query.has("expires")) return new Date(1000 * Number(query.get("expires")));
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(query.get("X-Amz-Date") ?? "") ?? [];
  if (!parts.length) return null;
  const [year, month, ...rest] = parts.map(Number);
  return new Date(Date.UTC(year, month - 1, ...rest) + 1000 * Number(query.get("X-Amz-Expires")));
}
