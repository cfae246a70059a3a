/** UpdateRuntimeConfig: the configuration of the network, from `conf_template`, where nobody put one. */
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { invalidArgument, wrap } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { parseJsonObject } from '../../oci/json.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import { networkOf } from '../cni-config.ts';
import { planNetwork } from './cni-protocol.ts';
import { fillTemplate, templateData } from './conf-template.ts';
import type { NetworkDirectory } from './network-directory.ts';

const fileName = '10-containerd-net.conflist';

export interface TemplateConfigRequest {
  /** Path of the template; "" for none. */
  readonly template: string;
  /** As the kubelet tells it: `CIDR[,CIDR]`; "" for none. */
  readonly podCidr: string;
}

/**
 * True when it wrote a configuration, durably; false when there was nothing to do: no template, no CIDR, or a
 * configuration that works. Errors: NotFound (template), InvalidArgument (CIDR, template, or what came of it).
 */
export async function writeTemplateConfig(
  directory: NetworkDirectory,
  { template, podCidr }: TemplateConfigRequest,
): Promise<boolean> {
  if (template === '' || podCidr === '') return false;
  if ((await directory.failure()) === undefined) return false;
  const data = templateData(podCidr);
  try {
    const text = fillTemplate(readTemplate(template), data);
    planNetwork(networkOf(parseJsonObject(Buffer.from(text), 'what it makes', limits.cniConfigBytes)));
    withNodeErrors(() => mkdirSync(directory.confDir, { recursive: true, mode: 0o755 }));
    replaceFile(join(directory.confDir, fileName), text, { mode: 0o644, durable: true });
  } catch (error) {
    throw wrap(`CNI template ${template}`, error);
  }
  return true;
}

const readTemplate = (path: string): string =>
  withNodeErrors(() => {
    const { size } = statSync(path);
    if (size > limits.cniConfigBytes)
      throw invalidArgument(`it has ${size} bytes, more than the ${limits.cniConfigBytes} allowed`);
    return readFileSync(path, 'utf8');
  });
