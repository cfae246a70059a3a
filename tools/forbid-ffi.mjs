/** Preloaded by the portable lane: asking for koffi is an error there, so that a passing lane proves it was not needed. */
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === 'koffi' || specifier.startsWith('@koromix/'))
      throw new Error(`${context.parentURL ?? 'somebody'} asked for ${specifier} on the portable platform`);
    return next(specifier, context);
  },
});
