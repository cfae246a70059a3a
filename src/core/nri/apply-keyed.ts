/** Removals and settings by key, on lists and maps of a runtime specification. */
import { unmark } from './messages.ts';

/** A map in which marked keys remove. */
export function applyWords<Value>(
  before: Readonly<Record<string, Value>> = {},
  asked: Readonly<Record<string, Value>>,
): Record<string, Value> {
  const words = new Map(Object.entries(before));
  const entries = Object.entries(asked).map(([marked, value]) => ({ ...unmark(marked), value }));
  for (const { key, isRemoval } of entries) if (isRemoval) words.delete(key);
  for (const { key, isRemoval, value } of entries) if (!isRemoval) words.set(key, value);
  return Object.fromEntries(words);
}

/** A list whose items are told apart by a key; what is set comes last. */
export function applyList<Item, Asked>(
  before: readonly Item[],
  keyOf: (item: Item) => string,
  asked: readonly { readonly key: string; readonly value: Asked }[],
  toItem: (value: Asked) => Item,
): Item[] {
  const touched = new Set(asked.map(({ key }) => unmark(key).key));
  const set = asked.filter(({ key }) => !unmark(key).isRemoval);
  return [...before.filter((item) => !touched.has(keyOf(item))), ...set.map(({ value }) => toItem(value))];
}
