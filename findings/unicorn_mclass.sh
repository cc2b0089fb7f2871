#!/bin/sh
# Unicorn 2.1.4: UC_MODE_MCLASS replaces whatever Cortex-M is asked for by the Cortex-M33, silently.
# An "M0" then divides in hardware, multiplies by DSP and loads words from odd addresses. Without the
# flag (UC_MODE_THUMB alone) the model is the one that was asked for.
# Seen in unicorn 2.1.4 from PyPI; in its source, cpu_arm_init in qemu/target/arm/cpu.c.
# Exit status 1 where this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check unicorn==2.1.4
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import unicorn
from unicorn import Uc, UcError, UC_ARCH_ARM, UC_HOOK_INTR, UC_MODE_MCLASS, UC_MODE_THUMB
from unicorn import arm_const as arm

NAMES = {getattr(arm, n): n for n in dir(arm) if n.startswith("UC_CPU_ARM_CORTEX_M")}
CODE = {  # r2 = 2, r3 = an odd address of RAM
    "sdiv r0, r1, r2": "91fbf2f0",
    "smlad r0, r1, r2, r0": "21fb0200",
    "ldr r0, [r3]": "1868",
}


def outcome(mode, code):
    engine = Uc(UC_ARCH_ARM, mode)
    engine.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M0)
    engine.mem_map(0, 4096)
    engine.mem_map(0x2000_0000, 4096)
    engine.mem_write(0, bytes.fromhex(code + "00bf00bf"))
    engine.reg_write(arm.UC_ARM_REG_R2, 2)
    engine.reg_write(arm.UC_ARM_REG_R3, 0x2000_0001)
    met = []
    engine.hook_add(UC_HOOK_INTR, lambda uc, number, _: (met.append(number), uc.emu_stop()))
    try:
        engine.emu_start(1, 64, count=1)
    except UcError as error:
        met.append(error)
    return NAMES[engine.ctl_get_cpu_model()], "faults" if met else "runs"


print("unicorn", unicorn.__version__)
for title, mode in (("MCLASS", UC_MODE_THUMB | UC_MODE_MCLASS), ("no MCLASS", UC_MODE_THUMB)):
    for text, code in CODE.items():
        print(f"M0 asked for, {title}:", *outcome(mode, code), text)
PYTHON
cat >"$folder/known" <<'KNOWN'
unicorn 2.1.4
M0 asked for, MCLASS: UC_CPU_ARM_CORTEX_M33 runs sdiv r0, r1, r2
M0 asked for, MCLASS: UC_CPU_ARM_CORTEX_M33 runs smlad r0, r1, r2, r0
M0 asked for, MCLASS: UC_CPU_ARM_CORTEX_M33 runs ldr r0, [r3]
M0 asked for, no MCLASS: UC_CPU_ARM_CORTEX_M0 faults sdiv r0, r1, r2
M0 asked for, no MCLASS: UC_CPU_ARM_CORTEX_M0 faults smlad r0, r1, r2, r0
M0 asked for, no MCLASS: UC_CPU_ARM_CORTEX_M0 faults ldr r0, [r3]
KNOWN
cat "$folder/seen"
diff "$folder/known" "$folder/seen"
