#!/usr/bin/env bash
# Install one trip of pack.sh: bash trip-1/unpack.sh TARGET
set -euo pipefail

target=${1:?usage: bash trip-1/unpack.sh TARGET}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$target/site" "$target/cache" "$target/parts"
if compgen -G "$here/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-cache-dir --upgrade \
    --target "$target/site" "$here"/*.whl
fi
if compgen -G "$here/*.part*" >/dev/null; then
  cp "$here"/*.part* "$target/parts/"
fi
for first in "$target"/parts/*.part00; do
  [ -e "$first" ] || continue
  cat "${first%00}"* >"$target/cache/$(basename "${first%.part00}")"
done
echo "export PYTHONPATH=$target/site SRL_CACHE=$target/cache"
