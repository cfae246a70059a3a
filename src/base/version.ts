/** What this build calls itself. The bundle carries the manifest inside it. */
import manifest from '../../package.json' with { type: 'json' };

export const version: string = manifest.version;
/** Git revision; packagers set it when they make the bundles. */
export const revision: string = process.env['GANTRY_REVISION'] ?? '';
