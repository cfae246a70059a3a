/**
 * OCI image spec, "Image Index": the platform an image is made for. How platforms are written, normalised, matched
 * and ranked follows containerd's `platforms` module, on which clients rely in what they pull.
 */
import { invalidArgument } from '../base/errors.ts';
import { asObject, optionalString, optionalStrings } from './json.ts';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
  readonly osFeatures?: readonly string[];
}

/** Decides which of several platforms will do, and which is better. */
export interface PlatformMatcher {
  matches(platform: Platform): boolean;
  /** Sort order, best first; what does not match comes last. */
  compare(a: Platform, b: Platform): number;
}

const architectures: Readonly<Record<string, readonly [architecture: string, variant: string]>> = {
  i386: ['386', ''],
  x86_64: ['amd64', ''],
  'x86-64': ['amd64', ''],
  aarch64: ['arm64', ''],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
};
const knownOses = new Set(
  'aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris wasip1 windows zos'.split(
    ' ',
  ),
);
const knownArchitectures = new Set(
  '386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm'.split(
    ' ',
  ),
);
const component = /^[A-Za-z0-9_.-]+$/;
const osComponent = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.-]*)((?:\+[A-Za-z0-9_.-]+)*)\))?$/;

/** What this process runs on. */
export const hostPlatform = (): Platform =>
  normalisePlatform({
    os: process.platform === 'win32' ? 'windows' : process.platform,
    architecture: nodeArchitectures[process.arch] ?? process.arch,
    // Node tells no ARM version; 7 is the lowest it is built for.
    ...(process.arch === 'arm' && { variant: 'v7' }),
  });
const nodeArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', ppc64: 'ppc64le' };

/** Canonical spelling of os, architecture and variant, so that equal platforms are equal text. */
export function normalisePlatform(platform: Platform): Platform {
  const lower = platform.architecture.toLowerCase();
  const known = Object.hasOwn(architectures, lower) ? architectures[lower] : undefined;
  const [architecture, implied] = known ?? [lower, ''];
  const os = platform.os.toLowerCase();
  const variant = normaliseVariant(architecture, (platform.variant ?? '').toLowerCase() || implied);
  const { osVersion, osFeatures } = platform;
  return {
    os: os === 'macos' ? 'darwin' : os,
    architecture,
    ...(variant && { variant }),
    ...(osVersion && { osVersion }),
    ...(osFeatures && osFeatures.length > 0 && { osFeatures: [...osFeatures].sort() }),
  };
}

function normaliseVariant(architecture: string, variant: string): string {
  if (architecture === 'amd64') return variant === 'v1' ? '' : variant;
  if (architecture === 'arm64')
    return variant === '8' || variant === 'v8' || variant === 'v8.0' ? '' : variant;
  if (architecture !== 'arm') return variant;
  if (variant === '' || variant === '7') return 'v7';
  return /^[568]$/.test(variant) ? `v${variant}` : variant;
}

/**
 * `os`, `arch`, `os/arch`, `os/arch/variant`; the os may carry `(version+feature)`. What is left out comes from the
 * host. Errors: InvalidArgument.
 */
export function parsePlatform(text: string): Platform {
  if (text.includes('*')) throw invalidArgument(`${JSON.stringify(text)}: wildcards not yet supported`);
  const parts = text.split('/');
  const [first = '', second, third] = parts;
  if (parts.length > 3 || text.length > 255)
    throw invalidArgument(`${JSON.stringify(text)}: cannot parse platform specifier`);
  const osMatch = osComponent.exec(first);
  if (osMatch === null || parts.slice(1).some((part) => !component.test(part)))
    throw invalidArgument(
      `${JSON.stringify(text)} is an invalid component of a platform: must match os/arch/variant`,
    );
  const host = hostPlatform();
  if (second === undefined) {
    const alone = normalisePlatform({ os: osMatch[1] as string, architecture: first });
    if (knownOses.has(alone.os))
      return { ...withOsDetails(alone, osMatch), architecture: host.architecture, ...variantOf(host) };
    if (knownArchitectures.has(alone.architecture)) return { ...alone, os: host.os };
    throw invalidArgument(`${JSON.stringify(text)}: unknown operating system or architecture`);
  }
  const parsed = { os: osMatch[1] as string, architecture: second, ...(third && { variant: third }) };
  return normalisePlatform(withOsDetails(parsed, osMatch));
}

