#!/bin/sh
# zig 0.17.1: -mcpu=cortex_m33 leaves out the DSP extension, which arm-none-eabi-gcc's cortex-m33
# assumes; __ARM_FEATURE_DSP is not defined, and code that asks for it takes its portable branch.
# cortex_m33+dsp has it. cortex_m4, cortex_m7 and cortex_m55 have it without being asked.
# Seen in ziglang 0.17.1 from PyPI. Exit status 1 where this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1
export ZIG_GLOBAL_CACHE_DIR="$folder/cache" ZIG_LOCAL_CACHE_DIR="$folder/cache"
{
  echo "zig $("$folder/venv/bin/python" -m ziglang version)"
  for cpu in cortex_m3 cortex_m4 cortex_m7 cortex_m33 cortex_m33+dsp cortex_m55; do
    macros=$("$folder/venv/bin/python" -m ziglang cc -target thumb-freestanding-eabi \
      -mcpu="$cpu" -dM -E -x c /dev/null)
    case $macros in
    *__ARM_FEATURE_DSP*) echo "$cpu: DSP" ;;
    *) echo "$cpu: no DSP" ;;
    esac
  done
} >"$folder/seen"
cat >"$folder/known" <<'KNOWN'
zig 0.17.1
cortex_m3: no DSP
cortex_m4: DSP
cortex_m7: DSP
cortex_m33: no DSP
cortex_m33+dsp: DSP
cortex_m55: DSP
KNOWN
cat "$folder/seen"
diff "$folder/known" "$folder/seen"
