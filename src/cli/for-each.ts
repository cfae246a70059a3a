/** A command on several things: one that fails is told and does not keep the others from their turn. */
import type { App } from './app.ts';
import { asFailure } from './failure.ts';
import { tellFailure } from './tell-failure.ts';

export async function forEachOf(
  app: App,
  names: readonly string[],
  act: (name: string) => Promise<void>,
): Promise<void> {
  for (const name of names) {
    try {
      await act(name);
    } catch (error) {
      const failure = asFailure(error);
      // A single one fails as the command does.
      if (names.length === 1) throw failure;
      tellFailure(app.around.stderr, failure);
      app.exitCode = failure.exitCode;
    }
  }
}
