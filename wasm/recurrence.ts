// c = causal_conv1d(x)   i = block_diagonal(c)   r = block_diagonal(c)   y = rg_lru(c, i, r)
// block by block: what one function leaves is still in the nearest cache when the next one takes it
//
// Shapes     those of the functions, R = blocks · blockSize; x, y [T, R]; scratch 3 · T · blockSize f32
// Alignment  none needed
// Aliasing   none
// Tail       that of the functions
// Tolerance  the bits of the functions one after another
// Source     Griffin (arXiv 2402.19427), section 2.4
import { block_diagonal } from "./block_diagonal";
import { convolve } from "./causal_conv1d";
import { recur } from "./rg_lru";

/** Runs convolution, gates and recurrence over T tokens, and moves both states on. */
// oxfmt-ignore
export function recurrence(
  yPtr: usize, xPtr: usize, convWeightPtr: usize, convBiasPtr: usize, convStatePtr: usize, inputWeightPtr: usize,
  inputBiasPtr: usize, recurrentWeightPtr: usize, recurrentBiasPtr: usize, aParamPtr: usize, posPtr: usize,
  statePtr: usize, scratchPtr: usize, T: i32, blocks: i32, blockSize: i32,
): void {
  const blockBytes = (<usize>blockSize) << 2;
  const rowBytes = blockBytes * <usize>blocks;
  const cPtr = scratchPtr;
  const inputPtr = cPtr + <usize>T * blockBytes;
  const recurrentPtr = inputPtr + <usize>T * blockBytes;
  for (let offset: usize = 0; offset < rowBytes; offset += blockBytes) {
    const weightOffset = offset * <usize>blockSize;
    convolve(cPtr, xPtr + offset, convWeightPtr + offset, convBiasPtr + offset, convStatePtr + offset, T, blockSize,
      blockBytes, rowBytes);
    block_diagonal(inputPtr, cPtr, inputWeightPtr + weightOffset, inputBiasPtr + offset, T, 1, blockSize);
    block_diagonal(recurrentPtr, cPtr, recurrentWeightPtr + weightOffset, recurrentBiasPtr + offset, T, 1, blockSize);
    recur(yPtr + offset, cPtr, inputPtr, recurrentPtr, aParamPtr + offset, posPtr, statePtr + offset, T, blockSize,
      rowBytes, blockBytes);
  }
}
