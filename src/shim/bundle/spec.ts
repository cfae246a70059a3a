/**
 * What the shim has to know of a bundle's config.json (OCI runtime spec); the rest is runc's business.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import { type Allowance, clampProcess } from './clamp.ts';
import { parseExact } from './json-numbers.ts';

export interface SpecFacts {
  readonly annotations: Readonly<Record<string, string>>;
  /**
   * The container has a pid namespace of its own, so the kernel ends all of it with init. Without, the shim must end
   * what is left.
   */
  readonly ownPidNamespace: boolean;
}

interface RawSpec {
  process?: object;
  annotations?: Record<string, unknown>;
  linux?: { namespaces?: { type?: unknown; path?: unknown }[] };
}

export const specPath = (bundle: string): string => join(bundle, 'config.json');

function readRaw(bundle: string): RawSpec {
  const path = specPath(bundle);
  try {
    const spec = parseExact(readFileSync(path, 'utf8'));
    if (typeof spec === 'object' && spec !== null) return spec;
  } catch (error) {
    throw invalidArgument(`the bundle's ${path} cannot be read: ${(error as Error).message}`, error);
  }
  throw invalidArgument(`the bundle's ${path} is no runtime spec`);
}

function factsOf(spec: RawSpec): SpecFacts {
  const namespaces = Array.isArray(spec.linux?.namespaces) ? spec.linux.namespaces : [];
  const annotations = Object.entries(spec.annotations ?? {}).filter(([, value]) => typeof value === 'string');
  return {
    annotations: Object.fromEntries(annotations) as Record<string, string>,
    ownPidNamespace: namespaces.some(
      ({ type, path }) => type === 'pid' && (path === undefined || path === ''),
    ),
  };
}

/** Errors: InvalidArgument when there is no config.json or it is no JSON object. */
export const readSpec = (bundle: string): SpecFacts => factsOf(readRaw(bundle));

/**
 * Reads the spec and rewrites it where its process asks for more than may be had here; `notes` say what was changed.
 * Errors: InvalidArgument as `readSpec`.
 */
export function readAndClampSpec(bundle: string, allowance: Allowance): SpecFacts & { notes: string[] } {
  const spec = readRaw(bundle);
  const notes = spec.process === undefined ? [] : clampProcess(spec.process, allowance);
  if (notes.length > 0) replaceFile(specPath(bundle), JSON.stringify(spec), { mode: 0o600 });
  return { ...factsOf(spec), notes };
}
