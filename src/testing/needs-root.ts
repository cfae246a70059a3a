/** Tests that need root: they run as root, and say why they do not otherwise. */

/** For `skip` of node:test: `needsRoot('it mounts file systems')`. */
export const needsRoot = (why: string): string | false =>
  process.getuid?.() === 0 ? false : `needs root: ${why}`;
