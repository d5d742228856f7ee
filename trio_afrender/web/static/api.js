/** Requests to the server of this page. */

/** Get JSON. Throws an Error with a sentence. */
export async function get(path) {
  return answerOf(await reach(path, {}));
}

/** Send JSON to change something. The header shows that a page of this server asks. */
export async function post(path, body) {
  return answerOf(await reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Trio-Afrender": "1" },
    body: JSON.stringify(body),
  }));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("The server of this page does not answer.");
  }
}

async function answerOf(answer) {
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const problems = (body.problems ?? []).join("; ");
  const error = new Error(problems || body.error || `The server answers ${answer.status}.`);
  error.status = answer.status;
  throw error;
}
