/**
 * The schema of the metadata database, drawn as clients think of it:
 *
 *   namespaces/<ns>                              labels
 *     ├─ images/<name>                           target, annotations, labels, times
 *     ├─ containers/<id>                         runtime, spec, snapshotter + key, extensions, labels, times
 *     ├─ sandboxes/<id>                          runtime, spec, extensions, labels, times
 *     ├─ content/<digest>                        size, labels, times         the bytes are the local store's
 *     ├─ ingests/<ref>                           back end's ref, expected, expiry
 *     ├─ mounts/<name>                           number, boot, lease, state, active and system mounts, labels, times
 *     ├─ snapshots/<snapshotter>/<key>           back end's key, parent, kind, labels, times, intent of a commit
 *     └─ leases/<id>                             labels, time
 *          └─ lease_resources/<type>/<id>        content, ingests, images, snapshots/<snapshotter>
 *   sequences/<name>                             next number of names given to back ends
 *
 * Times are nanoseconds since the epoch; labels and other maps are JSON. Rows of one namespace stand together, so a
 * list is one range. The snapshotters' own databases (snapshot-records.ts) have a schema of their own below.
 * Steps are only ever added.
 */
import type { Migration } from './database.ts';

export const metadataMigrations: readonly Migration[] = [
  `
  CREATE TABLE namespaces (name TEXT PRIMARY KEY, labels TEXT NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE images (
    namespace TEXT NOT NULL, name TEXT NOT NULL,
    media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, annotations TEXT NOT NULL,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)) STRICT, WITHOUT ROWID;
  CREATE TABLE containers (
    namespace TEXT NOT NULL, id TEXT NOT NULL, image TEXT NOT NULL,
    runtime TEXT NOT NULL, options_url TEXT, options BLOB, spec_url TEXT, spec BLOB,
    snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL, extensions TEXT NOT NULL, sandbox TEXT NOT NULL,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT;
  CREATE TABLE sandboxes (
    namespace TEXT NOT NULL, id TEXT NOT NULL, sandboxer TEXT NOT NULL,
    runtime TEXT NOT NULL, options_url TEXT, options BLOB, spec_url TEXT, spec BLOB, extensions TEXT NOT NULL,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT;
  CREATE TABLE content (
    namespace TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, digest)) STRICT, WITHOUT ROWID;
  CREATE INDEX content_by_digest ON content (digest);
  CREATE TABLE ingests (
    namespace TEXT NOT NULL, ref TEXT NOT NULL, backend_ref TEXT NOT NULL,
    expected TEXT, expires_at INTEGER, started_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, ref)) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX ingests_by_backend ON ingests (backend_ref);
  CREATE INDEX ingests_by_expected ON ingests (expected) WHERE expected IS NOT NULL;
  CREATE TABLE snapshots (
    namespace TEXT NOT NULL, snapshotter TEXT NOT NULL, key TEXT NOT NULL,
    backend_key TEXT NOT NULL, parent TEXT, kind TEXT NOT NULL,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    intent_key TEXT, intent TEXT,
    PRIMARY KEY (namespace, snapshotter, key)) STRICT, WITHOUT ROWID;
  CREATE INDEX snapshots_by_parent ON snapshots (namespace, snapshotter, parent) WHERE parent IS NOT NULL;
  CREATE INDEX snapshots_by_backend ON snapshots (snapshotter, backend_key);
  CREATE INDEX snapshots_by_intent ON snapshots (snapshotter, intent_key) WHERE intent_key IS NOT NULL;
  CREATE TABLE leases (
    namespace TEXT NOT NULL, id TEXT NOT NULL, labels TEXT NOT NULL, created_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, id)) STRICT, WITHOUT ROWID;
  CREATE TABLE lease_resources (
    namespace TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (namespace, lease, type, id),
    FOREIGN KEY (namespace, lease) REFERENCES leases (namespace, id) ON DELETE CASCADE) STRICT, WITHOUT ROWID;
  CREATE INDEX lease_resources_by_id ON lease_resources (namespace, type, id);
  CREATE TABLE sequences (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE mounts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL, name TEXT NOT NULL, boot TEXT NOT NULL, lease TEXT, state TEXT NOT NULL,
    active TEXT NOT NULL, system TEXT NOT NULL, labels TEXT NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    UNIQUE (namespace, name)) STRICT;
  `,
];

/** `id` names a directory and AUTOINCREMENT sees to it that none comes twice. */
export const snapshotRecordMigrations: readonly Migration[] = [
  `
  CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    parent_id INTEGER REFERENCES snapshots (id),
    size INTEGER, inodes INTEGER,
    labels TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots (parent_id) WHERE parent_id IS NOT NULL;
  `,
];
