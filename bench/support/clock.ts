/** Microseconds of a clock that all processes of this machine share. */
export function micros(): number {
  return Number(process.hrtime.bigint() / 1000n);
}
