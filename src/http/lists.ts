// Lists on the wire, as OpenAI has them.

/** A page of a list; `has_more`: more comes after it. */
export const listOf = <T extends { id: string }>(data: readonly T[], has_more: boolean) => ({
  object: "list" as const,
  data,
  first_id: data[0]?.id ?? null,
  last_id: data.at(-1)?.id ?? null,
  has_more,
});
