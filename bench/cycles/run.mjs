// Usage: node run.mjs RP2040JS_MODULE IMAGE.bin
// Runs an RP2040 image to its BKPT; prints JSON: cycles, and by address [executions, times the
// next instruction was not the one that follows].
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const { RP2040 } = await import(pathToFileURL(process.argv[2]).href);
const image = fs.readFileSync(process.argv[3]);
const chip = new RP2040();
chip.flash.set(image, 0);
const core = chip.core;
core.SP = image.readUInt32LE(0);
core.PC = image.readUInt32LE(4) & ~1;

let done = false;
chip.onBreak = () => { done = true; };
const executions = new Map();
const jumps = new Map();
for (;;) {
    const at = core.PC;
    const before = core.cycles;
    const wide = (chip.readUint16(at) >>> 11) >= 0b11101;
    core.executeInstruction();
    if (done) {
        console.log(JSON.stringify({
            cycles: before,
            blocks: [...executions].map(([a, n]) => [a, n, jumps.get(a) ?? 0]),
        }));
        break;
    }
    executions.set(at, (executions.get(at) ?? 0) + 1);
    if (core.PC !== at + (wide ? 4 : 2)) jumps.set(at, (jumps.get(at) ?? 0) + 1);
}
