/**
 * Attachments of pods to networks, one file for each: `POD@INTERFACE.json`.
 *
 * The file is there before the first plugin runs and goes after all of them have taken back what they did, so after
 * `kill -9` at any moment it names whatever there may be to take back, with the configuration that it was made by:
 * the one in the directory may have changed. It takes in what each plugin answers, because some (firewall) undo only
 * what they are told.
 */
import { mkdirSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { dataLoss, invalidArgument } from '../../base/errors.ts';
import { checkIdentifier } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import {
  asObject,
  type JsonObject,
  member,
  optionalArray,
  optionalString,
  parseJsonObject,
} from '../../oci/json.ts';
import { isErrno, withNodeErrors } from '../../platform/errno.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import { syncDirectory } from '../../platform/sync-directory.ts';
import { networkOf } from '../cni-config.ts';
import type { CniRequest } from './cni-client.ts';
import { planNetwork } from './cni-protocol.ts';

export interface Attachment extends CniRequest {
  /** Of the last plugin that answered. */
  readonly result: JsonObject | undefined;
}

export interface AttachmentList {
  readonly attachments: readonly Attachment[];
  /** Files that cannot be read. */
  readonly damaged: readonly { readonly file: string; readonly error: unknown }[];
}

const suffix = '.json';
const pattern = /^([A-Za-z0-9._-]+)@([A-Za-z0-9]+)\.json$/;

export interface AttachmentStoreOptions {
  /** Made when absent, mode 0700; nobody else's. */
  readonly directory: string;
}

export class AttachmentStore {
  readonly #directory: string;

  constructor({ directory }: AttachmentStoreOptions) {
    this.#directory = directory;
    withNodeErrors(() => mkdirSync(directory, { recursive: true, mode: 0o700 }));
  }

  /** Replaces what was there. With `durable` it survives a power cut, else only the death of this process. */
  save(attachment: Attachment, { durable }: { readonly durable: boolean }): void {
    const { plan, target, capabilities, result } = attachment;
    const text = JSON.stringify({ network: plan.document, target, capabilities, result });
    if (Buffer.byteLength(text) > limits.cniAttachmentBytes)
      throw invalidArgument(
        `attachment ${target.ifName} of pod ${target.podId} takes more than ${limits.cniAttachmentBytes} bytes`,
      );
    replaceFile(this.#fileOf(attachment), text, { mode: 0o600, durable });
  }

  /** Not an error when it is not there. Durable. */
  remove(attachment: Attachment): void {
    try {
      unlinkSync(this.#fileOf(attachment));
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      withNodeErrors(() => {
        throw error;
      });
    }
    syncDirectory(this.#directory);
  }

  /** In the order of their interfaces. Errors: DataLoss when one cannot be read. */
  of(podId: string): Attachment[] {
    const { attachments, damaged } = this.#list((pod) => pod === podId);
    const [first] = damaged;
    if (first !== undefined)
      throw dataLoss(
        `what is known of the network of pod ${podId} cannot be read (${first.file}): look what its plugins left and remove the file`,
        first.error,
      );
    return attachments;
  }

  all(): AttachmentList {
    return this.#list(() => true);
  }

  #list(wanted: (podId: string) => boolean): {
    attachments: Attachment[];
    damaged: AttachmentList['damaged'];
  } {
    const names = withNodeErrors(() => readdirSync(this.#directory));
    const attachments: Attachment[] = [];
    const damaged: { file: string; error: unknown }[] = [];
    for (const name of names.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))) {
      const [, podId, ifName] = pattern.exec(name) ?? [];
      if (podId === undefined || ifName === undefined || !wanted(podId)) continue;
      const file = join(this.#directory, name);
      try {
        attachments.push(read(file, podId, ifName));
      } catch (error) {
        damaged.push({ file, error });
      }
    }
    return { attachments, damaged };
  }

  #fileOf({ target }: Attachment): string {
    const name = `${checkIdentifier(target.podId)}@${target.ifName}${suffix}`;
    if (!pattern.test(name)) throw invalidArgument(`interface ${JSON.stringify(target.ifName)} is no name`);
    return join(this.#directory, name);
  }
}

function read(file: string, podId: string, ifName: string): Attachment {
  const document = parseJsonObject(
    withNodeErrors(() => readFileSync(file)),
    file,
    limits.cniAttachmentBytes,
  );
  const target = asObject(member(document, 'target'), 'target');
  const result = member(document, 'result');
  return {
    plan: planNetwork(networkOf(asObject(member(document, 'network'), 'network'))),
    target: {
      podId,
      ifName,
      netns: optionalString(target, 'netns', 'target') ?? '',
      args: (optionalArray(target, 'args', 'target') ?? []).map(argumentOf),
    },
    capabilities: asObject(member(document, 'capabilities') ?? {}, 'capabilities'),
    result: result === undefined ? undefined : asObject(result, 'result'),
  };
}

function argumentOf(value: unknown, index: number): readonly [string, string] {
  if (Array.isArray(value)) {
    const [name, text] = value as unknown[];
    if (typeof name === 'string' && typeof text === 'string') return [name, text];
  }
  throw invalidArgument(`target.args[${index}] must be a pair of strings`);
}
