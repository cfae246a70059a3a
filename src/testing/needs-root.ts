/** Tests that need root, or Linux by FFI: they run where they can, and say why they do not elsewhere. */

/** For `skip` of node:test: `needsRoot('it mounts file systems')`. */
export const needsRoot = (why: string): string | false =>
  process.getuid?.() === 0 ? false : `needs root: ${why}`;

/** The same for what the portable platform cannot do, whoever runs it. */
export const needsLinux = (why: string): string | false =>
  process.env['GANTRY_PLATFORM'] === 'portable' ? `not on the portable platform: ${why}` : needsRoot(why);
