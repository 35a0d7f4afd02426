// A plot as SVG: lines over a logarithmic x, which suits lengths that grow tenfold, and a y that begins at zero.
import { grouped } from "./figure.ts";

export interface Plot {
  title: string;
  x: string;
  y: string;
  series: readonly Series[];
}

export interface Series {
  name: string;
  /** x > 0, ascending. */
  points: readonly (readonly [x: number, y: number])[];
}

const size = { width: 720, height: 420 };
const frame = { left: 80, right: 680, top: 48, bottom: 340 };
const colors = ["#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce"];
const mostTicks = 6;

/** The text of an SVG file. */
export function plot({ title, x, y, series }: Plot): string {
  const points = series.flatMap((each) => each.points);
  const [low, high] = [Math.min(...points.map(([at]) => at)), Math.max(...points.map(([at]) => at))];
  const most = Math.max(...points.map(([, value]) => value));
  const step = roundUp(most / mostTicks);
  const ticks = Math.ceil(most / step);
  const top = ticks * step;
  const across = (at: number) =>
    frame.left + ((frame.right - frame.left) * Math.log(at / low)) / Math.max(Math.log(high / low), 1e-9);
  const up = (value: number) => frame.bottom - ((frame.bottom - frame.top) * value) / top;

  const powers = Array.from({ length: 16 }, (_, i) => 10 ** i).filter((at) => at >= low && at <= high);
  const values = Array.from({ length: ticks + 1 }, (_, i) => step * i);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    label((frame.left + frame.right) / 2, 24, title, 'text-anchor="middle" font-size="16"'),
    ...values.flatMap((value) => [
      `<path d="M${frame.left} ${fixed(up(value))}H${frame.right}" stroke="#ddd"/>`,
      label(frame.left - 8, up(value) + 4, grouped(value), 'text-anchor="end"'),
    ]),
    ...powers.map((at) => label(across(at), frame.bottom + 20, grouped(at), 'text-anchor="middle"')),
    label((frame.left + frame.right) / 2, frame.bottom + 42, x, 'text-anchor="middle"'),
    label(0, 0, y, `text-anchor="middle" transform="translate(20 ${(frame.top + frame.bottom) / 2}) rotate(-90)"`),
    ...series.flatMap((each, i) => {
      const color = colors[i % colors.length];
      const places = each.points.map(([at, value]) => `${fixed(across(at))} ${fixed(up(value))}`);
      return [
        `<path d="M${places.join("L")}" fill="none" stroke="${color}" stroke-width="2.5"/>`,
        ...places.map((place) => `<circle cx="${place.replace(" ", '" cy="')}" r="4" fill="${color}"/>`),
        label(frame.left + i * 310, size.height - 14, `● ${each.name}`, `fill="${color}"`),
      ];
    }),
    "</svg>\n",
  ].join("\n");
}

const fixed = (value: number) => value.toFixed(1);

const label = (x: number, y: number, text: string, attributes: string) =>
  `<text x="${fixed(x)}" y="${fixed(y)}" ${attributes}>${text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</text>`;

/** The next 1, 2 or 5 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((factor) => factor * power >= value) ?? 10);
}
