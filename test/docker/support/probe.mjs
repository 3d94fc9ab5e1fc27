/**
 * Tries to connect to each `host:port` given, all at once; prints those that were open, as JSON. Reads no file and needs
 * nothing but Node.js, so that it runs in any container: `node --input-type=module - TARGET … < probe.mjs`.
 */
import { connect } from 'node:net';

/** A packet that is dropped gets no answer; everything tried here is on this machine. Milliseconds. */
const GIVE_UP_MS = 2_000;

const isOpen = (target) =>
  new Promise((resolve) => {
    const at = target.lastIndexOf(':');
    const socket = connect({ host: target.slice(0, at), port: Number(target.slice(at + 1)) });
    const end = (open) => {
      socket.destroy();
      resolve(open);
    };
    socket.setTimeout(GIVE_UP_MS, () => end(false));
    socket.on('connect', () => end(true)).on('error', () => end(false));
  });

const targets = process.argv.slice(2);
const open = await Promise.all(targets.map(isOpen));
console.log(JSON.stringify(targets.filter((_, index) => open[index])));
