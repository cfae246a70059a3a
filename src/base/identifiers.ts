/**
 * Names that come from outside, each with the one parser that makes it.
 *
 * An identifier (namespaces, container ids, exec ids, topic components) is 1 to 76 bytes of alphanumeric runs
 * with single separators `.`, `_` or `-` between them, so it can be a path component as it is.
 */
import type { Brand } from './brand.ts';
import { invalidArgument } from './errors.ts';
import { limits } from './limits.ts';

export type Namespace = Brand<string, 'Namespace'>;
export type ContainerId = Brand<string, 'ContainerId'>;
export type ExecId = Brand<string, 'ExecId'>;
export type LeaseId = Brand<string, 'LeaseId'>;
export type SandboxId = Brand<string, 'SandboxId'>;
/** A snapshot's key or committed name: any non-empty text; never used as a path. */
export type SnapshotKey = Brand<string, 'SnapshotKey'>;
/** An image's name: any non-empty text; only the registry client reads it as a reference. */
export type ImageName = Brand<string, 'ImageName'>;
/** The ref that names an ingest: any non-empty text; its sha256 is the directory name. */
export type IngestRef = Brand<string, 'IngestRef'>;

/** As containerd words it, which clients print. */
const shownPattern = '^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$';
const identifierPattern = /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/;

/** Asserts the identifier form, in containerd's words; which identifier it is, the caller puts before. Errors: InvalidArgument. */
export function checkIdentifier(text: string): string {
  if (text.length === 0) throw invalidArgument('identifier must not be empty');
  if (text.length > limits.identifierBytes)
    throw invalidArgument(
      `identifier ${JSON.stringify(text)} greater than maximum length (${limits.identifierBytes} characters)`,
    );
  if (!identifierPattern.test(text))
    throw invalidArgument(`identifier ${JSON.stringify(text)} must match ${shownPattern}`);
  return text;
}

export function parseNamespace(text: string): Namespace {
  checkIdentifier(text);
  // The metadata store of containerd keeps its schema version under this name (its issue 6944).
  if (text === 'version') throw invalidArgument('namespace "version" is reserved');
  return text as Namespace;
}

export const parseContainerId = (text: string): ContainerId => checkIdentifier(text) as ContainerId;
export const parseExecId = (text: string): ExecId => checkIdentifier(text) as ExecId;
export const parseSandboxId = (text: string): SandboxId => checkIdentifier(text) as SandboxId;

function nonEmpty(kind: string, text: string): string {
  if (text.length === 0) throw invalidArgument(`${kind} must not be empty`);
  return text;
}

export const parseLeaseId = (text: string): LeaseId => nonEmpty('lease id', text) as LeaseId;
export const parseSnapshotKey = (text: string): SnapshotKey => nonEmpty('snapshot key', text) as SnapshotKey;
export const parseImageName = (text: string): ImageName => nonEmpty('image name', text) as ImageName;
export const parseIngestRef = (text: string): IngestRef => nonEmpty('ingest ref', text) as IngestRef;
