// griffin convert: a Hugging Face folder to a checkpoint folder, with a progress bar.
import { Presets, SingleBar } from "cli-progress";
import { convert } from "../checkpoint/convert.ts";
import type { Format } from "../model/weights.ts";
import { folderSource, folderTarget, isSameFolder } from "./files.ts";
import { nodeHash } from "./hash.ts";

/** Converts `source` into `out` and says what came out. */
export async function convertFolder(
  source: string,
  out: string,
  options: { quantize?: Format; quiet?: boolean },
): Promise<void> {
  const bar = options.quiet
    ? undefined
    : new SingleBar(
        { format: "{bar} {percentage}%  {value}/{total} MB  {eta_formatted} left", clearOnComplete: true },
        Presets.shades_classic,
      );
  let isShown = false;
  try {
    const { manifest, dropped } = await convert(folderSource(source), folderTarget(out), {
      createHash: nodeHash,
      inPlace: await isSameFolder(source, out),
      ...(options.quantize && { format: options.quantize }),
      onProgress(bytesDone, bytesTotal) {
        const [done, total] = [Math.round(bytesDone / 1e6), Math.round(bytesTotal / 1e6)];
        if (isShown) bar?.update(done);
        else bar?.start(total, done);
        isShown = true;
      },
    });
    bar?.stop();
    if (options.quiet) return;
    for (const name of dropped) console.log(`left out: ${name}`);
    console.log(
      `${out}: ${manifest.parameters.toLocaleString("en")} parameters, ${manifest.format}, key/value window ${manifest.kv}, ` +
        `${manifest.files["weights.safetensors"].bytes.toLocaleString("en")} bytes of weights`,
    );
  } finally {
    bar?.stop();
  }
}