function withOsDetails(platform: Platform, osMatch: RegExpExecArray): Platform {
  const osFeatures = (osMatch[3] ?? '').split('+').filter((feature) => feature !== '');
  return {
    ...platform,
    ...(osMatch[2] && { osVersion: osMatch[2] }),
    ...(osFeatures.length > 0 && { osFeatures }),
  };
}

const variantOf = (platform: Platform): { variant?: string } =>
  platform.variant === undefined ? {} : { variant: platform.variant };

/** `linux/arm/v7`; `unknown` when there is no os. */
export function formatPlatform(platform: Platform): string {
  if (platform.os === '') return 'unknown';
  return [platform.os, platform.architecture, platform.variant].filter((part) => part).join('/');
}

/** Wanted and offered are the same platform, the wanted os version (Windows) and features given. */
function samePlatform(wanted: Platform, offered: Platform): boolean {
  const a = normalisePlatform(wanted);
  const b = normalisePlatform(offered);
  if (a.os !== b.os || a.architecture !== b.architecture || a.variant !== b.variant) return false;
  if (a.os === 'windows' && a.osVersion !== undefined && b.osVersion !== undefined)
    return a.osVersion === b.osVersion;
  // Features that the image needs must be there.
  return (b.osFeatures ?? []).every((feature) => a.osFeatures?.includes(feature) === true);
}

/** One of the platforms, exactly; earlier ones are better. */
export function orderedMatcher(platforms: readonly Platform[]): PlatformMatcher {
  const rank = (platform: Platform): number => {
    const index = platforms.findIndex((wanted) => samePlatform(wanted, platform));
    return index === -1 ? platforms.length : index;
  };
  return {
    matches: (platform) => rank(platform) < platforms.length,
    compare: (a, b) => rank(a) - rank(b),
  };
}

/** The platform and what a machine of it can also run, best first: lower variants, 386 on amd64, arm on arm64. */
export const compatibleMatcher = (platform: Platform): PlatformMatcher =>
  orderedMatcher(compatiblePlatforms(normalisePlatform(platform)));

export const anyMatcher: PlatformMatcher = { matches: () => true, compare: () => 0 };

function compatiblePlatforms(platform: Platform): Platform[] {
  const { architecture, variant, ...rest } = platform;
  // Whatever a client writes, what is below it is a short list.
  const version = /^v?\d{1,2}$/.test(variant ?? '') ? Number((variant ?? '').replace(/^v/, '')) : 0;
  const lower = (from: number, to: number): Platform[] =>
    Array.from({ length: Math.max(from - to + 1, 0) }, (_, index) => ({
      ...rest,
      architecture,
      variant: `v${from - index}`,
    }));
  if (architecture === 'amd64')
    return [platform, ...(version > 1 ? lower(version - 1, 1) : []), { ...rest, architecture: '386' }];
  if (architecture === 'arm') return [platform, ...(version > 5 ? lower(version - 1, 5) : [])];
  if (architecture === 'arm64')
    return [
      platform,
      ...(variant === undefined ? [] : [{ ...rest, architecture }]),
      ...compatiblePlatforms({ ...rest, architecture: 'arm', variant: 'v8' }),
    ];
  return [platform];
}

/** Errors: InvalidArgument. */
export function parsePlatformJson(value: unknown, where: string): Platform {
  const object = asObject(value, where);
  const variant = optionalString(object, 'variant', where);
  const osVersion = optionalString(object, 'os.version', where);
  const osFeatures = optionalStrings(object, 'os.features', where);
  return {
    os: optionalString(object, 'os', where) ?? '',
    architecture: optionalString(object, 'architecture', where) ?? '',
    ...(variant && { variant }),
    ...(osVersion && { osVersion }),
    ...(osFeatures && { osFeatures }),
  };
}

export function platformJson(platform: Platform): Record<string, unknown> {
  const { architecture, os, osVersion, osFeatures, variant } = platform;
  return {
    architecture,
    os,
    ...(osVersion && { 'os.version': osVersion }),
    ...(osFeatures && { 'os.features': osFeatures }),
    ...(variant && { variant }),
  };
}
