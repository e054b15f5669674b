// Bodies of model APIs, and the text in their answers.

/** APIs by path: the body that asks with a text. */
export const APIS = {
  '/v1/chat/completions': ({ model, text, most, stream }) => ({ model, messages: [{ role: 'user', content: text }], max_tokens: most, stream }),
  '/v1/responses': ({ model, text, most, stream }) => ({ model, input: text, max_output_tokens: most, stream }),
  '/v1/messages': ({ model, text, most, stream }) => ({ model, max_tokens: most ?? 256, messages: [{ role: 'user', content: text }], stream }),
  '/v1/completions': ({ model, text, most, stream }) => ({ model, prompt: text, max_tokens: most, stream }),
  '/v1/embeddings': ({ model, text }) => ({ model, input: text }),
};

/** A body without what is not set. */
export const bodyOf = (path, fields) => JSON.parse(JSON.stringify(APIS[path](fields), (_, value) => (value === false || value === '' ? undefined : value)));

/** Text in an event of a stream: of the answer, and of its reasoning. */
export function pieceOf(event) {
  const choice = event.choices?.[0];
  const delta = choice?.delta ?? {};
  if (event.type === 'response.output_text.delta') return { text: event.delta };
  if (event.type === 'content_block_delta') return { text: event.delta?.text, reasoning: event.delta?.thinking };
  return { text: delta.content ?? choice?.text, reasoning: delta.reasoning_content ?? delta.reasoning };
}

/** Text of an answer that is one document; null where it is none of these. */
export function textOf(answer) {
  const choice = answer.choices?.[0];
  if (choice) return choice.message?.content ?? choice.text ?? null;
  if (answer.data?.[0]?.embedding) return `${answer.data[0].embedding.length} numbers: ${answer.data[0].embedding.slice(0, 6).join(', ')} …`;
  const parts = answer.output?.flatMap((item) => item.content ?? []) ?? answer.content;
  return Array.isArray(parts) ? parts.map((part) => part.text ?? '').join('') : null;
}
