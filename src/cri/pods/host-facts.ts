/** What specs need to know of this machine, read once when the CRI starts. */
import { existsSync, readFileSync } from 'node:fs';
import { hostname, release } from 'node:os';
import { parseEffectiveCapabilities } from '../../oci/capabilities.ts';
import { hostPlatform } from '../../oci/platform.ts';
import type { HostFacts } from '../spec/spec-facts.ts';

const cgroups = '/sys/fs/cgroup';

export function readHostFacts(): HostFacts {
  const status = readFileSync('/proc/self/status', 'utf8');
  const unifiedCgroups = existsSync(`${cgroups}/cgroup.controllers`);
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return {
    unifiedCgroups,
    kernel: { major, minor },
    architecture: hostPlatform().architecture,
    capabilities: parseEffectiveCapabilities(status),
    hostname: hostname(),
    seccomp: /^Seccomp:/m.test(status),
    apparmor: textOf('/sys/module/apparmor/parameters/enabled').startsWith('Y'),
    hugetlbController: unifiedCgroups
      ? textOf(`${cgroups}/cgroup.controllers`).split(/\s+/).includes('hugetlb')
      : existsSync(`${cgroups}/hugetlb`),
    swapController: unifiedCgroups
      ? hasUnifiedSwap()
      : existsSync(`${cgroups}/memory/memory.memsw.limit_in_bytes`),
    oomScoreAdj: Number(textOf('/proc/self/oom_score_adj')) || 0,
  };
}

/** The root has no such file: our own cgroup tells. */
function hasUnifiedSwap(): boolean {
  const own = /^0::(.+)$/m.exec(textOf('/proc/self/cgroup'))?.[1] ?? '/';
  return existsSync(`${cgroups}${own}/memory.swap.max`);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
