#!/bin/sh
# Unicorn 2.1.4 runs what cores do not: SMLAD on a Cortex-M3 (no DSP extension), IT and CBZ on a
# Cortex-M0 (Armv6-M), and LDRD and LDM from odd addresses on a Cortex-M4, which fault on every core.
# (QEMU 7.2 faults on the last two and runs SMLAD on an M3 as well.)
# Seen in unicorn 2.1.4 from PyPI. Exit status 1 where this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check unicorn==2.1.4
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import unicorn
from unicorn import Uc, UcError, UC_ARCH_ARM, UC_HOOK_INTR, UC_MODE_THUMB
from unicorn import arm_const as arm

CODE = (  # r3 = an odd address of RAM
    ("M0", "it eq", "08bf00bf"),
    ("M0", "cbz r1, .+4", "01b1"),
    ("M0", "ldm r3!, {r0, r1}", "03cb"),
    ("M3", "smlad r0, r1, r2, r0", "21fb0200"),
    ("M3", "sxtb16 r0, r1", "2ffa81f0"),
    ("M4", "ldrd r0, r1, [r3]", "d3e90001"),
    ("M4", "ldm r3!, {r0, r1}", "03cb"),
)


def outcome(core, code):
    engine = Uc(UC_ARCH_ARM, UC_MODE_THUMB)
    engine.ctl_set_cpu_model(getattr(arm, f"UC_CPU_ARM_CORTEX_{core}"))
    engine.mem_map(0, 4096)
    engine.mem_map(0x2000_0000, 4096)
    engine.mem_write(0, bytes.fromhex(code + "00bf00bf"))
    engine.reg_write(arm.UC_ARM_REG_R3, 0x2000_0001)
    met = []
    engine.hook_add(UC_HOOK_INTR, lambda uc, number, _: (met.append(number), uc.emu_stop()))
    try:
        engine.emu_start(1, 64, count=1)
    except UcError as error:
        met.append(error)
    return "faults" if met else "runs"


print("unicorn", unicorn.__version__)
for core, text, code in CODE:
    print(core, outcome(core, code), text)
PYTHON
cat >"$folder/known" <<'KNOWN'
unicorn 2.1.4
M0 runs it eq
M0 runs cbz r1, .+4
M0 faults ldm r3!, {r0, r1}
M3 runs smlad r0, r1, r2, r0
M3 faults sxtb16 r0, r1
M4 runs ldrd r0, r1, [r3]
M4 runs ldm r3!, {r0, r1}
KNOWN
cat "$folder/seen"
diff "$folder/known" "$folder/seen"
