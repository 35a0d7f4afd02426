// Ceiling of every kernel that waits for memory: reads `bytes` bytes, a multiple of 256, and does nothing with them.
// Four streams, because that is what the kernels walk and what the processor prefetches; four loads a stream and step.

/** The exclusive or of every 16 bytes from `ptr` on, so that no load can be left out. */
export function read(ptr: usize, bytes: usize): i32 {
  const stream = bytes >> 2;
  let p0 = ptr;
  let p1 = p0 + stream;
  let p2 = p1 + stream;
  let p3 = p2 + stream;
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  for (const end = p1; p0 < end; p0 += 64) {
    a = v128.xor(a, v128.xor(v128.load(p0), v128.load(p0, 16)));
    a = v128.xor(a, v128.xor(v128.load(p0, 32), v128.load(p0, 48)));
    b = v128.xor(b, v128.xor(v128.load(p1), v128.load(p1, 16)));
    b = v128.xor(b, v128.xor(v128.load(p1, 32), v128.load(p1, 48)));
    c = v128.xor(c, v128.xor(v128.load(p2), v128.load(p2, 16)));
    c = v128.xor(c, v128.xor(v128.load(p2, 32), v128.load(p2, 48)));
    d = v128.xor(d, v128.xor(v128.load(p3), v128.load(p3, 16)));
    d = v128.xor(d, v128.xor(v128.load(p3, 32), v128.load(p3, 48)));
    p1 += 64;
    p2 += 64;
    p3 += 64;
  }
  return i32x4.extract_lane(v128.xor(v128.xor(a, b), v128.xor(c, d)), 0);
}
