#!/usr/bin/env bash
# Pack what a GPU machine without a package index lacks, in trips of under 60 MiB.
#
#     benchmarks/gpu/pack.sh OUT          # here, where an index is reached
#     bash trip-1/unpack.sh TARGET        # there, for each trip in turn
#     export PYTHONPATH=TARGET/site SRL_CACHE=TARGET/cache
#
# The machine has CPython 3.12, torch, accelerate, peft and pyarrow already; what else this
# project needs goes along as wheels for Linux on x86-64, without their own requirements.
# The quick start's model is a wheel too; it is split and joined again.
set -euo pipefail

out=${1:?usage: benchmarks/gpu/pack.sh OUT}
root=$(cd "$(dirname "$0")/../.." && pwd)
limit=$((60 * 1024 * 1024 - 256 * 1024)) # of a trip, with room for its script
wheels=(
  transformers tokenizers trl datasets dill multiprocess gymnasium Farama-Notifications
  math-verify latex2sympy2_extended antlr4-python3-runtime cydifflib difflib-fast
  docker GitPython gitdb smmap gguf tqdm filelock
  openai httpx2 httpcore2 truststore jiter sniffio pydantic pydantic_core annotated-types typing-inspection
)
model=$(sed -n 's/^QUICKSTART_REQUIREMENT = "\(.*\)"/\1/p' "$root/srl_agent/models/quickstart.py")

[ -e "$out" ] && { echo "error: $out exists: name a new folder" >&2; exit 1; }
mkdir -p "$out/all"
pinned() { # NAME -> NAME==VERSION as it was tested
  grep -i -m 1 "^${1//[-_]/[-_]}==" "$root/constraints.txt" || echo "$1"
}
for name in "${wheels[@]}"; do requirements+=("$(pinned "$name")"); done
platforms=()
for tag in 2_34 2_31 2_28 2_27 2_24 2_17 2_12 2_5; do
  platforms+=(--platform "manylinux_${tag}_x86_64")
done
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --python-version 3.12 --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 \
  --platform any --dest "$out/all" "${requirements[@]}"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --dest "$out/model" "$model"
for wheel in "$out"/model/*.whl; do
  split --bytes=40M --numeric-suffixes --suffix-length=2 "$wheel" \
    "$out/all/$(basename "$wheel").part"
done

trip=0 held=$limit
for file in $(ls -S "$out/all"); do # each file into a trip that has room, a new one if none has
  size=$(stat --format=%s "$out/all/$file")
  if ((held + size > limit)); then
    trip=$((trip + 1)) held=0
    mkdir "$out/trip-$trip"
    cp "$root/benchmarks/gpu/unpack.sh" "$out/trip-$trip/"
  fi
  mv "$out/all/$file" "$out/trip-$trip/"
  held=$((held + size))
done
rm -r "$out/all" "$out/model"
du --summarize --human-readable "$out"/trip-*
