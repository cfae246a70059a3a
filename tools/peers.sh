#!/bin/sh
# Newer containerd and Docker than this Debian release has, unpacked beside the system for tests and benches to compare
# with. Nothing is installed and the system's package lists stay as they are.
#
#   tools/peers.sh [FOLDER]     fills FOLDER (default $GANTRY_PEERS or ~/.cache/gantry/peers) and prints a line for
#                               each peer that is there: NAME VERSION FOLDER...
#
# A peer that the archive does not have is named on stderr and left out; tests then use Debian's own.
set -eu

peers=${1:-${GANTRY_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/gantry/peers}}
mkdir -p "$peers"
peers=$(cd "$peers" && pwd)
exec 9>"$peers/.lock"
flock 9

# The archive this machine already uses, with other suites of it.
archive=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([a-z]*:[^ ]*\).*/\2/p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
  grep -v security | head -n 1)
: "${archive:=http://deb.debian.org/debian}"
state=$peers/.apt

apt() {
  apt-get -q -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null "$@" >"$state/log" 2>&1
}

# Package lists are fetched once, when the first peer is missing.
lists() {
  [ ! -f "$state/ready" ] || return 0
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  for suite in trixie forky; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main"
  done >"$state/sources.list"
  if ! apt update; then
    echo "peers: the package lists of $archive cannot be had: $(tail -n 1 "$state/log")" >&2
    return 1
  fi
  touch "$state/ready"
}

# unpack NAME PACKAGE/SUITE...
unpack() {
  name=$1
  shift
  [ ! -d "$peers/$name" ] || return 0
  lists || return 1
  work=$(mktemp -d "$peers/.unpack-XXXXXX")
  mkdir "$work/tree"
  for package; do
    if ! (cd "$work" && apt download "$package"); then
      echo "peers: $package cannot be had: $(tail -n 1 "$state/log")" >&2
      rm -rf "$work"
      return 1
    fi
  done
  for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/tree"; done
  chmod 755 "$work/tree"
  mv "$work/tree" "$peers/$name"
  rm -rf "$work"
}

# show NAME PROGRAM FOLDER...: the first dotted number that `PROGRAM --version` prints
show() {
  name=$1
  program=$2
  shift 2
  version=$("$peers/$name/$program" --version | grep -o '[0-9][0-9]*\.[0-9][0-9A-Za-z.+~-]*' | head -n 1)
  line="$name $version"
  for folder; do line="$line $peers/$name/$folder"; done
  echo "$line"
}

if unpack containerd-1.7 containerd/trixie; then show containerd-1.7 usr/bin/containerd usr/bin; fi
if unpack containerd-2 containerd/forky; then show containerd-2 usr/bin/containerd usr/bin; fi
if unpack docker docker.io/forky docker-cli/forky; then show docker usr/sbin/dockerd usr/sbin usr/bin; fi
# A plugin of docker's client, through which alone dockerd's own BuildKit is spoken to.
plugins=usr/libexec/docker/cli-plugins
if unpack docker-buildx docker-buildx/forky; then
  echo "docker-buildx $("$peers/docker-buildx/$plugins/docker-buildx" version | cut -d ' ' -f 2) $peers/docker-buildx/$plugins"
fi
