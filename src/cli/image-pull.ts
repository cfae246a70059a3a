/** Pulling with something to look at: bars on a terminal, a line for each step elsewhere, silence when asked for. */
import type { Credentials, GantryClient, Image, Platform } from '../client/index.ts';
import { parsePlatform } from '../oci/platform.ts';
import { type App, type GlobalOptions } from './app.ts';
import { usage } from './failure.ts';
import { ProgressScreen } from './progress-screen.ts';
import { PullProgress } from './pull-progress.ts';

/** What `pull` and `run` share. */
export interface PullFlags {
  readonly user?: string;
  readonly plainHttp?: boolean;
  readonly platform?: string;
  readonly hostsDir?: string;
  readonly quiet?: boolean;
}

export interface PullRequest {
  readonly reference: string;
  readonly flags: PullFlags;
  readonly globals: GlobalOptions;
  readonly signal: AbortSignal;
}

/** Progress goes to stderr, so that the answer on stdout can be used by scripts. */
export async function pullImage(app: App, gantry: GantryClient, request: PullRequest): Promise<Image> {
  const { reference, flags, globals, signal } = request;
  const { stderr } = app.around;
  const credentials = credentialsOf(flags.user);
  const platform = platformOf(flags);
  const pull = gantry.images.pull(reference, {
    snapshotter: globals.snapshotter,
    signal,
    ...(credentials === undefined ? {} : { credentials: async () => credentials }),
    ...(flags.plainHttp === true ? { scheme: 'http' as const } : {}),
    ...(flags.hostsDir === undefined ? {} : { hostsDir: flags.hostsDir }),
    ...(platform === undefined ? {} : { platform }),
  });
  const progress = new PullProgress(reference, app.around.nowMs());
  const live = stderr.isTTY && flags.quiet !== true && app.around.env['TERM'] !== 'dumb';
  if (!live && flags.quiet !== true) app.say(`${reference}: pulling`);
  {
    using _screen = live
      ? new ProgressScreen({
          terminal: stderr,
          frame: (columns) => progress.frame(app.around.nowMs(), columns),
        })
      : undefined;
    for await (const event of pull) {
      progress.apply(event);
      const lines = progress.takeLines();
      if (!live && flags.quiet !== true) for (const line of lines) app.say(line);
    }
  }
  const image = await pull.image();
  if (flags.quiet !== true) app.say(`${reference}: ${progress.summary(app.around.nowMs())}`);
  return image;
}

export function platformOf(flags: Pick<PullFlags, 'platform'>): Platform | undefined {
  if (flags.platform === undefined) return undefined;
  try {
    return parsePlatform(flags.platform);
  } catch (error) {
    throw usage(`--platform: ${(error as Error).message}`, 'write it like linux/amd64 or linux/arm64');
  }
}

function credentialsOf(user: string | undefined): Credentials | undefined {
  if (user === undefined) return undefined;
  const colon = user.indexOf(':');
  if (colon < 1)
    throw usage('--user must be USER:PASSWORD', 'the password may hold colons; quote it for the shell');
  return { kind: 'basic', username: user.slice(0, colon), secret: user.slice(colon + 1) };
}
