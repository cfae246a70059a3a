/**
 * The configuration that UpdateRuntimeConfig makes: a Go template (text/template) over what the kubelet tells of the
 * node's addresses. Of the language there is what such templates use: fields, variables of `range`, `range`, `if`,
 * `else`, `end`, comments, and trimming by `{{-` and `-}}`. Anything else is refused by name.
 */
import { invalidArgument } from '../../base/errors.ts';
import { parsePrefix } from './ip-address.ts';

export interface TemplateData {
  readonly PodCIDR: string;
  readonly PodCIDRRanges: readonly string[];
  readonly Routes: readonly string[];
}

/** From the kubelet's list, `CIDR[,CIDR]`: everything goes out by each family that the pods have. Errors: InvalidArgument. */
export function templateData(podCidr: string): TemplateData {
  const ranges = podCidr.split(',').map((part) => part.trim());
  const routes = new Set<string>();
  for (const range of ranges) {
    const prefix = parsePrefix(range);
    if (prefix === undefined)
      throw invalidArgument(`pod CIDR ${JSON.stringify(range)} must be ADDRESS/PREFIX`);
    routes.add(prefix.family === 4 ? '0.0.0.0/0' : '::/0');
  }
  return { PodCIDR: ranges[0] ?? '', PodCIDRRanges: ranges, Routes: [...routes] };
}

type Value = string | number | readonly string[];
type Token = { readonly text: string } | { readonly action: string };

interface Scope {
  /** Undefined for the data itself. */
  readonly dot: Value | undefined;
  readonly variables: ReadonlyMap<string, Value>;
}

/** Errors: InvalidArgument. */
export function fillTemplate(template: string, data: TemplateData): string {
  const run = new TemplateRun(tokensOf(template), data);
  return run.whole();
}

function tokensOf(template: string): Token[] {
  const tokens: Token[] = [];
  let trimNext = false;
  // Odd parts are actions.
  for (const [index, part] of template.split(/\{\{(.*?)\}\}/s).entries()) {
    if (index % 2 === 1) {
      const trimmed = /^(-\s)?\s*(.*?)\s*(\s-)?$/s.exec(part);
      if (trimmed?.[1] !== undefined) trimLast(tokens);
      trimNext = trimmed?.[3] !== undefined;
      const action = trimmed?.[2] ?? '';
      if (!/^\/\*.*\*\/$/s.test(action)) tokens.push({ action });
      continue;
    }
    if (part.includes('{{')) throw invalidArgument('template has an action without end');
    tokens.push({ text: trimNext ? part.trimStart() : part });
    trimNext = false;
  }
  return tokens;
}

function trimLast(tokens: Token[]): void {
  const last = tokens.at(-1);
  if (last !== undefined && 'text' in last) tokens.splice(-1, 1, { text: last.text.trimEnd() });
}

/** One pass of the tokens; what is not wanted (a branch, the body of an empty range) is read without being written. */
class TemplateRun {
  readonly #tokens: readonly Token[];
  readonly #data: TemplateData;
  #at = 0;

  constructor(tokens: readonly Token[], data: TemplateData) {
    this.#tokens = tokens;
    this.#data = data;
  }

  whole(): string {
    const { text, ended } = this.#block({ dot: undefined, variables: new Map() }, true);
    if (ended !== undefined) throw invalidArgument(`template has {{${ended}}} without a beginning`);
    return text;
  }

  /** Up to `end`, `else` or the end of the template. */
  #block(scope: Scope, live: boolean): { readonly text: string; readonly ended: string | undefined } {
    let text = '';
    while (this.#at < this.#tokens.length) {
      const token = this.#tokens[this.#at] as Token;
      this.#at += 1;
      if ('text' in token) text += live ? token.text : '';
      else if (token.action === 'end' || token.action === 'else') return { text, ended: token.action };
      else text += this.#action(token.action, scope, live);
    }
    return { text, ended: undefined };
  }

  #action(action: string, scope: Scope, live: boolean): string {
    const [, word, rest = ''] = /^(if|range)\s+(.+)$/s.exec(action) ?? [];
    if (word === 'if') return this.#if(rest, scope, live);
    if (word === 'range') return this.#range(rest, scope, live);
    return live ? shown(action, this.#value(action, scope)) : '';
  }

  #if(condition: string, scope: Scope, live: boolean): string {
    const isTrue = live && isTruthy(this.#value(condition, scope));
    const body = this.#block(scope, isTrue);
    const otherwise = this.#else(body.ended, scope, live && !isTrue);
    return body.text + otherwise;
  }

  #range(clause: string, scope: Scope, live: boolean): string {
    const [, names, expression = clause] = /^(\$\w+(?:\s*,\s*\$\w+)?)\s*:=\s*(.+)$/s.exec(clause) ?? [];
    const values = live ? this.#value(expression, scope) : [];
    if (!Array.isArray(values)) throw invalidArgument(`template: {{range ${clause}}} is over no list`);
    const variables = names?.split(',').map((name) => name.trim()) ?? [];
    const start = this.#at;
    let text = '';
    for (const [index, value] of (values as readonly string[]).entries()) {
      this.#at = start;
      text += this.#block(inRange(scope, variables, index, value), true).text;
    }
    this.#at = start;
    const { ended } = this.#block(scope, false);
    return text + this.#else(ended, scope, live && values.length === 0);
  }

  #else(ended: string | undefined, scope: Scope, live: boolean): string {
    if (ended === 'end') return '';
    const { text, ended: last } =
      ended === 'else' ? this.#block(scope, live) : { text: '', ended: undefined };
    if (last !== 'end') throw invalidArgument('template has an {{if}} or {{range}} without its {{end}}');
    return text;
  }

  #value(expression: string, { dot, variables }: Scope): Value {
    if (expression === '.' && dot !== undefined) return dot;
    const variable = variables.get(expression);
    if (variable !== undefined) return variable;
    const [, root, field] = /^(\$?)\.(\w+)$/.exec(expression) ?? [];
    if (root === '$' || (root === '' && dot === undefined)) {
      if (field === 'PodCIDR') return this.#data.PodCIDR;
      if (field === 'PodCIDRRanges') return this.#data.PodCIDRRanges;
      if (field === 'Routes') return this.#data.Routes;
    }
    throw invalidArgument(
      `template: {{${expression}}} is none of .PodCIDR, .PodCIDRRanges, .Routes, range, if, else, end and variables`,
    );
  }
}

function inRange(scope: Scope, names: readonly string[], index: number, value: string): Scope {
  const variables = new Map(scope.variables);
  const [first, second] = names;
  if (first !== undefined && second !== undefined) variables.set(first, index);
  const last = second ?? first;
  if (last !== undefined) variables.set(last, value);
  return { dot: value, variables };
}

const isTruthy = (value: Value): boolean => (typeof value === 'number' ? value !== 0 : value.length > 0);

function shown(action: string, value: Value): string {
  if (typeof value === 'object') throw invalidArgument(`template: {{${action}}} is a list: use {{range}}`);
  return String(value);
}
