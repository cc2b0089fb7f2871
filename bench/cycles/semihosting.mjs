// Usage: node semihosting.mjs RP2040JS_MODULE IMAGE.bin STACK ENTRY
// Runs a firmware of insitu, linked from address 0 on, on rp2040js's core to its end: where the chip
// has its boot ROM lies the image. Reads records.bin and writes results.bin in the working folder;
// prints JSON: its status, what it said, its instructions. Anything that rp2040js warns of (an
// instruction that it does not know, a word at an odd address, nothing mapped) ends the run.
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const { RP2040 } = await import(pathToFileURL(process.argv[2]).href);
const image = fs.readFileSync(process.argv[3]);
const chip = new RP2040();
const core = chip.core;
chip.bootrom = new Uint32Array(Math.ceil(image.length / 4));
new Uint8Array(chip.bootrom.buffer).set(image);
const code = new DataView(chip.bootrom.buffer);
const readAnywhere = chip.readUint16.bind(chip); // which takes its time
chip.readUint16 = (at) => (at < image.length ? code.getUint16(at, true) : readAnywhere(at));
core.SP = Number(process.argv[4]);
core.PC = Number(process.argv[5]) & ~1;

const fail = (component, message) => {
    throw new Error(`${message} (at pc 0x${core.PC.toString(16)})`);
};
const nothing = () => {};
chip.logger = { debug: nothing, info: nothing, warn: fail, error: fail };

const SYS_OPEN = 1, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT = 0x18;
const APPLICATION_EXIT = 0x20026; // Arm, "Semihosting for AArch32 and AArch64", version 2.0
const SEMIHOSTING = 0xab;
const records = fs.readFileSync('records.bin');
const results = fs.openSync('results.bin', 'w');
let read = 0;
let status;
let said = '';

const transfer = (operation, address, bytes) => {
    if (operation === SYS_WRITE) {
        const data = new Uint8Array(bytes);
        for (let i = 0; i < bytes; i++) data[i] = chip.readUint8(address + i);
        fs.writeSync(results, data);
        return 0;
    }
    const data = records.subarray(read, read + bytes);
    data.forEach((byte, i) => chip.writeUint8(address + i, byte));
    read += data.length;
    return bytes - data.length;
};

chip.onBreak = (code) => {
    const [operation, argument] = core.registers;
    if (code !== SEMIHOSTING) fail('', `breakpoint or undefined instruction ${code}`);
    if (operation === SYS_EXIT) {
        status = argument === APPLICATION_EXIT ? 0 : 1;
    } else if (operation === SYS_WRITE0) {
        for (let at = argument; chip.readUint8(at) !== 0; at++)
            said += String.fromCharCode(chip.readUint8(at));
    } else if (operation === SYS_OPEN) {
        core.registers[0] = 1;
    } else if (operation === SYS_READ || operation === SYS_WRITE) {
        const [address, bytes] = [4, 8].map((at) => chip.readUint32(argument + at));
        core.registers[0] = transfer(operation, address, bytes);
    } else {
        fail('', `unknown semihosting call ${operation}`);
    }
};

let instructions = 0;
for (; status === undefined; instructions++) core.executeInstruction();
console.log(JSON.stringify({ status, said, instructions }));
